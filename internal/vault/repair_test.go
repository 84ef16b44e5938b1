package vault

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/blob/mem"
	"understudy/internal/vault/segment"
)

// twoReigns is a group that was taken over, with a point that a stale writer added and one that was merged.
func twoReigns(t *testing.T) (v *Vault, w *world, c *clock, good []string) {
	t.Helper()
	c, w = newClock(), newWorld(41)
	store := mem.New()
	v = newVault(t, store, c)
	l := acquire(t, v, "east")
	next := func(l *Lease) dr.RecoveryPoint {
		t.Helper()
		p, err := w.cycle(t.Context(), v, l, c, t.TempDir()+"/journal")
		if err != nil {
			t.Fatal(err)
		}
		w.change(3)
		c.advance(time.Second)
		return p
	}
	for range 3 {
		good = append(good, next(l).ID)
	}
	stale, err := v.BeginDelta(t.Context(), l, w.spec(c))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.send(stale, false); err != nil {
		t.Fatal(err)
	}
	lw, err := v.TakeOver(t.Context(), "shop", "west", "test", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stale.sink.finish(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for range 9 {
		good = append(good, next(lw).ID)
	}
	if _, err := v.Compact(t.Context(), lw, nil); err != nil {
		t.Fatal(err)
	}
	if err := lw.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	return openVault(t, store, c), w, c, good
}

// spoil makes a small object unreadable: its content or, wholly, down to what the store itself adds to it.
func spoil(t *testing.T, store blob.Store, name string, wholly bool) {
	t.Helper()
	if wholly {
		if err := store.Delete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Create(t.Context(), name, strings.NewReader("not what it was")); err != nil {
			t.Fatal(err)
		}
		return
	}
	_, tag, err := store.GetTagged(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.PutTagged(t.Context(), name, bytes.Repeat([]byte{0}, 100), tag); err != nil {
		t.Fatal(err)
	}
}

func listed(t *testing.T, v *Vault) (ids []string) {
	t.Helper()
	points, err := v.Points(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range points {
		ids = append(ids, p.ID)
	}
	return ids
}

func TestDamagedOwner(t *testing.T) {
	for _, wholly := range []bool{false, true} {
		testDamagedOwner(t, wholly)
	}
}

func testDamagedOwner(t *testing.T, wholly bool) {
	t.Helper()
	v, w, c, good := twoReigns(t)
	if got := listed(t, v); !slices.Equal(got, good) {
		t.Fatalf("sound: %v, want %v", got, good)
	}
	spoil(t, v.store, ownerName("shop"), wholly)
	v = openVault(t, v.store, c)
	if got := listed(t, v); !slices.Equal(got, good) {
		t.Errorf("without an owner: %v, want %v", got, good)
	}
	w.verify(t, v, "shop", good...)
	r, err := v.Verify(t.Context(), "shop", nil)
	if err != nil || len(r.Corrupt) != 1 || r.Corrupt[0].Object != ownerName("shop") || len(r.Spoiled) != 0 || len(r.Good) != len(good) {
		t.Errorf("verify: %+v, %v", r, err)
	}
	for what, err := range map[string]error{
		"owner":   func() error { _, err := v.Owner(t.Context(), "shop"); return err }(),
		"acquire": func() error { _, err := v.Acquire(t.Context(), "shop", "west", "x", time.Minute); return err }(),
		"take":    func() error { _, err := v.TakeOver(t.Context(), "shop", "east", "x", time.Minute); return err }(),
	} {
		if dr.KindOf(err) != dr.KindCorrupt || !strings.Contains(dr.Hint(err), "vault repair --group shop") {
			t.Errorf("%s: %v; hint %q", what, err, dr.Hint(err))
		}
	}
	if _, err := v.Repair(t.Context(), "shop", ""); dr.KindOf(err) != dr.KindInvalid || !strings.Contains(dr.Hint(err), "--site") {
		t.Errorf("repair without a site: %v", err)
	}
	if r, err := v.Repair(t.Context(), "shop", "west"); err != nil || !r.Owner || r.Marks || r.Epoch != 3 {
		t.Fatalf("repair: %+v, %v", r, err)
	}
	if r, err := v.Repair(t.Context(), "shop", "east"); err != nil || r.Owner {
		t.Errorf("repair of what is sound: %+v, %v", r, err)
	}
	if _, err := v.Acquire(t.Context(), "shop", "east", "x", time.Minute); dr.KindOf(err) != dr.KindFenced {
		t.Errorf("another site: %v", err)
	}
	goesOn(t, v, w, c, good)
}

// goesOn makes a point more and compacts, and expects all points.
func goesOn(t *testing.T, v *Vault, w *world, c *clock, good []string) {
	t.Helper()
	if got := listed(t, v); !slices.Equal(got, good) {
		t.Fatalf("with a new owner: %v, want %v", got, good)
	}
	l, err := v.Acquire(t.Context(), "shop", "west", "x", 10*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	p, err := w.cycle(t.Context(), v, l, c, "")
	if err != nil {
		t.Fatal(err)
	}
	good = append(good, p.ID)
	for range 3 {
		if _, err := v.Compact(t.Context(), l, nil); err != nil {
			t.Fatal(err)
		}
		c.advance(time.Hour)
	}
	w.verify(t, openVault(t, v.store, c), "shop", good...)
	if got := listed(t, v); !slices.Equal(got, good) {
		t.Errorf("after it: %v, want %v", got, good)
	}
}

// TestLostOwner acquires a group whose owner object is gone: its history stays.
func TestLostOwner(t *testing.T) {
	v, w, c, good := twoReigns(t)
	if err := v.store.Delete(t.Context(), ownerName("shop")); err != nil {
		t.Fatal(err)
	}
	v = openVault(t, v.store, c)
	if got := listed(t, v); !slices.Equal(got, good) {
		t.Fatalf("without an owner: %v, want %v", got, good)
	}
	l, err := v.Acquire(t.Context(), "shop", "west", "x", time.Hour)
	if err != nil || l.Epoch() != 3 {
		t.Fatalf("epoch %d, %v", l.Epoch(), err)
	}
	goesOn(t, v, w, c, good)
}

func TestDamagedMarks(t *testing.T) {
	v, l, w, c, points := namedHistory(t, 12)
	if _, err := v.NamePoint(t.Context(), "shop", points[2].ID, "precious"); err != nil {
		t.Fatal(err)
	}
	keep := []dr.Tier{{Every: 0, For: 5 * time.Minute}}
	c.advance(30 * time.Second)
	if _, err := v.Compact(t.Context(), l, keep); err != nil {
		t.Fatal(err)
	}
	before := listed(t, v)
	spoil(t, v.store, marksName("shop"), true)
	v = openVault(t, v.store, c)
	after := listed(t, v)
	for _, id := range before {
		if !slices.Contains(after, id) {
			t.Errorf("point %s is gone with the marks: %v", id, after)
		}
	}
	w.verify(t, v, "shop", before...)
	l = acquire(t, v, "east")
	if _, err := v.Compact(t.Context(), l, keep); dr.KindOf(err) != dr.KindCorrupt || !strings.Contains(dr.Hint(err), "vault repair") {
		t.Errorf("compaction over damaged marks: %v", err)
	}
	if _, err := v.NamePoint(t.Context(), "shop", "latest", "now"); dr.KindOf(err) != dr.KindCorrupt {
		t.Errorf("a name over damaged marks: %v", err)
	}
	if r, err := v.Repair(t.Context(), "shop", ""); err != nil || !r.Marks || r.Owner {
		t.Fatalf("repair: %+v, %v", r, err)
	}
	if _, err := v.NamePoint(t.Context(), "shop", points[2].ID, "precious"); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Compact(t.Context(), l, keep); err != nil {
		t.Fatal(err)
	}
	if got := listed(t, v); !slices.Equal(got, before) {
		t.Errorf("after it all: %v, want %v", got, before)
	}
}

func TestInferReigns(t *testing.T) {
	at := func(epoch, seq uint64) dr.Position {
		return dr.Position{Epoch: epoch, Sequence: seq, Chain: [16]byte{byte(seq)}}
	}
	made := func(from, to dr.Position, merged bool) *object {
		return &object{from: from, to: to, header: &segment.Header{Merged: merged}}
	}
	for name, tc := range map[string]struct {
		objects []*object
		in, out []dr.Position
	}{
		"nothing": {},
		"exact": {
			objects: []*object{made(dr.Position{}, at(1, 1), false), made(at(1, 1), at(1, 2), false), made(at(1, 2), at(1, 3), false),
				made(at(1, 2), at(2, 4), false), made(at(1, 1), at(2, 7), true)},
			in: []dr.Position{at(1, 1), at(1, 2), at(2, 4), at(2, 7)}, out: []dr.Position{at(1, 3)},
		},
		"only merged": {
			objects: []*object{made(dr.Position{}, at(1, 1), false), made(at(1, 1), at(1, 2), false), made(at(1, 1), at(3, 7), true), made(at(1, 2), at(1, 8), false)},
			in:      []dr.Position{at(1, 1), at(1, 2), at(3, 7)}, out: []dr.Position{at(1, 8)},
		},
		"a base": {
			objects: []*object{made(dr.Position{}, at(4, 6), false), made(at(2, 4), at(2, 5), false), made(at(4, 6), at(4, 7), false)},
			in:      []dr.Position{at(2, 5), at(4, 6), at(4, 7)},
		},
	} {
		o := Owner{History: inferReigns(tc.objects)}
		for _, p := range tc.in {
			if !o.includes(p) {
				t.Errorf("%s: %s is left out by %+v", name, p.ID(), o.History)
			}
		}
		for _, p := range tc.out {
			if o.includes(p) {
				t.Errorf("%s: %s is taken in by %+v", name, p.ID(), o.History)
			}
		}
	}
}
