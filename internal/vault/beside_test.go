package vault

import (
	"bytes"
	"context"
	"io"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob/mem"

	"filippo.io/age"
)

// TestCompactBesideTheWriter compacts without pause while the same lease writes points, and while a reader has one open:
// no cycle fails, every listed point is what was captured, and the open one stays readable.
func TestCompactBesideTheWriter(t *testing.T) {
	w := newWorld(11)
	v := newVault(t, mem.New(), &clock{time.Now()})
	v, err := Open(t.Context(), v.store, Options{Identities: []age.Identity{testIdentity}, PartBytes: 64 << 10, Workers: 2, Grace: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	l := acquire(t, v, "east")
	ctx, stop := context.WithCancel(t.Context())
	var total CompactStats
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() {
		for ctx.Err() == nil {
			s, err := v.Compact(ctx, l, []dr.Tier{{For: 300 * time.Millisecond}, {Every: 250 * time.Millisecond, For: time.Hour}})
			if err != nil && ctx.Err() == nil {
				t.Errorf("compact: %v", err)
				return
			}
			total.Dropped += s.Dropped
			total.Merged += s.Merged
			total.Deleted += s.Deleted
		}
	})
	journal := filepath.Join(t.TempDir(), "journal")
	var open *Point
	var last string
	for began, i := time.Now(), 0; time.Since(began) < 1500*time.Millisecond || i < 40; i++ {
		p, err := w.cycle(t.Context(), v, l, &clock{time.Now()}, journal)
		if err != nil {
			t.Fatal(err)
		}
		if last = p.ID; i == 5 {
			if open, err = v.OpenPoint(t.Context(), "shop", last); err != nil {
				t.Fatal(err)
			}
			defer open.Close()
		}
		w.change(6)
	}
	stop()
	wg.Wait()
	t.Logf("%s: %+v", last, total)
	if total.Dropped == 0 || total.Merged == 0 || total.Deleted == 0 {
		t.Error("the compactions did nothing")
	}
	w.verify(t, v, "shop", last)
	for id, want := range w.points[open.Info().ID] {
		d, err := open.Disk(id)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, d.Size())
		if _, err := d.ReadAt(got, 0); err != nil && err != io.EOF || !bytes.Equal(got, want) {
			t.Errorf("the open point reads differently: %v", err)
		}
	}
}
