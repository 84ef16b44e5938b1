package nbd_test

import (
	"bytes"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"understudy/internal/nbd"
)

func newOverlay(t testing.TB, base nbd.Device) *nbd.Overlay {
	t.Helper()
	o, err := nbd.NewOverlay(base, filepath.Join(t.TempDir(), "overlay"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return o
}

// TestOverlayModel compares an overlay with a slice under random writes, zeros, reads and extents, over its pages' ends.
func TestOverlayModel(t *testing.T) {
	base := &pattern{size: 66<<20 + 1234}
	o := newOverlay(t, base)
	model := base.bytes()
	seed := rand.Uint64()
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for step := range 400 {
		n := r.Int64N(20000)
		if step%50 == 0 {
			n = r.Int64N(base.size)
		}
		off := r.Int64N(base.size - n + 1)
		if step%3 == 0 { // near the end of a page, and of the disk
			off = min(64<<20-r.Int64N(10000), base.size-n)
		}
		switch r.IntN(4) {
		case 0:
			p := bytes.Repeat([]byte{byte(step), 1}, int(n/2+1))[:n]
			if _, err := o.WriteAt(p, off); err != nil {
				t.Fatal(err)
			}
			copy(model[off:], p)
		case 1:
			if err := o.Zero(off, n); err != nil {
				t.Fatal(err)
			}
			clear(model[off : off+n])
		case 2:
			p := make([]byte, n)
			if _, err := o.ReadAt(p, off); n > 0 && err != nil || !bytes.Equal(p, model[off:off+n]) {
				t.Fatalf("step %d: read %d at %d: %v", step, n, off, err)
			}
		case 3:
			at := off
			for _, e := range o.Extents(off, n) {
				if e.Offset != at || e.Length <= 0 {
					t.Fatalf("step %d: extent %+v, want it at %d", step, e, at)
				}
				at += e.Length
				if e.Zero && len(bytes.Trim(model[e.Offset:e.End()], "\x00")) > 0 {
					t.Fatalf("step %d: extent %+v is not zero", step, e)
				}
			}
			if at != off+n {
				t.Fatalf("step %d: extents end at %d, want %d", step, at, off+n)
			}
		}
	}
	all := make([]byte, base.size)
	if _, err := o.ReadAt(all, 0); err != nil || !bytes.Equal(all, model) {
		t.Fatalf("whole: %v", err)
	}
}

// TestOverlayNeighbours writes the parts of blocks from many goroutines: none may undo another's.
func TestOverlayNeighbours(t *testing.T) {
	base := &pattern{size: 1 << 20}
	o := newOverlay(t, base)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for at := int64(g * 512); at < base.size; at += 4096 {
				if _, err := o.WriteAt(bytes.Repeat([]byte{byte(g + 1)}, 512), at); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got := make([]byte, base.size)
	if _, err := o.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	for i, b := range got {
		if b != byte(i/512%8+1) {
			t.Fatalf("byte %d is %d", i, b)
		}
	}
	if o.Used() != base.size {
		t.Errorf("used %d", o.Used())
	}
	if err := o.Zero(0, base.size); err != nil || o.Used() != 0 {
		t.Errorf("used %d after zeroing, %v", o.Used(), err)
	}
}

func TestOverlayHuge(t *testing.T) {
	o := newOverlay(t, &sparse{size: 1 << 40})
	if err := o.Zero(5, 1<<40-10); err != nil {
		t.Fatal(err)
	}
	if x := o.Extents(0, 1<<40); len(x) != 3 || !x[1].Zero || x[1].Length != 1<<40-8192 {
		t.Errorf("extents %v", x)
	}
}

// sparse is a big device of zeros that does not know its extents.
type sparse struct{ size int64 }

func (s *sparse) Size() int64 { return s.size }

func (s *sparse) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}
