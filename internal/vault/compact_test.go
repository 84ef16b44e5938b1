package vault

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob/mem"
)

func TestCompactKeepsEveryPoint(t *testing.T) {
	c, w := newClock(), newWorld(2)
	store := mem.New()
	v := newVault(t, store, c)
	l := acquire(t, v, "east")
	journal := filepath.Join(t.TempDir(), "journal")
	var ids []string
	for i := range 70 {
		p, err := w.cycle(t.Context(), v, l, c, journal)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, p.ID)
		w.change(4)
		c.advance(30 * time.Second)
		if err := l.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		if i%5 == 4 {
			if _, err := v.Compact(t.Context(), l, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.advance(time.Hour)
	if err := l.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Compact(t.Context(), l, nil); err != nil {
		t.Fatal(err)
	}
	w.verify(t, openVault(t, store, c), "shop", ids...)
	for i, id := range ids {
		if p, err := v.FindPoint(t.Context(), "shop", id); err != nil || p.Skew != time.Duration(i+1)*time.Millisecond {
			t.Errorf("point %s has a skew of %s, %v", id, p.Skew, err)
		}
	}
	s, err := v.Stats(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	if s.Points != 70 || s.Merged == 0 || s.Depth > 9 || s.GarbageBytes != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestRetention(t *testing.T) {
	c, w := newClock(), newWorld(3)
	store := mem.New()
	v := newVault(t, store, c)
	l := acquire(t, v, "east")
	journal := filepath.Join(t.TempDir(), "journal")
	keep := []dr.Tier{{Every: 0, For: 5 * time.Minute}, {Every: 10 * time.Minute, For: time.Hour}}
	var last string
	for i := range 100 {
		p, err := w.cycle(t.Context(), v, l, c, journal)
		if err != nil {
			t.Fatal(err)
		}
		last = p.ID
		w.change(3)
		c.advance(time.Minute)
		if err := l.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		if i%4 == 3 {
			before, err := v.Points(t.Context(), "shop")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := v.Compact(t.Context(), l, keep); err != nil {
				t.Fatal(err)
			}
			after, err := v.Points(t.Context(), "shop")
			if err != nil {
				t.Fatal(err)
			}
			want := dr.Retain(before, keep, c.now())
			if !slices.EqualFunc(after, want, func(a, b dr.RecoveryPoint) bool {
				return a.ID == b.ID && a.Position == b.Position && a.Bytes == b.Bytes
			}) {
				t.Fatalf("points after %v\nwant %v", ids(after), ids(want))
			}
			// What was dropped is not there any more, although newer points may still be made of it: it is not damaged.
			for _, p := range before {
				if slices.Contains(ids(after), p.ID) {
					continue
				}
				if _, err := v.OpenPoint(t.Context(), "shop", p.ID); dr.KindOf(err) != dr.KindNotFound {
					t.Fatalf("open point %s, which retention dropped: %v", p.ID, err)
				}
			}
			w.verify(t, v, "shop", last)
		}
	}
	s, err := v.Stats(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	if s.Points > 14 || s.Objects > 60 {
		t.Errorf("stats %+v", s)
	}
	// The clock jumps back a year: the newest point by position stays, and new ones come after it.
	c.advance(-365 * 24 * time.Hour)
	l = acquireAgain(t, v)
	for range 3 {
		p, err := w.cycle(t.Context(), v, l, c, journal)
		if err != nil {
			t.Fatal(err)
		}
		last = p.ID
		w.change(3)
	}
	c.advance(30 * time.Minute)
	if _, err := v.Compact(t.Context(), l, keep); err != nil {
		t.Fatal(err)
	}
	w.verify(t, v, "shop", last)
	if h, err := v.Head(t.Context(), "shop"); err != nil || h.Point.ID != last {
		t.Fatal(h, err)
	}
}

func acquireAgain(t *testing.T, v *Vault) *Lease {
	t.Helper()
	l, err := v.Acquire(t.Context(), "shop", "east", "east-controller", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func ids(points []dr.RecoveryPoint) (ids []string) {
	for _, p := range points {
		ids = append(ids, p.ID)
	}
	return ids
}

func TestPinnedPointStaysReadable(t *testing.T) {
	c, w := newClock(), newWorld(4)
	v := newVault(t, mem.New(), c)
	l := acquire(t, v, "east")
	journal := filepath.Join(t.TempDir(), "journal")
	cycles := func(n int) {
		for range n {
			if _, err := w.cycle(t.Context(), v, l, c, journal); err != nil {
				t.Fatal(err)
			}
			w.change(5)
			c.advance(time.Minute)
		}
	}
	cycles(20)
	p, err := v.OpenPoint(t.Context(), "shop", "1-7")
	if err != nil {
		t.Fatal(err)
	}
	keep := []dr.Tier{{Every: 0, For: time.Minute}}
	if _, err := v.Compact(t.Context(), l, keep); err != nil {
		t.Fatal(err)
	}
	c.advance(v.o.Grace)
	s, err := v.Compact(t.Context(), l, keep)
	if err != nil {
		t.Fatal(err)
	}
	if s.Deleted == 0 || s.Waiting == 0 {
		t.Fatalf("with a pin: %+v", s)
	}
	for id, want := range w.points["1-7"] {
		d, err := p.Disk(id)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, d.Size())
		if _, err := d.ReadAt(got, 0); err != nil || !slices.Equal(got, want) {
			t.Fatal("pinned point reads differently", err)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = v.Compact(t.Context(), l, keep); err != nil || s.Deleted == 0 || s.Waiting != 0 {
		t.Fatalf("after the pin: %+v, %v", s, err)
	}
	if _, err := v.OpenPoint(t.Context(), "shop", "1-7"); dr.KindOf(err) != dr.KindNotFound {
		t.Fatalf("dropped point: %v", err)
	}
}

func TestStructure(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 9))
		var positions []dr.Position
		sizes := map[dr.Position]int64{}
		kept := map[dr.Position]bool{}
		seq := uint64(rng.IntN(5))
		for range 1 + rng.IntN(800) {
			seq += 1 + uint64(rng.IntN(1+rng.IntN(40)))
			p := dr.Position{Epoch: 1 + seq/300, Sequence: seq}
			positions = append(positions, p)
			sizes[p] = 1 + rng.Int64N(1000)
			kept[p] = rng.IntN(3) > 0
		}
		kept[positions[len(positions)-1]] = true
		goals := structure(positions, func(p dr.Position) bool { return kept[p] }, func(p dr.Position) int64 { return sizes[p] })
		start := map[dr.Position]dr.Position{}
		var have int
		for i, g := range goals {
			if i > 0 && goals[i-1].to.Compare(g.to) >= 0 {
				t.Fatalf("seed %d: goals out of order", seed)
			}
			if _, ok := start[g.from]; !ok && !g.from.IsZero() {
				t.Fatalf("seed %d: %v starts nowhere", seed, g)
			}
			start[g.to] = g.from
			if kept[g.to] {
				have++
			}
			steps := 0
			for p := g.to; !p.IsZero(); p = start[p] {
				steps++
			}
			if levels := len(fmt.Sprintf("%o", g.to.Sequence)); steps > 7*levels+1 {
				t.Fatalf("seed %d: %d steps from %v", seed, steps, g.to)
			}
		}
		want := 0
		for _, p := range positions {
			if kept[p] {
				want++
			}
		}
		if have != want {
			t.Fatalf("seed %d: %d of %d kept positions", seed, have, want)
		}
	}
}
