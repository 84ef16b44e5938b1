//go:build unix

package vault

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob/file"

	"filippo.io/age"
)

const wokenTTL = time.Second

// TestWokenWriter stops a process with SIGSTOP in the middle of a point for longer than its lease, lets another holder
// go on, and wakes it: its point is refused, and history is the other's.
func TestWokenWriter(t *testing.T) {
	if dir := os.Getenv("VAULT_TEST_WOKEN"); dir != "" {
		sleeper(t, dir)
		return
	}
	dir := t.TempDir()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	store, err := file.Open(filepath.Join(dir, "vault"), true)
	if err == nil {
		err = Create(t.Context(), store, CreateOptions{Recipients: []string{identity.Recipient().String()}})
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "key"), []byte(identity.String()), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestWokenWriter$", "-test.v")
	cmd.Env = append(os.Environ(), "VAULT_TEST_WOKEN="+dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	lines := bufio.NewScanner(out)
	expect(t, lines, "writing")
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}

	v := openWoken(t, dir)
	var l *Lease
	for { // until the lease of the one that sleeps has ended
		l, err = v.Acquire(t.Context(), "shop", "east", "second", time.Minute)
		if err == nil {
			break
		}
		if dr.KindOf(err) != dr.KindConflict {
			t.Fatal(err)
		}
		time.Sleep(wokenTTL / 10)
	}
	wr, err := v.BeginDelta(t.Context(), l, wokenSpec("second"))
	if err != nil {
		t.Fatal(err)
	}
	writeWoken(t, wr, 2)
	mine, err := wr.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintln(in, "go on"); err != nil {
		t.Fatal(err)
	}
	expect(t, lines, "refused: "+string(dr.KindConflict))
	if _, err := io.Copy(io.Discard, out); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the woken writer: %v", err)
	}
	if h, err := v.Head(t.Context(), "shop"); err != nil || h.Point.ID != mine.ID || h.CaptureID != "second" {
		t.Errorf("head %+v, %v", h, err)
	}
	// Nothing is stuck: the second one goes on.
	if wr, err = v.BeginDelta(t.Context(), l, wokenSpec("third")); err != nil {
		t.Fatal(err)
	}
	writeWoken(t, wr, 3)
	if _, err := wr.Commit(t.Context()); err != nil {
		t.Error(err)
	}
}

// expect reads lines until one says what is wanted.
func expect(t *testing.T, lines *bufio.Scanner, want string) {
	t.Helper()
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), want) {
			return
		}
	}
	t.Fatalf("the other process never said %q: %v", want, lines.Err())
}

// sleeper seeds the group, begins a delta, and commits it when it is told to.
func sleeper(t *testing.T, dir string) {
	v := openWoken(t, dir)
	l, err := v.Acquire(t.Context(), "shop", "east", "first", wokenTTL)
	if err != nil {
		t.Fatal(err)
	}
	wr, err := v.BeginSeed(t.Context(), l, wokenSpec("seed"), filepath.Join(dir, "journal"), nil)
	if err != nil {
		t.Fatal(err)
	}
	writeWoken(t, wr, 0)
	if _, err := wr.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if wr, err = v.BeginDelta(t.Context(), l, wokenSpec("first")); err != nil {
		t.Fatal(err)
	}
	writeWoken(t, wr, 1)
	fmt.Println("writing")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if l.Valid() {
		t.Error("the lease counts as valid after the sleep")
	}
	_, err = wr.Commit(t.Context())
	fmt.Printf("refused: %s: %v\n", dr.KindOf(err), err)
	if renewed := l.Renew(t.Context()); renewed == nil {
		t.Error("the lease was taken back")
	}
}

func openWoken(t *testing.T, dir string) *Vault {
	t.Helper()
	key, err := os.ReadFile(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	identity, err := age.ParseX25519Identity(string(key))
	if err != nil {
		t.Fatal(err)
	}
	store, err := file.Open(filepath.Join(dir, "vault"), false)
	if err != nil {
		t.Fatal(err)
	}
	v, err := Open(t.Context(), store, Options{Identities: []age.Identity{identity}})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func wokenSpec(capture string) Spec {
	return Spec{CaptureID: capture, Time: time.Now(), Kind: dr.CrashConsistent,
		Machines: []dr.Machine{{Name: "db", Disks: []dr.Disk{{Name: "data", Size: 16 * dr.BlockSize}}}}}
}

func writeWoken(t *testing.T, wr *Writer, block int64) {
	t.Helper()
	if err := wr.Write(dr.DiskID{Machine: "db", Disk: "data"}, block*dr.BlockSize, make([]byte, dr.BlockSize)); err != nil {
		t.Fatal(err)
	}
}
