package hashmap

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"understudy/internal/dr"
)

var shopData = dr.DiskID{Machine: "shop-db", Disk: "data"}

func mustCreate(t testing.TB, dir string, size int64) *Map {
	t.Helper()
	m, err := Create(dir, shopData, size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// diff returns what Diff emits, as text.
func diff(t testing.TB, m *Map, off int64, p []byte) string {
	t.Helper()
	var out string
	must(t, m.Diff(off, p, func(off int64, b []byte, zero bool) error {
		out += fmt.Sprintf("%d+%d", off, len(b))
		if zero {
			out += "z"
		}
		out += " "
		return nil
	}))
	return out
}

func diffZero(t testing.TB, m *Map, off, n int64) string {
	t.Helper()
	var out string
	must(t, m.DiffZero(off, n, func(off, n int64) error {
		out += fmt.Sprintf("%d+%d ", off, n)
		return nil
	}))
	return out
}

// content is blocks of letters, a dot for zeros.
func content(s string) []byte {
	var p []byte
	for _, c := range []byte(s) {
		if c == '.' {
			c = 0
		}
		p = append(p, bytes.Repeat([]byte{c}, block)...)
	}
	return p
}

func TestDiff(t *testing.T) {
	m := mustCreate(t, t.TempDir(), 8*block+100)
	want := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	want(diff(t, m, 0, content("aa..bc.d")), "0+8192 16384+8192 28672+4096 ")
	want(diff(t, m, 0, content("aa..bc.d")), "")
	want(diff(t, m, 0, content("a...bx..")), "4096+4096z 20480+4096 28672+4096z ")
	want(diff(t, m, 8*block, bytes.Repeat([]byte{1}, 100)), "32768+100 ")
	want(diff(t, m, 8*block, bytes.Repeat([]byte{1}, 100)), "")
	want(diffZero(t, m, 0, m.Size()), "0+4096 16384+8192 32768+100 ")
	want(diffZero(t, m, 0, m.Size()), "")
	want(diff(t, m, 0, content(".")), "")

	for _, r := range [][2]int64{{1, block}, {0, 100}, {-block, block}, {0, 10 * block}, {16 * block, 0}} {
		if err := m.check("compare", r[0], r[1]); dr.KindOf(err) != dr.KindInvalid {
			t.Errorf("%v: %v", r, err)
		}
	}
	// What could not be sent is not remembered.
	failed := errors.New("no")
	if err := m.Diff(0, content("q"), func(int64, []byte, bool) error { return failed }); !errors.Is(err, failed) {
		t.Error(err)
	}
	want(diff(t, m, 0, content("q")), "0+4096 ")
}

func TestStageApplyOpen(t *testing.T) {
	type end func(t *testing.T, m *Map)
	stage := func(t *testing.T, m *Map) { must(t, m.Stage("c2")) }
	for _, c := range []struct {
		name  string
		end   end
		head  string
		valid bool
		same  string // what the map then takes for unchanged
	}{
		{"lost before stage", func(*testing.T, *Map) {}, "c1", true, "aa"},
		{"staged, not committed", stage, "c1", true, "aa"},
		{"staged and committed", stage, "c2", true, "bb"},
		{"not staged, committed", func(*testing.T, *Map) {}, "c2", false, ""},
		{"applied", func(t *testing.T, m *Map) { stage(t, m); must(t, m.Apply()) }, "c2", true, "bb"},
		{"applied, vault put back", func(t *testing.T, m *Map) { stage(t, m); must(t, m.Apply()) }, "c1", false, ""},
		{"discarded", func(t *testing.T, m *Map) { stage(t, m); must(t, m.Discard()) }, "c1", true, "aa"},
		{"another's", stage, "c3", false, ""},
		{"no capture", stage, "", false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			m := mustCreate(t, dir, 2*block)
			diff(t, m, 0, content("aa"))
			must(t, m.Stage("c1"))
			must(t, m.Apply())
			diff(t, m, 0, content("bb"))
			c.end(t, m)
			must(t, m.Close())
			m, valid, err := Open(dir, shopData, 2*block, c.head)
			must(t, err)
			if valid != c.valid {
				t.Fatalf("valid: %v", valid)
			}
			if !valid {
				return
			}
			defer m.Close()
			if m.CaptureID() != c.head {
				t.Errorf("capture %q", m.CaptureID())
			}
			if d := diff(t, m, 0, content(c.same)); d != "" {
				t.Errorf("differs at %s", d)
			}
		})
	}
	if m, valid, err := Open(t.TempDir(), shopData, block, "c1"); m != nil || valid || err != nil {
		t.Errorf("missing map: %v %v", valid, err)
	}
}

func TestDamage(t *testing.T) {
	for _, at := range []int64{0, 9, 100} {
		dir := t.TempDir()
		m := mustCreate(t, dir, block)
		diff(t, m, 0, content("a"))
		must(t, m.Stage("c1"))
		must(t, m.Close())
		path := filepath.Join(dir, "shop-db", "data.stage")
		p, err := os.ReadFile(path)
		must(t, err)
		p[at] ^= 1
		must(t, os.WriteFile(path, p, 0o600))
		if _, valid, err := Open(dir, shopData, block, "c1"); valid || err != nil {
			t.Errorf("stage damaged at %d: %v %v", at, valid, err)
		}
	}
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "shop-db"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "shop-db", "data.map"), []byte("nonsense"), 0o600))
	if m, valid, err := Open(dir, shopData, block, "c1"); m != nil || valid || err != nil {
		t.Errorf("nonsense: %v %v", valid, err)
	}
}

