package recovery_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"

	"understudy/internal/dr"
	"understudy/internal/nbd"
	"understudy/internal/recovery"
	"understudy/internal/site"
	"understudy/internal/store"
	"understudy/internal/vault"
	"understudy/internal/vault/blob/file"
)

// dirSite is a site whose machines outlive the controller: a folder with a file per machine, and a log of every effect.
type dirSite struct {
	site.Driver // Capture is not needed
	dir         string
	after       func() // after each call's effect
}

type dirMachine struct {
	Req  site.ProvisionRequest
	On   bool
	Held bool
}

func (s *dirSite) load(name string) (m dirMachine, ok bool) {
	data, err := os.ReadFile(filepath.Join(s.dir, name+".json"))
	return m, err == nil && json.Unmarshal(data, &m) == nil
}

func (s *dirSite) save(m dirMachine, effect string) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	name := filepath.Join(s.dir, m.Req.Machine.Name+".json")
	if err := os.WriteFile(name+".new", data, 0o600); err != nil {
		return err
	}
	if err := os.Rename(name+".new", name); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(s.dir, "effects"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = fmt.Fprintln(f, effect)
		err = errors.Join(err, f.Close())
	}
	return err
}

func (s *dirSite) Machines(context.Context) ([]dr.Machine, error) {
	names, err := filepath.Glob(filepath.Join(s.dir, "*.json"))
	var out []dr.Machine
	for _, n := range names {
		m, _ := s.load(strings.TrimSuffix(filepath.Base(n), ".json"))
		m.Req.Machine.Power = dr.PowerOff
		if m.On {
			m.Req.Machine.Power = dr.PowerOn
		}
		out = append(out, m.Req.Machine)
	}
	s.after()
	return out, err
}

func (s *dirSite) Provision(_ context.Context, req site.ProvisionRequest) (err error) {
	if old, ok := s.load(req.Machine.Name); !ok {
		err = s.save(dirMachine{Req: req}, "create "+req.Machine.Name)
	} else if fmt.Sprint(old.Req.Sources) != fmt.Sprint(req.Sources) {
		err = errors.New("served elsewhere after a restart")
	}
	s.after()
	return err
}

func (s *dirSite) Power(_ context.Context, name string, a site.PowerAction) (err error) {
	m, ok := s.load(name)
	if on := a == site.PowerStart; ok && m.On != on {
		m.On = on
		err = s.save(m, string(a)+" "+name)
	}
	s.after()
	return err
}

func (s *dirSite) Fence(_ context.Context, name string, hold bool, _ string) (err error) {
	m, _ := s.load(name)
	if m.Held != hold {
		m.Held, m.On = hold, false
		err = s.save(m, "fence "+name)
	}
	s.after()
	return err
}

// Probe reads the disk through its export, as a machine that boots does.
func (s *dirSite) Probe(ctx context.Context, name string, _ dr.Probe) error {
	err := s.copyDisk(ctx, name, io.Discard)
	s.after()
	return err
}

func (s *dirSite) Hydrate(ctx context.Context, name string, progress func(int64, int64)) error {
	f, err := os.Create(filepath.Join(s.dir, name+".img"))
	if err != nil {
		return err
	}
	err = errors.Join(s.copyDisk(ctx, name, f), f.Close())
	progress(diskSize, diskSize)
	s.after()
	return err
}

func (s *dirSite) copyDisk(ctx context.Context, name string, to io.Writer) error {
	m, _ := s.load(name)
	c, err := nbd.Dial(ctx, m.Req.Sources["data"], nbd.DialOptions{})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = io.Copy(to, io.NewSectionReader(c, 0, c.Size()))
	return err
}

