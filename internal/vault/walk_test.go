package vault

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"understudy/internal/vault/blob/mem"
)

// TestWalkFindsAllData compares what a walk visits with what reads return, over layers that hide parts of each other.
func TestWalkFindsAllData(t *testing.T) {
	p := layeredPoint(t)
	for id, d := range p.disks {
		want := make([]byte, d.Size())
		if _, err := d.ReadAt(want, 0); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		got := make([]byte, d.Size())
		seen := make([]bool, d.Size())
		var mu sync.Mutex
		err := d.Walk(t.Context(), func(off int64, b []byte) error {
			mu.Lock()
			defer mu.Unlock()
			copy(got[off:], b)
			for i := range b {
				if seen[off+int64(i)] {
					t.Fatalf("%s: byte %d was visited twice", id, off+int64(i))
				}
				seen[off+int64(i)] = true
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: the walk and reads differ", id)
		}
	}
}

func TestWalkStops(t *testing.T) {
	p := layeredPoint(t)
	broken := errors.New("disk full")
	for id, d := range p.disks {
		if err := d.Walk(t.Context(), func(int64, []byte) error { return broken }); !errors.Is(err, broken) {
			t.Errorf("%s: a taker that fails: %v", id, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := d.Walk(ctx, func(int64, []byte) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: a cancelled walk: %v", id, err)
		}
	}
}

// layeredPoint opens the newest of a seed and some deltas.
func layeredPoint(t *testing.T) *Point {
	t.Helper()
	c := newClock()
	v := newVault(t, mem.New(), c)
	l, err := v.Acquire(t.Context(), "g", "east", "test", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(1)
	var newest string
	for range 5 {
		info, err := w.cycle(t.Context(), v, l, c, filepath.Join(t.TempDir(), "journal"))
		if err != nil {
			t.Fatal(err)
		}
		newest = info.ID
		w.change(60)
	}
	p, err := v.OpenPoint(t.Context(), "g", newest)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}
