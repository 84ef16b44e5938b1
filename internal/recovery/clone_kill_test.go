package recovery_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/recovery"
	"understudy/internal/site"
	"understudy/internal/store"
)

// copySite is a site in a folder whose machines outlive the controller: DIR/NAME.json describes a machine, DIR/NAME.DISK
// holds a disk. A machine that runs writes its generation to a random place of all its disks before every capture.
type copySite struct {
	site.Driver // what is not needed
	dir         string
	after       func() // after each call's effect

	mu sync.Mutex
}

const killSize = 3 << 20

type copyMachine struct {
	dr.Machine
	Held bool `json:"held"`
}

func (s *copySite) load(name string) (m copyMachine, err error) {
	data, err := os.ReadFile(filepath.Join(s.dir, name+".json"))
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if errors.Is(err, os.ErrNotExist) {
		err = dr.WithHint(err, dr.KindNotFound, "")
	}
	return m, err
}

func (s *copySite) save(m copyMachine) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	file := filepath.Join(s.dir, m.Name+".json")
	return errors.Join(os.WriteFile(file+".new", data, 0o600), os.Rename(file+".new", file))
}

func (s *copySite) disk(machine, disk string) string {
	return filepath.Join(s.dir, machine+"."+disk)
}

func (s *copySite) Machines(context.Context) (out []dr.Machine, err error) {
	names, err := filepath.Glob(filepath.Join(s.dir, "*.json"))
	for _, n := range names {
		m, e := s.load(strings.TrimSuffix(filepath.Base(n), ".json"))
		err = errors.Join(err, e)
		out = append(out, m.Machine)
	}
	return out, err
}

func (s *copySite) Provision(_ context.Context, req site.ProvisionRequest) error {
	m, err := s.load(req.Machine.Name)
	if err == nil {
		if m.Owner != req.Owner {
			return dr.WithHint(errors.New("exists"), dr.KindConflict, "")
		}
		return nil
	}
	for _, d := range req.Machine.Disks {
		f := s.disk(req.Machine.Name, d.Name)
		if err := errors.Join(os.WriteFile(f, nil, 0o600), os.Truncate(f, d.Size)); err != nil {
			return err
		}
	}
	m = copyMachine{Machine: req.Machine}
	m.Owner, m.Power = req.Owner, dr.PowerOff
	err = s.save(m)
	s.after()
	return err
}

func (s *copySite) Power(_ context.Context, name string, a site.PowerAction) error {
	m, err := s.load(name)
	if err != nil {
		return err
	}
	if m.Power = dr.PowerOff; a == site.PowerStart {
		if m.Held {
			return dr.WithHint(errors.New("held"), dr.KindFenced, "")
		}
		m.Power = dr.PowerOn
	}
	err = s.save(m)
	s.after()
	return err
}

func (s *copySite) Fence(_ context.Context, name string, hold bool, _ string) error {
	m, err := s.load(name)
	if err != nil {
		return err
	}
	if m.Held = hold; hold {
		m.Power = dr.PowerOff
	}
	err = s.save(m)
	s.after()
	return err
}

func (s *copySite) Probe(context.Context, string, dr.Probe) error { return nil }

func (s *copySite) Delete(_ context.Context, name string) error {
	m, err := s.load(name)
	if err != nil {
		return nil
	}
	for _, d := range m.Disks {
		err = errors.Join(err, os.Remove(s.disk(name, d.Name)))
	}
	return errors.Join(err, os.Remove(filepath.Join(s.dir, name+".json")))
}

