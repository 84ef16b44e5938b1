package transfer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"understudy/internal/dr"
)

// A disk is a disk in memory. What is written lies in a cache until Flush; crash loses some of that.
type disk struct {
	mu      sync.Mutex
	b       []byte
	stable  []byte
	reads   int64
	writes  int64
	zeroed  int64
	budget  int // writes until they fail; negative: never
	opaque  bool
	onWrite func()
}

var errBudget = errors.New("no more writes")

func newDisk(size int) *disk {
	return &disk{b: make([]byte, size), stable: make([]byte, size), budget: -1}
}

func (d *disk) Size() int64 { return int64(len(d.b)) }

func (d *disk) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := copy(p, d.b[off:])
	d.reads += int64(n)
	if off+int64(n) == d.Size() {
		return n, io.EOF
	}
	return n, nil
}

func (d *disk) spend() error {
	if d.onWrite != nil {
		d.onWrite()
	}
	if d.budget == 0 {
		return errBudget
	}
	d.budget--
	return nil
}

func (d *disk) WriteAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.spend(); err != nil {
		return 0, err
	}
	d.writes += int64(len(p))
	return copy(d.b[off:], p), nil
}

func (d *disk) Zero(off, n int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.spend(); err != nil {
		return err
	}
	d.zeroed += n
	clear(d.b[off : off+n])
	return nil
}

func (d *disk) Flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	copy(d.stable, d.b)
	return nil
}

// crash keeps a random part of what was not flushed.
func (d *disk) crash(keep func() bool) {
	for off := 0; off < len(d.b); off += dr.BlockSize {
		end := min(off+dr.BlockSize, len(d.b))
		if !keep() {
			copy(d.b[off:end], d.stable[off:end])
		}
	}
	copy(d.stable, d.b)
}

