package replicate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"understudy/internal/dr"
	"understudy/internal/site/image"
	"understudy/internal/vault"
	"understudy/internal/vault/blob/file"
)

// The kill test runs cycles in a child process over an image file and kills it at a random moment, again and again.
// Whenever the child reported a point, and whatever else the vault lists, must hold the content of its time.

const childEnv = "UNDERSTUDY_TEST_REPLICATE_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := childCycle(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// childCycle runs one cycle of the image in dir and prints the point.
func childCycle(dir string) error {
	key, err := os.ReadFile(filepath.Join(dir, "key"))
	if err != nil {
		return err
	}
	id, err := age.ParseX25519Identity(strings.TrimSpace(string(key)))
	if err != nil {
		return err
	}
	v, err := openFileVault(dir, id)
	if err != nil {
		return err
	}
	ctx, cancel := testContext()
	defer cancel()
	site, err := image.New(image.Config{
		Machines: map[string][]string{"m": {filepath.Join(dir, "disk.raw")}}, Dir: filepath.Join(dir, "site"), Now: time.Now,
	})
	if err != nil {
		return err
	}
	lease, err := v.Acquire(ctx, "g", "here", "child", time.Minute)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	c := &Cycler{Driver: site, Vault: v, Dir: filepath.Join(dir, "state"), Now: time.Now, Logger: quiet}
	res, err := c.Cycle(ctx, lease, dr.Group{Name: "g", Site: "here", Machines: []dr.MachinePolicy{{Name: "m"}}}, CycleOptions{})
	if err != nil {
		return err
	}
	fmt.Println("done", res.Kind)
	return nil
}

func TestKilledAtAnyMoment(t *testing.T) {
	dir := t.TempDir()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "key"), []byte(key.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	st, err := file.Open(filepath.Join(dir, "vault"), true)
	if err != nil {
		t.Fatal(err)
	}
	if err := vault.Create(t.Context(), st, vault.CreateOptions{Recipients: []string{key.Recipient().String()}}); err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	content := make([]byte, 24<<20)
	versions := map[string][]byte{} // what each point must hold
	var took time.Duration = 400 * time.Millisecond
	killed := 0
	for round := range 14 {
		for range 1 + r.IntN(200) {
			off := r.IntN(len(content)/4096) * 4096
			for i := range 4096 {
				content[off+i] = byte(r.Uint32())
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "disk.raw"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if d, ended := runChild(t, dir, time.Duration(r.Int64N(int64(took)*5/4))); ended {
			took = d
		} else {
			killed++
		}
		comparePoints(t, dir, key, versions, content, round)
	}
	if _, ended := runChild(t, dir, time.Minute); !ended {
		t.Fatal("the last cycle did not end")
	}
	comparePoints(t, dir, key, versions, content, -1)
	t.Logf("killed %d times, %d points", killed, len(versions))
}

// runChild runs a cycle and kills it after a while. It tells how long the cycle took and whether it ended by itself.
func runChild(t *testing.T, dir string, after time.Duration) (time.Duration, bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 6)
	if _, err := io.ReadFull(out, buf); err != nil {
		t.Fatalf("child: %v: %s", err, stderr.String())
	}
	began := time.Now()
	timer := time.AfterFunc(after, func() { cmd.Process.Kill() })
	defer timer.Stop()
	_, _ = io.Copy(io.Discard, out)
	err = cmd.Wait()
	if err != nil && cmd.ProcessState.ExitCode() > 0 {
		t.Fatalf("child: %s", stderr.String())
	}
	return time.Since(began), err == nil
}

// comparePoints checks every point that the vault lists; one seen for the first time must hold the content of now.
func comparePoints(t *testing.T, dir string, key age.Identity, versions map[string][]byte, now []byte, round int) {
	t.Helper()
	v, err := openFileVault(dir, key)
	if err != nil {
		t.Fatal(err)
	}
	points, err := v.Points(t.Context(), "g")
	if err != nil && dr.KindOf(err) != dr.KindNotFound {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, info := range points {
		listed[info.ID] = true
		if versions[info.ID] == nil {
			versions[info.ID] = bytes.Clone(now)
		}
		p, err := v.OpenPoint(t.Context(), "g", info.ID)
		if err != nil {
			t.Fatalf("round %d: open %s: %v", round, info.ID, err)
		}
		d, err := p.Disk(dr.DiskID{Machine: "m", Disk: "disk"})
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, d.Size())
		if _, err := d.ReadAt(got, 0); err != nil && !errors.Is(err, io.EOF) {
			t.Fatalf("round %d: read %s: %v", round, info.ID, err)
		}
		if !bytes.Equal(got, versions[info.ID]) {
			t.Fatalf("round %d: point %s does not hold the content of its time", round, info.ID)
		}
		p.Close()
	}
	for id := range versions {
		if !listed[id] {
			t.Fatalf("round %d: point %s is gone", round, id)
		}
	}
}