// write is what the guest does: the same at the same place of all disks, and at the beginning.
func (s *copySite) write(m copyMachine) error {
	var n uint64
	for _, d := range m.Disks {
		f, err := os.OpenFile(s.disk(m.Name, d.Name), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		var b [8]byte
		if _, err := f.ReadAt(b[:], 0); err != nil {
			return err
		}
		n = binary.LittleEndian.Uint64(b[:]) + 1
		block := bytes.Repeat(binary.LittleEndian.AppendUint64(nil, n), dr.BlockSize/8)
		_, err = f.WriteAt(block, 0)
		at := int64(n*7919%(killSize/dr.BlockSize-1)+1) * dr.BlockSize
		if n%3 == 0 {
			clear(block)
		}
		_, e := f.WriteAt(block, at)
		if err := errors.Join(err, e, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (s *copySite) Capture(_ context.Context, req site.CaptureRequest) (site.Capture, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.load(req.Machines[0])
	if err == nil && m.Power == dr.PowerOn {
		err = s.write(m)
	}
	c := &fileCapture{machine: m.Machine, after: s.after}
	for _, d := range m.Disks {
		data, e := os.ReadFile(s.disk(m.Name, d.Name))
		err = errors.Join(err, e)
		c.disks = append(c.disks, fileView{bytes.NewReader(data), dr.DiskID{Machine: m.Name, Disk: d.Name}, s.after})
	}
	s.after()
	return c, err
}

type fileCapture struct {
	machine dr.Machine
	disks   []site.CapturedDisk
	after   func()
}

// Time goes backwards, as a clock may.
func (c *fileCapture) Time() time.Time             { return time.Unix(1<<32-time.Now().Unix(), 0) }
func (c *fileCapture) Paused() time.Duration       { return 0 }
func (c *fileCapture) Consistency() dr.Consistency { return dr.CrashConsistent }
func (c *fileCapture) Machines() []dr.Machine      { return []dr.Machine{c.machine} }
func (c *fileCapture) Disks() []site.CapturedDisk  { return c.disks }
func (c *fileCapture) Commit(context.Context) error {
	return errors.New("nobody asked to track what changes")
}
func (c *fileCapture) Abort(context.Context) error { c.after(); return nil }

type fileView struct {
	*bytes.Reader
	id    dr.DiskID
	after func()
}

func (v fileView) ReadAt(p []byte, off int64) (int, error) {
	v.after()
	return v.Reader.ReadAt(p, off)
}
func (v fileView) ID() dr.DiskID { return v.id }
func (v fileView) Changes(context.Context) (site.Changes, error) {
	return site.Changes{Extents: []dr.Extent{{Length: v.Size()}}, Full: true}, nil
}

func (s *copySite) OpenDisk(_ context.Context, machine, disk string, write bool) (site.Disk, error) {
	m, err := s.load(machine)
	if err != nil {
		return nil, err
	}
	if m.Power == dr.PowerOn {
		return nil, dr.WithHint(errors.New("it runs"), dr.KindConflict, "")
	}
	f, err := os.OpenFile(s.disk(machine, disk), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return fileDisk{f, s.after}, nil
}

type fileDisk struct {
	*os.File
	after func()
}

func (d fileDisk) Size() int64 {
	st, err := d.Stat()
	if err != nil {
		return 0
	}
	return st.Size()
}

// WriteAt is cut short when the controller is killed in it.
func (d fileDisk) WriteAt(p []byte, off int64) (int, error) {
	if _, err := d.File.WriteAt(p[:len(p)/2], off); err != nil {
		return 0, err
	}
	d.after()
	_, err := d.File.WriteAt(p[len(p)/2:], off+int64(len(p)/2))
	d.after()
	return len(p), err
}
func (d fileDisk) Zero(off, n int64) error {
	_, err := d.WriteAt(make([]byte, n), off)
	return err
}
func (d fileDisk) Flush() error { d.after(); return nil }
func (d fileDisk) Extents(_ context.Context, off, n int64) ([]dr.Extent, error) {
	return []dr.Extent{{Offset: off, Length: n}}, nil
}

// TestKillCopies kills the controller with SIGKILL in the middle of a clone, and of a move, again and again, also in the
// middle of a write, while the machine goes on writing. Both copies of its disks are of one instant and whole.
func TestKillCopies(t *testing.T) {
	for _, kind := range []string{recovery.KindClone, recovery.KindMove} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s, err := store.Open(t.Context(), filepath.Join(dir, "state.db"), store.Options{})
			must(t, err)
			must(t, s.Close())
			east := &copySite{dir: filepath.Join(dir, "east"), after: func() {}}
			for _, name := range []string{"east", "west"} {
				must(t, os.Mkdir(filepath.Join(dir, name), 0o700))
			}
			m := copyMachine{Machine: dr.Machine{Name: "pair", Power: dr.PowerOn}}
			for i, d := range []string{"root", "data"} {
				m.Disks = append(m.Disks, dr.Disk{Name: d, Size: killSize})
				b := make([]byte, killSize)
				for k := dr.BlockSize; k < len(b); k++ { // the first block is the generation
					b[k] = byte(k*k>>9 + i)
				}
				clear(b[1<<20 : 3<<19])
				must(t, os.WriteFile(east.disk("pair", d), b, 0o600))
			}
			must(t, east.save(m))
			kills := 0
			for ; ; kills++ {
				cmd := exec.CommandContext(t.Context(), os.Args[0])
				// Later controllers live longer, so that the end comes.
				cmd.Env = append(os.Environ(), "RECOVERY_TEST_COPY="+dir, "RECOVERY_TEST_KIND="+kind, fmt.Sprint("RECOVERY_TEST_KILL=", 1+kills*(kills+3)/2))
				cmd.Stderr = os.Stderr
				err := cmd.Run()
				if err == nil {
					break
				}
				var exit *exec.ExitError
				if !errors.As(err, &exit) || exit.ExitCode() != -1 || kills > 60 {
					t.Fatalf("after %d kills: %v", kills, err)
				}
			}
			t.Logf("%d kills", kills)
			if kills < 5 {
				t.Errorf("killed only %d times", kills)
			}
			checkCopy(t, dir, kind)
		})
	}
}

// checkCopy compares what was copied with the source, which may have gone on.
func checkCopy(t *testing.T, dir, kind string) {
	t.Helper()
	east, west := &copySite{dir: filepath.Join(dir, "east")}, &copySite{dir: filepath.Join(dir, "west")}
	var generation [2]uint64
	for i, d := range []string{"root", "data"} {
		got, err := os.ReadFile(west.disk("pair", d))
		must(t, err)
		want, err := os.ReadFile(east.disk("pair", d))
		must(t, err)
		generation[i] = binary.LittleEndian.Uint64(got)
		last := binary.LittleEndian.Uint64(want)
		if kind == recovery.KindMove && generation[i] != last {
			t.Errorf("disk %s is of generation %d, the source of %d", d, generation[i], last)
		}
		// Undo at the source what it did since.
		for off := 0; off < killSize; off += dr.BlockSize {
			at := off / dr.BlockSize
			later := off == 0
			for n := generation[i] + 1; n <= last; n++ {
				later = later || int(n*7919%(killSize/dr.BlockSize-1)+1) == at
			}
			if !later && !bytes.Equal(got[off:off+dr.BlockSize], want[off:off+dr.BlockSize]) {
				t.Fatalf("disk %s differs at block %d", d, at)
			}
		}
	}
	if generation[0] != generation[1] || generation[0] == 0 {
		t.Errorf("generations %d and %d", generation[0], generation[1])
	}
	m, err := west.load("pair")
	must(t, err)
	src, err := east.load("pair")
	must(t, err)
	if move := kind == recovery.KindMove; (m.Power == dr.PowerOn) != move || src.Held != move || (src.Power == dr.PowerOn) == move {
		t.Errorf("west %s, east %s, held %t", m.Power, src.Power, src.Held)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "copies", "*")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// copyChild is a controller that goes on with the copy, or begins it, and kills itself after some effects.
func copyChild(dir string) error {
	ctx := context.Background()
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
	sites := map[string]*copySite{}
	for _, name := range []string{"east", "west"} {
		sites[name] = &copySite{dir: filepath.Join(dir, name), after: after}
	}
	o := options(dir, s, nil)
	o.Replicator = noReplication{}
	o.Lost = func(error) { os.Exit(1) }
	o.Sites = func(_ context.Context, name string) (site.Driver, error) { return sites[name], nil }
	r := recovery.New(o)
	if err := r.Open(ctx); err != nil {
		return err
	}
	runs, err := r.Runs(ctx, store.RunFilter{})
	if err != nil {
		return err
	}
	if len(runs) == 0 {
		run, err := r.Start(ctx, recovery.Request{Kind: os.Getenv("RECOVERY_TEST_KIND"), Clone: &recovery.CloneSpec{Machine: "pair", Site: "east", To: "west"}})
		if err != nil {
			return err
		}
		runs = append(runs, run)
	}
	var last store.Run
	if err := r.Watch(ctx, runs[0].ID, func(run store.Run, _ []store.Step) error {
		if last = run; run.State == store.RunWaiting {
			if err := r.Confirm(ctx, run.ID, false, "test"); err != nil && dr.KindOf(err) != dr.KindConflict {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	if last.State != store.RunSucceeded {
		return errors.New(last.Error)
	}
	return errors.Join(r.Close(), s.Close())
}

var _ io.ReaderAt = fileView{}
