package vault

import (
	"path/filepath"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob/faulty"
	"understudy/internal/vault/blob/mem"
)

func TestLeases(t *testing.T) {
	c := newClock()
	store := mem.New()
	a, b := newVault(t, store, c), openVault(t, store, c)
	ctx := t.Context()
	if _, err := a.Owner(ctx, "shop"); dr.KindOf(err) != dr.KindNotFound {
		t.Fatalf("no owner: %v", err)
	}
	la, err := a.Acquire(ctx, "shop", "east", "a", time.Minute)
	if err != nil || la.Epoch() != 1 || !la.Valid() {
		t.Fatal(la, err)
	}
	if _, err := b.Acquire(ctx, "shop", "east", "b", time.Minute); dr.KindOf(err) != dr.KindConflict {
		t.Fatalf("second holder: %v", err)
	}
	if _, err := b.Acquire(ctx, "shop", "west", "b", time.Minute); dr.KindOf(err) != dr.KindFenced {
		t.Fatalf("other site: %v", err)
	}
	c.advance(50 * time.Second)
	if err := la.Renew(ctx); err != nil {
		t.Fatal(err)
	}
	c.advance(61 * time.Second)
	if la.Valid() {
		t.Fatal("an old lease is valid")
	}
	lb, err := b.Acquire(ctx, "shop", "east", "b", time.Minute)
	if err != nil || lb.Epoch() != 1 {
		t.Fatal(lb, err)
	}
	if err := la.Renew(ctx); dr.KindOf(err) != dr.KindConflict || la.Valid() {
		t.Fatalf("renewal of a lost lease: %v", err)
	}
	if err := lb.Release(ctx); err != nil || lb.Valid() {
		t.Fatal(err)
	}
	if la, err = a.Acquire(ctx, "shop", "east", "a", time.Minute); err != nil {
		t.Fatal(err)
	}
	lw, err := b.TakeOver(ctx, "shop", "west", "b", time.Minute)
	if err != nil || lw.Epoch() != 2 {
		t.Fatal(lw, err)
	}
	if err := la.Renew(ctx); dr.KindOf(err) != dr.KindFenced {
		t.Fatalf("renewal after a failover: %v", err)
	}
	if o, err := a.Owner(ctx, "shop"); err != nil || o.Site != "west" || o.Epoch != 2 || o.Pending {
		t.Fatal(o, err)
	}
}

// TestStaleWriter lets the old owner's commit fall into each gap of a take-over.
func TestStaleWriter(t *testing.T) {
	for _, test := range []struct {
		name string
		// at is the call of the old owner's commit before which the take-over happens.
		at    faulty.Fault
		acked bool
	}{
		{"before the check", faulty.Fault{Op: faulty.GetTagged, Effect: faulty.Slow}, false},
		{"after the commit", faulty.Fault{Op: faulty.GetTagged, N: 2, Effect: faulty.Slow}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, w := newClock(), newWorldOf(8, 20*dr.BlockSize)
			inner := mem.New()
			store := faulty.New(inner)
			east, west := newVault(t, store, c), openVault(t, inner, c)
			l := acquire(t, east, "east")
			if _, err := w.cycle(t.Context(), east, l, c, filepath.Join(t.TempDir(), "j")); err != nil {
				t.Fatal(err)
			}
			w.change(5)
			wr, err := east.BeginDelta(t.Context(), l, w.spec(c))
			if err != nil {
				t.Fatal(err)
			}
			cp, err := w.send(wr, false)
			if err != nil {
				t.Fatal(err)
			}
			w.points["1-2"] = cp
			until := make(chan struct{})
			test.at.Until = until
			store.Plan(test.at)
			done := make(chan error)
			go func() { _, err := wr.Commit(t.Context()); done <- err }()
			for store.Calls(faulty.GetTagged) < max(test.at.N, 1) {
				time.Sleep(time.Millisecond)
			}
			lw, err := west.TakeOver(t.Context(), "shop", "west", "west", time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			close(until)
			err = <-done
			if test.acked != (err == nil) {
				t.Fatalf("commit: %v", err)
			}
			if err != nil && dr.KindOf(err) != dr.KindFenced {
				t.Fatalf("commit: %v", err)
			}
			p, err := w.cycle(t.Context(), west, lw, c, "")
			if err != nil {
				t.Fatal(err)
			}
			want := []string{"1-1", p.ID}
			if test.acked {
				want = append(want, "1-2")
			}
			w.verify(t, west, "shop", want...)
			if pts, err := west.Points(t.Context(), "shop"); err != nil || len(pts) != len(want) || p.Position.Epoch != 2 {
				t.Fatal(pts, err)
			}
		})
	}
}

