package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"understudy/internal/api/wire"
)

// fillVault lets the vault's file system run full: first so that only small objects fit, then to the last byte.
func (s *shopGroup) fillVault(t *testing.T) {
	if !s.tmpfs {
		t.Skip("only root can give the vault a small file system")
	}
	before := s.points(t)
	began := time.Now()
	ballast := filepath.Join(s.dir, "v", "ballast")
	t.Cleanup(func() { os.Remove(ballast) }) // the parts that follow need space
	size, err := fill(ballast)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(ballast, size-64<<10); err != nil {
		t.Fatal(err)
	}
	s.full(t, 2)
	if _, err := fill(ballast); err != nil {
		t.Fatal(err)
	}
	s.full(t, s.status(t, group).Failures+1)
	s.keeps(t, before)
	s.east.goesOn(t)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	c := s.cycles(t, 1)[0]
	silence := s.east.silence(began)
	t.Logf("after space was freed: %s %s; longest silence of the database %.1f s", c.Kind, c.Reason, silence.Seconds())
	if silence > 5*time.Second {
		t.Errorf("the database stood still for %s", silence)
	}
	if c.Kind != "delta" {
		t.Errorf("the full vault cost the change tracking: %s %s", c.Kind, c.Reason)
	}
	s.keeps(t, before)
	s.main.must(t, "vault", "verify", s.vault, "--group", group)
}

// full waits for so many failures in a row and reads what they say.
func (s *shopGroup) full(t *testing.T, failures int) {
	t.Helper()
	var st wire.Status
	eventually(t, 30*time.Second, "the report that the vault is full", func() error {
		if st = s.status(t, group); st.Failures < failures {
			return fmt.Errorf("%d failures, %s", st.Failures, st.Error)
		}
		return nil
	})
	t.Logf("error %q, hint %q", st.Error, st.Hint)
	if !strings.Contains(st.Error, "no space left on device") || st.Hint == "" || st.Replication != "failing" {
		t.Errorf("%s: error %q, hint %q", st.Replication, st.Error, st.Hint)
	}
}

// fill writes a file until its file system is full, and returns the size of the file.
func fill(file string) (size int64, err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	for len(block) > 0 {
		if _, err := f.Write(block); err != nil {
			block = block[:len(block)/2] // to the last byte
		}
	}
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

// verified is what `understudy vault verify -o json` says of a group.
type verified struct {
	OK      bool
	Good    []string
	Spoiled []string
	Corrupt []struct {
		Object string
		Points []string
	}
}

func (s *shopGroup) corrupt(t *testing.T) {
	if err := s.main.Pause(t.Context(), group); err != nil {
		t.Fatal(err)
	}
	points := s.points(t)
	victim := points[len(points)-3]
	var object string
	err := filepath.WalkDir(s.vault, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(path, "/p/") && isSegment(filepath.Base(path), victim) {
			object = path
		}
		return err
	})
	if err != nil || object == "" {
		t.Fatalf("no object of point %s: %v", victim, err)
	}
	whole, err := os.ReadFile(object)
	if err != nil {
		t.Fatal(err)
	}
	bad := slices.Clone(whole)
	bad[len(bad)/2] ^= 0x10
	replace(t, object, bad)
	code, out := s.main.run(t, "vault", "verify", s.vault, "--group", group, "-o", "json")
	if code != 6 {
		t.Errorf("vault verify: exit %d, want 6\n%s", code, out)
	}
	var list []verified
	if err := json.NewDecoder(strings.NewReader(out[strings.Index(out, "["):])).Decode(&list); err != nil || len(list) != 1 {
		t.Fatalf("%v\n%s", err, out)
	}
	v := list[0]
	if v.OK || len(v.Corrupt) != 1 || !strings.HasSuffix(object, v.Corrupt[0].Object) || !slices.Contains(v.Corrupt[0].Points, victim) {
		t.Errorf("%s was damaged: %+v", object, v)
	}
	t.Logf("damaged %s: %s spoils %v, %d good", filepath.Base(object), v.Corrupt[0].Object, v.Corrupt[0].Points, len(v.Good))
	if len(v.Good)+len(v.Spoiled) != len(points) || !slices.Contains(v.Spoiled, victim) || !slices.Equal(v.Good[:len(points)-3], points[:len(points)-3]) {
		t.Errorf("of %v, good: %v, spoiled: %v", points, v.Good, v.Spoiled)
	}
	s.records(t, s.east, group, db.name, points[len(points)-4])
	dir := t.TempDir()
	code, out = s.main.run(t, "restore", "--vault", s.vault, "--group", group, "--point", victim, dir+"/")
	t.Logf("restore of %s: exit %d\n%s", victim, code, out)
	if code != 6 {
		t.Errorf("restore of a spoiled point: exit %d, want 6\n%s", code, out)
	}
	// Disks that were whole before the damaged one may be there, and nothing else.
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 2 {
		t.Errorf("the restore that failed left %v %v", left, err)
	}
	for _, f := range left {
		if filepath.Ext(f.Name()) != ".raw" {
			t.Errorf("the restore that failed left %s", f.Name())
		}
	}
	replace(t, object, whole)
	s.main.must(t, "vault", "verify", s.vault, "--group", group)
	if err := s.main.Resume(t.Context(), group); err != nil {
		t.Fatal(err)
	}
	s.cycles(t, 1)
}

// isSegment reports whether the name of an object is that of the segment that a point ends.
func isSegment(name, point string) bool {
	epoch, sequence, _ := strings.Cut(strings.TrimLeft(name, "0"), "-")
	e, q, _ := strings.Cut(point, "-")
	return epoch == e && strings.TrimLeft(sequence, "0") == q
}

// replace changes an object behind the vault's back.
func replace(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