func TestResize(t *testing.T) {
	dir := t.TempDir()
	m := mustCreate(t, dir, 4*block)
	diff(t, m, 0, content("abcd"))
	if err := m.Resize(block); err == nil {
		t.Error("resized with changes collected")
	}
	must(t, m.Stage("c1"))
	must(t, m.Apply())
	must(t, m.Close())
	m, valid, err := Open(dir, shopData, 2*block, "c1")
	if must(t, err); !valid {
		t.Fatal("not valid")
	}
	must(t, m.Resize(2000*block))
	defer m.Close()
	if got := diff(t, m, 0, content("abcd")); got != "8192+8192 " {
		t.Error(got)
	}
	if got := diffZero(t, m, 0, m.Size()); got != "0+16384 " {
		t.Error(got)
	}
}

// An interrupted seed goes on from what was marked, and sends again whatever may or may not be in it.
func TestMark(t *testing.T) {
	dir := t.TempDir()
	m := mustCreate(t, dir, 6*block)
	must(t, m.Stage("seed"))
	must(t, m.Apply())
	if got := diff(t, m, 0, content("abc.e.")); got != "0+12288 16384+4096 " {
		t.Error(got)
	}
	must(t, m.Mark(0, 2*block)) // c and e became durable too, but the crash came before their mark
	must(t, m.Close())

	m, valid, err := Open(dir, shopData, 6*block, "seed")
	if must(t, err); !valid {
		t.Fatal("not valid")
	}
	// Now c is zeros, which must be said; b has changed, and its mark is lost as well.
	if got := diff(t, m, 0, content("aB..e.")); got != "4096+4096 8192+8192z 16384+4096 20480+4096z " {
		t.Error(got)
	}
	must(t, m.Close())
	if m, valid, err = Open(dir, shopData, 6*block, "seed"); !valid || err != nil {
		t.Fatal(valid, err)
	}
	// b is back as it was first marked, but the seed has it otherwise.
	if got := diff(t, m, 0, content("ab..e.")); got != "4096+4096 8192+8192z 16384+4096 20480+4096z " {
		t.Error(got)
	}
	if got := diffZero(t, m, 3*block, 3*block); got != "12288+12288 " {
		t.Error(got)
	}
	must(t, m.Stage("c1"))
	must(t, m.Apply())
	if got := diff(t, m, 0, content("ab....")); got != "" {
		t.Error(got)
	}
	must(t, m.Close())
}

func TestNames(t *testing.T) {
	dir := t.TempDir()
	var ids []dr.DiskID
	for _, name := range []string{"a", "..", ".", "a/b", "../../x", "A b", "%2E"} {
		ids = append(ids, dr.DiskID{Machine: name, Disk: name})
	}
	for i, id := range ids {
		m, err := Create(dir, id, block)
		must(t, err)
		diff(t, m, 0, content(string(rune('a'+i))))
		must(t, m.Stage("c1"))
		must(t, m.Apply())
		must(t, m.Close())
	}
	for i, id := range ids {
		m, valid, err := Open(dir, id, block, "c1")
		if must(t, err); !valid {
			t.Fatal(id)
		}
		if got := diff(t, m, 0, content(string(rune('a'+i)))); got != "" {
			t.Errorf("%s: %s", id, got)
		}
		must(t, m.Close())
	}
	if entries, _ := os.ReadDir(dir); len(entries) != len(ids) {
		t.Errorf("%d folders for %d machines", len(entries), len(ids))
	}
}