// TestStaleObject puts an object of the old epoch into the vault behind the take-over: it is not part of history.
func TestStaleObject(t *testing.T) {
	c, w := newClock(), newWorldOf(9, 20*dr.BlockSize)
	store := mem.New()
	east, west := newVault(t, store, c), openVault(t, store, c)
	l := acquire(t, east, "east")
	for range 2 {
		if _, err := w.cycle(t.Context(), east, l, c, filepath.Join(t.TempDir(), "j")); err != nil {
			t.Fatal(err)
		}
		w.change(5)
	}
	wr, err := east.BeginDelta(t.Context(), l, w.spec(c))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.send(wr, false); err != nil {
		t.Fatal(err)
	}
	lw, err := west.TakeOver(t.Context(), "shop", "west", "west", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	// The worst case: the process slept between its last check and the end of its creation.
	if _, err := wr.sink.finish(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := l.confirm(t.Context(), wr.to); dr.KindOf(err) != dr.KindFenced {
		t.Fatalf("confirm: %v", err)
	}
	for range 3 {
		if _, err := w.cycle(t.Context(), west, lw, c, ""); err != nil {
			t.Fatal(err)
		}
		w.change(5)
	}
	w.verify(t, west, "shop", "1-1", "1-2", "2-4", "2-5", "2-6")
	if _, err := west.OpenPoint(t.Context(), "shop", "1-3"); dr.KindOf(err) != dr.KindNotFound {
		t.Fatalf("stale point: %v", err)
	}
	for range 2 {
		if _, err := west.Compact(t.Context(), lw, nil); err != nil {
			t.Fatal(err)
		}
		c.advance(20 * time.Minute)
	}
	w.verify(t, west, "shop", "1-1", "1-2", "2-4", "2-5", "2-6")
}

// TestTwoWritersOfOneEpoch lets two holders of one site write the same position: one of them wins.
func TestTwoWritersOfOneEpoch(t *testing.T) {
	c, w := newClock(), newWorldOf(10, 20*dr.BlockSize)
	store := mem.New()
	a, b := newVault(t, store, c), openVault(t, store, c)
	la, err := a.Acquire(t.Context(), "shop", "east", "a", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.cycle(t.Context(), a, la, c, filepath.Join(t.TempDir(), "j")); err != nil {
		t.Fatal(err)
	}
	wa, err := a.BeginDelta(t.Context(), la, w.spec(c))
	if err != nil {
		t.Fatal(err)
	}
	c.advance(2 * time.Minute)
	lb, err := b.Acquire(t.Context(), "shop", "east", "b", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	w.change(3)
	if _, err := w.cycle(t.Context(), b, lb, c, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := wa.Commit(t.Context()); dr.KindOf(err) != dr.KindConflict {
		t.Fatalf("commit without a lease: %v", err)
	}
	w.verify(t, a, "shop", "1-1", "1-2")
}

// TestCommitAgain commits a capture whose first commit was carried out though its answer was lost.
func TestCommitAgain(t *testing.T) {
	c, w := newClock(), newWorldOf(11, 20*dr.BlockSize)
	store := mem.New()
	v := newVault(t, store, c)
	l := acquire(t, v, "east")
	if _, err := w.cycle(t.Context(), v, l, c, filepath.Join(t.TempDir(), "j")); err != nil {
		t.Fatal(err)
	}
	w.change(5)
	spec := w.spec(c)
	var ids [2]string
	var writers [2]*Writer
	for i := range writers {
		var err error
		if writers[i], err = v.BeginDelta(t.Context(), l, spec); err != nil {
			t.Fatal(err)
		}
		if _, err := w.send(writers[i], false); err != nil {
			t.Fatal(err)
		}
	}
	w.points["1-2"] = w.copy()
	for i, wr := range writers {
		p, err := wr.Commit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = p.ID
	}
	if ids[0] != "1-2" || ids[1] != "1-2" {
		t.Fatal(ids)
	}
	w.verify(t, v, "shop", "1-2")
}