func (d *disk) Extents(_ context.Context, off, n int64) ([]dr.Extent, error) {
	if d.opaque {
		return []dr.Extent{{Offset: off, Length: n}}, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []dr.Extent
	for at := off; at < off+n; {
		end := min(at-at%65536+65536, off+n)
		zero := bytes.Count(d.b[at:end], []byte{0}) == int(end-at)
		if k := len(out) - 1; k >= 0 && out[k].Zero == zero {
			out[k].Length += end - at
		} else {
			out = append(out, dr.Extent{Offset: at, Length: end - at, Zero: zero})
		}
		at = end
	}
	return out, nil
}

// scribble fills some blocks with data.
func scribble(d *disk, rnd *rand.Rand, blocks int) {
	for range blocks {
		at := rnd.IntN((len(d.b)+dr.BlockSize-1)/dr.BlockSize) * dr.BlockSize
		for i := at; i < min(at+dr.BlockSize, len(d.b)); i++ {
			d.b[i] = byte(rnd.Uint32())
		}
	}
}

const size = 5<<20 + 12345

func mustCopy(t *testing.T, j Job) Stats {
	t.Helper()
	s, err := Copy(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFresh(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	src, dst := newDisk(size), newDisk(size+1<<20)
	scribble(src, rnd, 100)
	var last int64
	var mu sync.Mutex
	s := mustCopy(t, Job{Source: src, Target: dst, Progress: func(done, total int64) {
		mu.Lock()
		defer mu.Unlock()
		if last = max(last, done); total != size {
			t.Error(total)
		}
	}})
	if !bytes.Equal(src.b, dst.b[:size]) || !bytes.Equal(dst.stable, dst.b) {
		t.Fatal("the copy differs, or is not stable")
	}
	if s.Written >= 101*dr.BlockSize || s.Written != dst.writes || dst.zeroed != 0 || s.Differ != s.Written || last != size {
		t.Errorf("%+v, %d written, %d zeroed, %d done", s, dst.writes, dst.zeroed, last)
	}
	sum, err := Sum(t.Context(), dst, size, 0, nil)
	if err != nil || sum != s.Sum || sum.IsZero() {
		t.Errorf("sum %s, of the copy %s: %v", sum, s.Sum, err)
	}
	text, _ := sum.MarshalText()
	var back Digest
	if err := back.UnmarshalText(text); err != nil || back != sum {
		t.Error(back, err)
	}
}

func TestCompare(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 1))
	src, dst := newDisk(size), newDisk(size)
	scribble(src, rnd, 300)
	copy(dst.b, src.b)
	scribble(dst, rnd, 20)
	clear(src.b[1<<20 : 1<<20+8192])
	dst.b[1<<20+5] = 1
	var differ int64
	for off := 0; off < size; off += dr.BlockSize {
		if end := min(off+dr.BlockSize, size); !bytes.Equal(src.b[off:end], dst.b[off:end]) {
			differ += int64(end - off)
		}
	}
	before := slices.Clone(dst.b)
	s := mustCopy(t, Job{Source: src, Target: dst, Compare: true, DryRun: true})
	if s.Differ != differ || s.Written != 0 || !bytes.Equal(before, dst.b) {
		t.Fatalf("dry run %+v, want %d", s, differ)
	}
	if n, err := Verify(t.Context(), src, dst, 0, nil); err != nil || n != differ {
		t.Error(n, err)
	}
	s = mustCopy(t, Job{Source: src, Target: dst, Compare: true})
	if s.Differ != differ || dst.writes+dst.zeroed != differ || dst.zeroed < dr.BlockSize || !bytes.Equal(src.b, dst.b) {
		t.Errorf("%+v: %d written, %d zeroed, want %d", s, dst.writes, dst.zeroed, differ)
	}
	if sum, err := Sum(t.Context(), src, size, 1, nil); err != nil || sum != s.Sum {
		t.Error(sum, s.Sum, err)
	}
}

func TestSame(t *testing.T) {
	for _, dry := range []bool{false, true} {
		rnd := rand.New(rand.NewPCG(3, 1))
		src, dst := newDisk(size), newDisk(size)
		scribble(src, rnd, 400)
		copy(dst.b, src.b)
		scribble(dst, rnd, 10)
		src.opaque = true
		differ := mustCopy(t, Job{Source: src, Target: dst, Compare: true, DryRun: true}).Differ
		src.reads = 0
		s := mustCopy(t, Job{Source: src, Target: dst, Compare: true, DryRun: dry, Same: func(off int64, block []byte) (bool, bool) {
			if off%dr.BlockSize != 0 {
				t.Error(off)
			}
			if off < 1<<20 && off%(16*dr.BlockSize) == 0 {
				return false, false
			}
			return bytes.Equal(block, src.b[off:off+int64(len(block))]), true
		}})
		if s.Differ != differ || s.Read != src.reads || s.Read > differ+16*dr.BlockSize || !dry && !bytes.Equal(src.b, dst.b) {
			t.Errorf("dry %t: %+v of %d", dry, s, differ)
		}
		if !s.Sum.IsZero() == dry {
			t.Errorf("dry %t: sum %s", dry, s.Sum)
		}
	}
}

func TestRanges(t *testing.T) {
	rnd := rand.New(rand.NewPCG(4, 1))
	src, dst := newDisk(size), newDisk(size)
	scribble(src, rnd, 2000)
	ranges := []dr.Extent{{Offset: 100, Length: 5000}, {Offset: 1 << 20, Length: 1<<20 + 77}, {Offset: size - 10, Length: 10}}
	want := make([]byte, size)
	for _, e := range ranges {
		copy(want[e.Offset:e.End()], src.b[e.Offset:e.End()])
	}
	s := mustCopy(t, Job{Source: src, Target: dst, Compare: true, Ranges: ranges, Journal: filepath.Join(t.TempDir(), "j")})
	if !bytes.Equal(dst.b, want) || s.Total != 5000+1<<20+77+10 || !s.Sum.IsZero() {
		t.Errorf("%+v", s)
	}
	for _, bad := range [][]dr.Extent{{{Offset: 5, Length: 0}}, {{Offset: 10, Length: 5}, {Offset: 12, Length: 5}}, {{Offset: size - 1, Length: 2}}} {
		if _, err := Copy(t.Context(), Job{Source: src, Target: dst, Ranges: bad}); err == nil {
			t.Error("accepted", bad)
		}
	}
	if s, err := Copy(t.Context(), Job{Source: src, Target: dst, Ranges: []dr.Extent{}}); err != nil || s.Total != 0 {
		t.Error(s, err)
	}
	if _, err := Copy(t.Context(), Job{Source: src, Target: newDisk(size - 1)}); dr.KindOf(err) != dr.KindInvalid {
		t.Error(err)
	}
}

func TestFixedResumes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 1))
	src, dst := newDisk(64<<20), newDisk(64<<20)
	scribble(src, rnd, 5000)
	job := Job{Source: src, Target: dst, Journal: filepath.Join(t.TempDir(), "sub", "j"), Label: "clone", Fixed: true, Parallel: 2}
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	dst.onWrite = func() {
		if n++; n == 2000 {
			cancel()
		}
	}
	if _, err := Copy(ctx, job); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	dst.onWrite = nil
	first := src.reads
	s := mustCopy(t, job)
	if !bytes.Equal(src.b, dst.b) || s.Read > 64<<20-first+1<<20 {
		t.Errorf("read %d of %d after %d", s.Read, 64<<20, first)
	}
	if s2 := mustCopy(t, job); s2.Read != 0 || s2.Written != 0 || s2.Sum != s.Sum {
		t.Errorf("%+v after %+v", s2, s)
	}
	// Of another label, nothing is believed, but the target is compared.
	job.Label = "other"
	scribble(dst, rnd, 5)
	if s := mustCopy(t, job); s.Read == 0 || s.Written > 5*dr.BlockSize || !bytes.Equal(src.b, dst.b) {
		t.Errorf("%+v", s)
	}
}

