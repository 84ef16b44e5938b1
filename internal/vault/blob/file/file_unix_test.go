//go:build unix

package file

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/blob/blobtest"
)

func openTest(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	blobtest.Run(t, func(t testing.TB) blob.Store { return openTest(t, filepath.Join(t.TempDir(), "new", "vault")) })
}

// files lists every file under dir by its relative path.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			name, _ := filepath.Rel(dir, path)
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestModesAndNoTraces(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "vault")
	s, err := Open(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stat(t.Context(), "a"); !errors.Is(err, blob.ErrNotFound) {
		t.Error(err)
	}
	if left := files(t, dir); len(left) != 0 {
		t.Errorf("reading left %v", left)
	}
	if _, err := s.Create(t.Context(), "g/a", strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutTagged(t.Context(), "g/t", nil, ""); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fs.FileMode{"": 0o700 | fs.ModeDir, "g": 0o700 | fs.ModeDir, "g/a": 0o600, "g/t": 0o600} {
		if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode() != want {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range files(t, filepath.Join(dir, own)) {
		if strings.HasPrefix(name, "tmp") {
			t.Errorf("left %s", name)
		}
	}
	if _, err := s.Create(t.Context(), "g/b", strings.NewReader("x")); !errors.Is(err, errClosed) {
		t.Error(err)
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "none"), false); dr.KindOf(err) != dr.KindNotFound || dr.Hint(err) == "" {
		t.Error(err)
	}
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, true); dr.KindOf(err) != dr.KindInvalid || dr.Hint(err) == "" {
		t.Error(err)
	}
}

func TestExplain(t *testing.T) {
	s := openTest(t, t.TempDir())
	for _, cause := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EACCES, syscall.EROFS, syscall.EIO} {
		err := s.explain("create", "g/a", &os.PathError{Op: "write", Path: "/v/x", Err: cause})
		if dr.KindOf(err) != dr.KindUnavailable || !strings.Contains(dr.Hint(err), s.dir) || !errors.Is(err, cause) ||
			!strings.HasPrefix(err.Error(), "create g/a: write /v/x: ") {
			t.Errorf("%v (%s)", err, dr.Hint(err))
		}
	}
	// An object in the way of a folder is not "not found".
	if _, err := s.Create(t.Context(), "a", strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(t.Context(), "a/b", strings.NewReader("x")); err == nil || errors.Is(err, blob.ErrNotFound) {
		t.Error(err)
	}
}

func TestNoSpace(t *testing.T) {
	const full = "/dev/full"
	if _, err := os.Stat(full); err != nil {
		t.Skip("no " + full)
	}
	s := openTest(t, t.TempDir())
	f, err := os.OpenFile(full, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := s.explain("create", "a", s.copy(t.Context(), f, strings.NewReader("x"))); dr.KindOf(err) != dr.KindUnavailable {
		t.Error(err)
	}
}

// What a failed write has stored by then would fill a file system that is full already.
func TestFailedWriteLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	broken := errors.New("broken")
	r := io.MultiReader(strings.NewReader(strings.Repeat("x", 1<<20)), iotest.ErrReader(broken))
	if _, err := s.Create(t.Context(), "g/a/p/1", r); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	for _, name := range files(t, dir) {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Size() > 0 {
			t.Errorf("%s is left, %v", name, err)
		}
	}
}

// Both ways of giving a name that a file system may need are exclusive.
func TestLinkNew(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(path(name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := linkNew(path("a"), path("to")); err != nil {
		t.Fatal(err)
	}
	if err := linkNew(path("b"), path("to")); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	if got, _ := os.ReadFile(path("to")); string(got) != "a" {
		t.Errorf("%q", got)
	}
	if _, err := os.Stat(path("a")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestHandles(t *testing.T) {
	dir := t.TempDir()
	s, other := openTest(t, dir), openTest(t, dir)
	name := func(i int) string { return fmt.Sprintf("h/%d", i) }
	read := func(i int) string {
		p := make([]byte, 1)
		if err := s.ReadAt(t.Context(), name(i), p, 0); err != nil {
			return err.Error()
		}
		return string(p)
	}
	for i := range 2 * maxHandles {
		if _, err := s.Create(t.Context(), name(i), strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
		if got := read(i); got != "x" {
			t.Error(got)
		}
	}
	if n := s.handles.used.Len(); n != maxHandles || len(s.handles.byName) != n {
		t.Errorf("%d files open", n)
	}
	// What another process removes and makes again is read anew.
	last := 2*maxHandles - 1
	if err := other.Delete(t.Context(), name(last)); err != nil {
		t.Fatal(err)
	}
	if got := read(last); !strings.Contains(got, "not found") {
		t.Error(got)
	}
	if _, err := other.Create(t.Context(), name(last), strings.NewReader("y")); err != nil {
		t.Fatal(err)
	}
	if got := read(last); got != "y" {
		t.Error(got)
	}
}

func TestTaggedDamage(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	if _, err := s.PutTagged(t.Context(), "t", []byte("data"), ""); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "t")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := append([]byte(nil), good...)
		bad[i] ^= 1
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.GetTagged(t.Context(), "t"); dr.KindOf(err) != dr.KindCorrupt {
			t.Errorf("byte %d: %v", i, err)
		}
	}
}

// The test binary itself is the writer that is killed.
const killEnv = "UNDERSTUDY_TEST_STORE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killEnv); dir != "" {
		victim(dir, os.Getenv(killEnv+"_AT"))
		return
	}
	os.Exit(m.Run())
}

// victim creates an object as far as a point, says so, and waits to be killed.
func victim(dir, at string) {
	stop := func() {
		fmt.Println("here")
		select {}
	}
	s, err := Open(dir, true)
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	switch at {
	case "written in part":
		_, _ = s.Create(ctx, "g/o", io.MultiReader(strings.NewReader(strings.Repeat("x", 1<<20)), stopReader(stop)))
	case "durable but without a name":
		_, _, _ = s.writeTemp(ctx, strings.NewReader("whole"))
	case "with folders":
		_, _, _ = s.writeTemp(ctx, strings.NewReader("whole"))
		_ = s.makeParents("g/o")
	case "with both names":
		tmp, _, _ := s.writeTemp(ctx, strings.NewReader("whole"))
		_ = s.makeParents("g/o")
		_ = os.Link(tmp, s.path("g/o"))
	case "done":
		_, _ = s.Create(ctx, "g/o", strings.NewReader("whole"))
	case "holding the lock":
		_, _ = s.lock(ctx, lockOf("g/o"))
		_, _ = s.lock(ctx, lockMain)
	}
	stop()
}

type stopReader func()

func (r stopReader) Read([]byte) (int, error) {
	r()
	return 0, io.EOF
}

func TestKilledWriter(t *testing.T) {
	for _, c := range []struct {
		at      string
		visible bool
	}{{"written in part", false}, {"durable but without a name", false}, {"with folders", false}, {"with both names", true},
		{"done", true}, {"holding the lock", false}} {
		t.Run(c.at, func(t *testing.T) {
			dir := t.TempDir()
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), killEnv+"="+dir, killEnv+"_AT="+c.at)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
				t.Error(err)
			}
			// Another store beside the living one leaves its files alone.
			alive := files(t, dir)
			if s, err := Open(dir, false); err != nil {
				t.Error(err)
			} else if now := files(t, dir); len(now) < len(alive) {
				t.Errorf("swept files of a living writer: had %v, now %v", alive, now)
			} else if err := s.Close(); err != nil {
				t.Error(err)
			}
			_ = cmd.Process.Kill()
			_ = cmd.Wait()

			s := openTest(t, dir)
			for _, name := range files(t, dir) {
				if strings.HasPrefix(name, own+"/tmp") {
					t.Errorf("left %s", name)
				}
			}
			var names []string
			if err := s.List(t.Context(), "", func(i blob.Info) error { names = append(names, i.Name); return nil }); err != nil {
				t.Error(err)
			}
			if c.visible {
				p := make([]byte, 5)
				if err := s.ReadAt(t.Context(), "g/o", p, 0); err != nil || string(p) != "whole" || len(names) != 1 {
					t.Errorf("%q %v %v", p, err, names)
				}
				return
			}
			if len(names) != 0 {
				t.Errorf("visible: %v", names)
			}
			tag, err := s.PutTagged(t.Context(), "g/o", nil, "")
			if err != nil {
				t.Error(err)
			}
			if _, err := s.PutTagged(t.Context(), "g/o", nil, tag); err != nil {
				t.Error(err)
			}
		})
	}
}

func BenchmarkReadAt(b *testing.B) {
	s := openTest(b, b.TempDir())
	if _, err := s.Create(b.Context(), "o", strings.NewReader(strings.Repeat("x", 1<<20))); err != nil {
		b.Fatal(err)
	}
	p := make([]byte, 4096)
	for b.Loop() {
		if err := s.ReadAt(b.Context(), "o", p, 4096); err != nil {
			b.Fatal(err)
		}
	}
}
