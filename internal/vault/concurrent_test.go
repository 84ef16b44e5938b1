package vault

import (
	"bytes"
	"io"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob/mem"
)

// TestConcurrentUse writes a seed and a delta from several goroutines and reads a point from several.
func TestConcurrentUse(t *testing.T) {
	c, w := newClock(), newWorldOf(16, 1500*dr.BlockSize)
	w.change(1500)
	v := newVault(t, mem.New(), c)
	v.o.PartBytes = 512 << 10
	l := acquire(t, v, "east")
	id := w.ids()[0]
	for round := range 2 {
		var wr *Writer
		var err error
		if round == 0 {
			wr, err = v.BeginSeed(t.Context(), l, w.spec(c), filepath.Join(t.TempDir(), "j"), nil)
		} else {
			wr, err = v.BeginDelta(t.Context(), l, w.spec(c))
		}
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				for off := g * 16 * dr.BlockSize; off < len(w.disks[id]); off += 64 * dr.BlockSize {
					if err := wr.Write(id, int64(off), w.disks[id][off:min(off+16*dr.BlockSize, len(w.disks[id]))]); err != nil {
						t.Error(err)
					}
					wr.Stored()
				}
			})
		}
		wg.Wait()
		p, err := wr.Commit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		w.committed(p, w.copy())
		w.change(300)
	}
	p, err := v.OpenPoint(t.Context(), "shop", "1-2")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	d, err := p.Disk(id)
	if err != nil {
		t.Fatal(err)
	}
	want := w.points["1-2"][id]
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			buf := make([]byte, 70_001)
			for off := int64(g * 1000); off < d.Size(); off += 50_000 {
				n, err := d.ReadAt(buf, off)
				if err != nil && err != io.EOF {
					t.Error(err)
				}
				if !bytes.Equal(buf[:n], want[off:off+int64(n)]) || (err == io.EOF) != (off+int64(len(buf)) > d.Size()) {
					t.Errorf("read at %d differs", off)
				}
			}
		})
	}
	wg.Wait()
}

// TestHugeSparseDisk seeds, opens and reads a disk of 1 TiB with little in it, in little memory.
func TestHugeSparseDisk(t *testing.T) {
	const size = 1 << 40
	c := newClock()
	v := newVault(t, mem.New(), c)
	l := acquire(t, v, "east")
	id := dr.DiskID{Machine: "big", Disk: "data"}
	spec := Spec{CaptureID: "huge", Time: c.now(), Kind: dr.CrashConsistent, Machines: []dr.Machine{{Name: "big", Disks: []dr.Disk{{Name: "data", Size: size}}}}}
	began := time.Now()
	wr, err := v.BeginSeed(t.Context(), l, spec, filepath.Join(t.TempDir(), "j"), nil)
	if err != nil {
		t.Fatal(err)
	}
	block := bytes.Repeat([]byte("data"), dr.BlockSize/4)
	for off := int64(0); off < size; off += 1 << 30 {
		if err := wr.Write(id, off, block); err != nil {
			t.Fatal(err)
		}
		if err := wr.Zero(id, off+dr.BlockSize, 1<<30-dr.BlockSize); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := wr.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	p, err := v.OpenPoint(t.Context(), "shop", "1-1")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	d, err := p.Disk(id)
	if err != nil {
		t.Fatal(err)
	}
	if e := d.Extents(0, size); len(e) != 2<<10 {
		t.Errorf("%d extents", len(e))
	}
	buf := make([]byte, 2*dr.BlockSize)
	if _, err := d.ReadAt(buf, 1<<39); err != nil || !bytes.Equal(buf[:dr.BlockSize], block) {
		t.Error("reads differently", err)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("took %s, heap from the system %d MiB", time.Since(began).Round(time.Millisecond), m.HeapSys>>20)
}