// TestThereAndBack changes the source, is ended in the middle of copying that, and finds the source as it was before: the
// journal must not say that the target still is, too.
func TestThereAndBack(t *testing.T) {
	rnd := rand.New(rand.NewPCG(6, 1))
	src, dst := newDisk(1<<20), newDisk(1<<20)
	scribble(src, rnd, 50)
	job := Job{Source: src, Target: dst, Journal: filepath.Join(t.TempDir(), "j")}
	mustCopy(t, job)
	before := slices.Clone(src.b)
	scribble(src, rnd, 50)
	dst.budget = 10
	if _, err := Copy(t.Context(), job); !errors.Is(err, errBudget) {
		t.Fatal(err)
	}
	dst.budget = -1
	src.b = before
	mustCopy(t, job)
	if !bytes.Equal(src.b, dst.stable) {
		t.Error("the copy differs")
	}
}

// TestCrashes ends copies of a source that changes at random writes, with what was not flushed lost in part, and with
// the end of the journal torn. However it goes, the copy that completes is right.
func TestCrashes(t *testing.T) {
	for seed := range uint64(16) {
		crash(t, rand.New(rand.NewPCG(seed, 1)), filepath.Join(t.TempDir(), "j"))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func crash(t *testing.T, rnd *rand.Rand, journal string) {
	const size = 3<<20 + 700
	src, dst := newDisk(size), newDisk(size)
	scribble(src, rnd, 200)
	job := Job{Source: src, Target: dst, Journal: journal, Label: "x", Fixed: rnd.IntN(3) == 0, Compare: rnd.IntN(2) == 0, Parallel: 1 + rnd.IntN(3)}
	if job.Compare {
		scribble(dst, rnd, 50)
		copy(dst.stable, dst.b)
	}
	for range rnd.IntN(6) {
		dst.budget = rnd.IntN(150)
		if _, err := Copy(t.Context(), job); err == nil {
			dst.budget = -1
		} else if !errors.Is(err, errBudget) {
			t.Error(err)
		}
		dst.crash(func() bool { return rnd.IntN(2) == 0 })
		if !job.Fixed {
			scribble(src, rnd, rnd.IntN(10))
			at := rnd.IntN(size / 2)
			clear(src.b[at : at+rnd.IntN(size/4)])
		}
		if f, err := os.OpenFile(job.Journal, os.O_WRONLY|os.O_APPEND, 0); err == nil && rnd.IntN(2) == 0 {
			f.Write(make([]byte, rnd.IntN(100)))
			f.Close()
		}
	}
	dst.budget = -1
	s, err := Copy(t.Context(), job)
	if err != nil {
		t.Error(err)
	}
	if !bytes.Equal(src.b, dst.stable) {
		t.Error("the copy differs")
	}
	if sum, err := Sum(t.Context(), src, size, 1, nil); err != nil || sum != s.Sum {
		t.Error(sum, s.Sum, err)
	}
}

func BenchmarkCopy(b *testing.B) {
	src, dst := newDisk(256<<20), newDisk(256<<20)
	for i := range src.b {
		src.b[i] = byte(i*7 + i>>12)
	}
	b.SetBytes(256 << 20)
	for b.Loop() {
		if _, err := Copy(b.Context(), Job{Source: src, Target: dst}); err != nil {
			b.Fatal(err)
		}
	}
}
