package vault

import (
	"bytes"
	"path/filepath"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob/mem"
)

// holdsDifference makes sure that all bytes in which two points differ are within the extents, and returns how many
// bytes those name.
func holdsDifference(t *testing.T, w *world, from, to string, changed map[dr.DiskID][]dr.Extent) (named int64) {
	t.Helper()
	if len(changed) != len(w.points[to]) {
		t.Errorf("%s to %s: %d disks of %d", from, to, len(changed), len(w.points[to]))
	}
	for id, now := range w.points[to] {
		// What from held, at the size that the disk has at to.
		then := append(bytes.Clone(w.points[from][id]), make([]byte, len(now))...)[:len(now)]
		end := int64(0)
		for i, e := range changed[id] {
			if e.Offset < end || i > 0 && e.Offset == end || e.Length <= 0 || e.End() > int64(len(now)) {
				t.Fatalf("%s to %s: %s: extent %+v after %d in %d bytes", from, to, id, e, end, len(now))
			}
			end = e.End()
			named += e.Length
			copy(then[e.Offset:end], now[e.Offset:end])
		}
		if !bytes.Equal(then, now) {
			t.Errorf("%s to %s: %s differs elsewhere than in %v", from, to, id, changed[id])
		}
	}
	return named
}

// TestChangedBetween compares all pairs of points, again after compactions merged what lay between them.
func TestChangedBetween(t *testing.T) {
	c, w := newClock(), newWorld(21)
	v := newVault(t, mem.New(), c)
	l := acquire(t, v, "east")
	journal := filepath.Join(t.TempDir(), "journal")
	var ids []string
	for i := range 24 {
		p, err := w.cycle(t.Context(), v, l, c, journal)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, p.ID)
		c.advance(30 * time.Second)
		w.change(3)
		first := w.ids()[0]
		switch i {
		case 9: // the disk becomes smaller, in the middle of a block
			w.disks[first] = w.disks[first][:20*dr.BlockSize+77]
			for b := range w.dirty[first] {
				if b >= 20 {
					delete(w.dirty[first], b)
				}
			}
			w.dirty[first][20] = true
		case 13:
			w.disks[first] = append(w.disks[first], make([]byte, 30*dr.BlockSize)...)
		}
	}
	var whole int64
	for _, d := range w.points[ids[0]] {
		whole += int64(len(d))
	}
	compare := func(ids []string, tight int) {
		t.Helper()
		for i, from := range ids {
			for j, to := range ids {
				changed, full, err := v.ChangedBetween(t.Context(), "shop", from, to)
				if err != nil || full {
					t.Fatalf("%s to %s: full %v, %v", from, to, full, err)
				}
				named := holdsDifference(t, w, from, to, changed)
				if i == j && named > 0 || j == i+1 && j < tight && named > 3*dr.BlockSize {
					t.Errorf("%s to %s: %d bytes named", from, to, named)
				}
			}
		}
	}
	compare(ids, 9)
	for range 2 {
		if err := l.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		// Only the newest of each five minutes stay, and the first, which has a name.
		if _, err := v.NamePoint(t.Context(), "shop", ids[0], "before"); err != nil {
			t.Fatal(err)
		}
		if _, err := v.Compact(t.Context(), l, []dr.Tier{{Every: 5 * time.Minute, For: 24 * time.Hour}}); err != nil {
			t.Fatal(err)
		}
		c.advance(time.Hour)
	}
	points, err := v.Points(t.Context(), "shop")
	if err != nil || len(points) < 3 || len(points) > 6 || points[0].ID != ids[0] {
		t.Fatalf("%v, %v", points, err)
	}
	var left []string
	for _, p := range points {
		left = append(left, p.ID)
	}
	compare(left, 0)

	for _, from := range []string{"1-999", "7-3", "", "nonsense"} {
		if _, full, err := v.ChangedBetween(t.Context(), "shop", from, ids[23]); !full || err != nil {
			t.Errorf("from %q: full %v, %v", from, full, err)
		}
	}
	if _, _, err := v.ChangedBetween(t.Context(), "shop", ids[0], "1-999"); dr.KindOf(err) != dr.KindNotFound {
		t.Errorf("to a point that is not there: %v", err)
	}
}

// TestChangedBetweenAcrossABase has nothing to say once a new full copy lies between.
func TestChangedBetweenAcrossABase(t *testing.T) {
	c, w := newClock(), newWorld(22)
	v := newVault(t, mem.New(), c)
	l := acquire(t, v, "east")
	journal := filepath.Join(t.TempDir(), "journal")
	first, err := w.cycle(t.Context(), v, l, c, journal)
	if err != nil {
		t.Fatal(err)
	}
	w.change(3)
	wr, err := v.BeginSeed(t.Context(), l, w.spec(c), journal, nil)
	if err != nil {
		t.Fatal(err)
	}
	cp, err := w.send(wr, true)
	if err != nil {
		t.Fatal(err)
	}
	second, err := wr.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.committed(second, cp)
	w.change(2)
	third, err := w.cycle(t.Context(), v, l, c, journal)
	if err != nil {
		t.Fatal(err)
	}
	if _, full, err := v.ChangedBetween(t.Context(), "shop", first.ID, third.ID); !full || err != nil {
		t.Errorf("across a base: full %v, %v", full, err)
	}
	changed, full, err := v.ChangedBetween(t.Context(), "shop", second.ID, third.ID)
	if full || err != nil || holdsDifference(t, w, second.ID, third.ID, changed) > 2*dr.BlockSize {
		t.Errorf("after it: full %v, %v, %v", full, changed, err)
	}
}

// TestChangedBetweenBesideDamage: history went on beside a damaged object that was mended later. The point that it holds
// is no ancestor of those that follow.
func TestChangedBetweenBesideDamage(t *testing.T) {
	c, w := newClock(), newWorld(23)
	store := mem.New()
	v := newVault(t, store, c)
	l := acquire(t, v, "east")
	journal := filepath.Join(t.TempDir(), "journal")
	next := func() dr.RecoveryPoint {
		t.Helper()
		p, err := w.cycle(t.Context(), v, l, c, journal)
		if err != nil {
			t.Fatal(err)
		}
		c.advance(time.Second)
		return p
	}
	first := next()
	id := w.ids()[0]
	before := w.copy()
	copy(w.disks[id], bytes.Repeat([]byte("lost"), dr.BlockSize))
	for b := range 4 {
		w.dirty[id][b] = true
	}
	second := next()
	name := pointName("shop", second.Position)
	info, err := store.Stat(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	sound := make([]byte, info.Size)
	if err := store.ReadAt(t.Context(), name, sound, 0); err != nil {
		t.Fatal(err)
	}
	put := func(b []byte) {
		t.Helper()
		if err := store.Delete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Create(t.Context(), name, bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
		v = openVault(t, store, c)
		l = acquire(t, v, "east")
	}
	put([]byte("damaged"))
	w.disks[id] = before[id] // the guest took it back, and the difference to the first point is empty
	w.change(1)
	third := next()
	if third.ID == second.ID {
		t.Fatal("a name was used again")
	}
	put(sound)
	for _, pair := range [][2]string{{second.ID, third.ID}, {third.ID, second.ID}, {first.ID, third.ID}} {
		changed, full, err := v.ChangedBetween(t.Context(), "shop", pair[0], pair[1])
		if err != nil {
			t.Fatal(err)
		}
		if !full {
			holdsDifference(t, w, pair[0], pair[1], changed)
		}
	}
}