// TestKill kills the controller with SIGKILL after every effect of a failover, before it is recorded. Nothing is done
// twice, exports come back at the same sockets, and the machines hold what the recovery point holds.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	identity, err := age.GenerateX25519Identity()
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "key"), []byte(identity.String()), 0o600))
	blobs, err := file.Open(filepath.Join(dir, "vault"), true)
	must(t, err)
	w := newWorldOn(t, dir, newVault(t, blobs, identity))
	must(t, w.store.Close())
	for _, s := range []string{"east", "west"} {
		must(t, os.Mkdir(filepath.Join(dir, s), 0o700))
	}
	for _, m := range shop.Machines {
		east := &dirSite{dir: filepath.Join(dir, "east")}
		must(t, east.save(dirMachine{Req: site.ProvisionRequest{Machine: dr.Machine{Name: m.Name}}, On: true}, "initial "+m.Name))
	}
	var slowest time.Duration
	kills := 0
	for ; ; kills++ {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "RECOVERY_TEST_CHILD="+dir, fmt.Sprint("RECOVERY_TEST_KILL=", 1+kills%4))
		cmd.Stderr = os.Stderr
		start := time.Now()
		err := cmd.Run()
		slowest = max(slowest, time.Since(start))
		if err == nil {
			break
		}
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != -1 || kills > 60 {
			t.Fatalf("after %d kills: %v", kills, err)
		}
	}
	t.Logf("%d kills, slowest controller %s", kills, slowest)
	if kills < 6 {
		t.Errorf("killed only %d times", kills)
	}
	effects := map[string]int{}
	for _, s := range []string{"east", "west"} {
		data, err := os.ReadFile(filepath.Join(dir, s, "effects"))
		must(t, err)
		for line := range strings.Lines(string(data)) {
			effects[s+" "+strings.TrimSpace(line)]++
		}
	}
	for _, m := range shop.Machines {
		for _, e := range []string{"east fence ", "west create ", "west start "} {
			if n := effects[e+m.Name]; n != 1 {
				t.Errorf("%s%s: %d times", e, m.Name, n)
			}
		}
		got, err := os.ReadFile(filepath.Join(dir, "west", m.Name+".img"))
		must(t, err)
		if want := w.east.ReadDisk(id(m.Name), 0, diskSize); !bytes.Equal(got, want) {
			t.Errorf("disk of %s differs", m.Name)
		}
	}
}

func TestMain(m *testing.M) {
	if dir := os.Getenv("RECOVERY_TEST_COPY"); dir != "" {
		if err := copyChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		return
	}
	if dir := os.Getenv("RECOVERY_TEST_CHILD"); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		return
	}
	if dir := os.Getenv("RECOVERY_TEST_PLAN"); dir != "" {
		if err := planChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

type noReplication struct{}

func (noReplication) Pause(context.Context, string) error  { return nil }
func (noReplication) Resume(context.Context, string) error { return nil }
func (noReplication) Final(context.Context, string) (dr.RecoveryPoint, error) {
	return dr.RecoveryPoint{}, errors.New("not planned")
}

// child is a controller that goes on with the failover, or begins it, and kills itself after some calls of a driver.
func child(dir string) error {
	ctx := context.Background()
	key, err := os.ReadFile(filepath.Join(dir, "key"))
	if err != nil {
		return err
	}
	identity, err := age.ParseX25519Identity(string(key))
	if err != nil {
		return err
	}
	blobs, err := file.Open(filepath.Join(dir, "vault"), false)
	if err != nil {
		return err
	}
	v, err := vault.Open(ctx, blobs, vault.Options{Identities: []age.Identity{identity}, Workers: 1})
	if err != nil {
		return err
	}
	s, err := store.Open(ctx, filepath.Join(dir, "state.db"), store.Options{})
	if err != nil {
		return err
	}
	var left atomic.Int32
	var n int32
	fmt.Sscan(os.Getenv("RECOVERY_TEST_KILL"), &n)
	left.Store(n)
	after := func() {
		if left.Add(-1) == 0 {
			p, _ := os.FindProcess(os.Getpid())
			_ = p.Kill()
			select {}
		}
	}
	o := options(dir, s, v)
	o.Replicator, o.EvidenceDir = noReplication{}, filepath.Join(dir, "evidence")
	o.Sites = func(_ context.Context, name string) (site.Driver, error) {
		return &dirSite{dir: filepath.Join(dir, name), after: after}, nil
	}
	r := recovery.New(o)
	if err := r.Open(ctx); err != nil {
		return err
	}
	runs, err := r.Runs(ctx, store.RunFilter{})
	if err != nil {
		return err
	}
	if len(runs) == 0 {
		run, err := r.Start(ctx, recovery.Request{Kind: cmp.Or(os.Getenv("RECOVERY_TEST_KIND"), recovery.KindFailover), Group: "shop"})
		if err != nil {
			return err
		}
		runs = append(runs, run)
	}
	var last store.Run
	if err := r.Watch(ctx, runs[0].ID, func(run store.Run, _ []store.Step) error { last = run; return nil }); err != nil {
		return err
	}
	if last.State != store.RunSucceeded {
		return errors.New(last.Error)
	}
	return errors.Join(r.Close(), s.Close())
}