func TestConcurrentDiff(t *testing.T) {
	const size = 1200 << 20 // more pages than are held
	m := mustCreate(t, t.TempDir(), size)
	var wg sync.WaitGroup
	for g := range int64(4) {
		wg.Go(func() {
			p := content("x.y")
			for off := g * (size / 4); off < (g+1)*(size/4); off += 1 << 20 {
				if err := m.Diff(off, p, func(int64, []byte, bool) error { return nil }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	must(t, m.Stage("c1"))
	must(t, m.Apply())
	n := 0
	must(t, m.DiffZero(0, size, func(int64, int64) error { n++; return nil }))
	if n != 2*1200 {
		t.Errorf("%d runs", n)
	}
}

func TestHugeSparseDisk(t *testing.T) {
	const size = 1 << 40
	m := mustCreate(t, t.TempDir(), size)
	diff(t, m, 1<<39, content("a"))
	must(t, m.Stage("c1"))
	must(t, m.Apply())
	if got := diffZero(t, m, 0, size); got != fmt.Sprintf("%d+4096 ", 1<<39) {
		t.Error(got)
	}
	must(t, m.Stage("c2"))
	must(t, m.Apply())
}

// powerFiles is a file system whose power fails: what was not synced is then there or not, block by block.
type powerFiles struct {
	rng   *rand.Rand
	files map[string]*powerFile
	left  int // operations until the power fails; negative for never
}

type powerFile struct {
	fs      *powerFiles
	now     []byte
	durable []byte
	named   bool // the name is durable
	sectors map[int64]bool
}

var errPower = errors.New("power failed")

func (p *powerFiles) op() error {
	if p.left == 0 {
		return errPower
	}
	p.left--
	return nil
}

func (p *powerFiles) open(path string, create bool) (file, error) {
	if err := p.op(); err != nil {
		return nil, err
	}
	f := p.files[path]
	if f == nil {
		if !create {
			return nil, fs.ErrNotExist
		}
		f = &powerFile{fs: p, sectors: map[int64]bool{}}
		p.files[path] = f
	}
	return f, nil
}

func (p *powerFiles) remove(path string) error {
	if err := p.op(); err != nil {
		return err
	}
	if f := p.files[path]; f != nil && p.rng.IntN(2) == 0 {
		delete(p.files, path) // else as if it had come back
	} else if f != nil {
		f.now = slices.Clone(f.durable)
	}
	return nil
}

func (p *powerFiles) makeDir(string) error { return p.op() }

func (p *powerFiles) syncDir(string) error {
	if err := p.op(); err != nil {
		return err
	}
	for _, f := range p.files {
		f.named = true
	}
	return nil
}

// restart brings the power back.
func (p *powerFiles) restart() {
	p.left = -1
	for path, f := range maps.Clone(p.files) {
		if !f.named && p.rng.IntN(2) == 0 {
			delete(p.files, path)
			continue
		}
		// A size that was not synced is the old or the new one; a sector is old or new.
		size := len(f.now)
		if p.rng.IntN(2) == 0 {
			size = len(f.durable)
		}
		data := make([]byte, size)
		copy(data, f.durable)
		for s := range f.sectors {
			lo, hi := s*512, min((s+1)*512, int64(len(f.now)), int64(size))
			if lo < hi && p.rng.IntN(2) == 0 {
				copy(data[lo:hi], f.now[lo:hi])
			}
		}
		f.now, f.durable = data, slices.Clone(data)
		clear(f.sectors)
	}
}

func (f *powerFile) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(f.now)) {
		return 0, io.EOF
	}
	n := copy(p, f.now[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *powerFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fs.op(); err != nil {
		return 0, err
	}
	if need := off + int64(len(p)); need > int64(len(f.now)) {
		f.now = append(f.now, make([]byte, need-int64(len(f.now)))...)
	}
	copy(f.now[off:], p)
	for s := off / 512; s*512 < off+int64(len(p)); s++ {
		f.sectors[s] = true
	}
	return len(p), nil
}

func (f *powerFile) Truncate(size int64) error {
	if err := f.fs.op(); err != nil {
		return err
	}
	if size <= int64(len(f.now)) {
		f.now = f.now[:size:size]
	} else {
		f.now = append(f.now, make([]byte, size-int64(len(f.now)))...)
	}
	return nil
}

func (f *powerFile) Sync() error {
	if err := f.fs.op(); err != nil {
		return err
	}
	f.durable = slices.Clone(f.now)
	clear(f.sectors)
	return nil
}

func (f *powerFile) Close() error { return nil }

func (f *powerFile) nextData(off int64) (int64, error) { return off, nil }
