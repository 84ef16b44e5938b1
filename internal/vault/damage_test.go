package vault

import (
	"bytes"
	"context"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/blob/mem"
)

// replace puts other bytes in the place of an object.
func replace(t *testing.T, store blob.Store, name string, change func([]byte) []byte) {
	t.Helper()
	b := contents(t, store, name)
	if err := store.Delete(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if b = change(b); b == nil {
		return
	}
	if _, err := store.Create(t.Context(), name, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
}

func contents(t *testing.T, store blob.Store, name string) []byte {
	t.Helper()
	info, err := store.Stat(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, info.Size)
	if err := store.ReadAt(t.Context(), name, b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

func flipBit(at func(n int) int) func([]byte) []byte {
	return func(b []byte) []byte {
		b = bytes.Clone(b)
		b[at(len(b))] ^= 4
		return b
	}
}

// read opens a point and reads all of it.
func readAll(ctx context.Context, v *Vault, id string) error {
	p, err := v.OpenPoint(ctx, "shop", id)
	if err != nil {
		return err
	}
	defer p.Close()
	for _, d := range p.disks {
		if _, err := d.ReadAt(make([]byte, d.Size()), 0); err != nil && err != io.EOF {
			return err
		}
	}
	return nil
}

// TestDamage damages the object of a point in all its places: the points that need it fail and say which object it is,
// older points open, Verify says the same, and replication can go on.
func TestDamage(t *testing.T) {
	part := func(f float64) func(int) int { return func(n int) int { return int(f * float64(n)) } }
	for _, test := range []struct {
		name   string
		change func([]byte) []byte
	}{
		{"header magic", flipBit(func(int) int { return 2 })},
		{"header", flipBit(func(int) int { return 100 })},
		{"wrapped key", flipBit(func(int) int { return 700 })},
		{"frames", flipBit(part(0.5))},
		{"index", flipBit(func(n int) int { return n - 288 - 250 })},
		{"trailer", flipBit(func(n int) int { return n - 100 })},
		{"truncated", func(b []byte) []byte { return b[:len(b)/2] }},
		{"truncated by a byte", func(b []byte) []byte { return b[:len(b)-1] }},
		{"nearly empty", func(b []byte) []byte { return b[:1] }},
		{"grown", func(b []byte) []byte { return append(bytes.Clone(b), 0) }},
		{"missing", func(b []byte) []byte { return nil }},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, w := newClock(), newWorldOf(12, 64*dr.BlockSize)
			store := mem.New()
			v := newVault(t, store, c)
			l := acquire(t, v, "east")
			for range 5 {
				if _, err := w.cycle(t.Context(), v, l, c, filepath.Join(t.TempDir(), "j")); err != nil {
					t.Fatal(err)
				}
				w.change(40)
				c.advance(time.Minute)
			}
			name := "g/shop/p/0000000001-0000000000000003"
			replace(t, store, name, test.change)
			v = openVault(t, store, c)
			for id, good := range map[string]bool{"1-1": true, "1-2": true, "1-3": false, "1-4": false, "1-5": false} {
				err := readAll(t.Context(), v, id)
				if good && err != nil {
					t.Errorf("point %s: %v", id, err)
				}
				missing := test.name == "missing" && id == "1-3" && dr.KindOf(err) == dr.KindNotFound
				if !good && !missing && (dr.KindOf(err) != dr.KindCorrupt || !strings.Contains(err.Error(), "1-3") && !strings.Contains(err.Error(), name)) {
					t.Errorf("point %s: %v", id, err)
				}
			}
			r, err := v.Verify(t.Context(), "shop", nil)
			if err != nil {
				t.Fatal(err)
			}
			spoiled := []string{"1-3", "1-4", "1-5"}
			if test.name == "missing" {
				spoiled = spoiled[1:]
			}
			if !slices.Equal(r.Good, []string{"1-1", "1-2"}) || !slices.Equal(r.Spoiled, spoiled) || len(r.Corrupt) == 0 {
				t.Errorf("report %+v", r)
			}
			// The next capture goes on from the newest point that opens, under a name that is free.
			h, err := v.Head(t.Context(), "shop")
			if err != nil {
				t.Fatal(err)
			}
			wr, err := v.BeginDelta(t.Context(), l, w.spec(c))
			if err != nil {
				t.Fatal(err)
			}
			cp, err := w.send(wr, true)
			if err != nil {
				t.Fatal(err)
			}
			p, err := wr.Commit(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			w.committed(p, cp)
			if p.Position.Sequence != 6 {
				t.Errorf("new point %s", p.ID)
			}
			if h.Point.ID == "1-2" { // damage that shows in the header
				w.same(t, v, "shop", p.ID)
			}
			if _, err := v.Compact(t.Context(), l, nil); err != nil {
				t.Fatal(err)
			}
			w.same(t, v, "shop", "1-2")
		})
	}
}

func TestDamagedPart(t *testing.T) {
	c, w := newClock(), newWorldOf(13, 64*dr.BlockSize)
	store := mem.New()
	v := newVault(t, store, c)
	l := acquire(t, v, "east")
	if _, err := w.cycle(t.Context(), v, l, c, filepath.Join(t.TempDir(), "j")); err != nil {
		t.Fatal(err)
	}
	var part string
	if err := store.List(t.Context(), "g/shop/s/", func(i blob.Info) error { part = i.Name; return nil }); err != nil {
		t.Fatal(err)
	}
	for _, change := range []func([]byte) []byte{flipBit(func(n int) int { return n / 2 }), func(b []byte) []byte { return b[:2000] }, func([]byte) []byte { return nil }} {
		saved := contents(t, store, part)
		replace(t, store, part, change)
		if err := readAll(t.Context(), v, "1-1"); dr.KindOf(err) != dr.KindCorrupt || !strings.Contains(err.Error(), part) {
			t.Errorf("read: %v", err)
		}
		r, err := v.Verify(t.Context(), "shop", nil)
		if err != nil || len(r.Good) != 0 || !slices.Equal(r.Spoiled, []string{"1-1"}) {
			t.Errorf("report %+v, %v", r, err)
		}
		if err := store.Delete(t.Context(), part); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Create(t.Context(), part, bytes.NewReader(saved)); err != nil {
			t.Fatal(err)
		}
	}
	w.verify(t, v, "shop", "1-1")
}

// TestFork puts in the place of a point one with the same name and another content: what follows does not open on it.
func TestFork(t *testing.T) {
	c, w := newClock(), newWorldOf(14, 64*dr.BlockSize)
	store := mem.New()
	v := newVault(t, store, c)
	l := acquire(t, v, "east")
	const name = "g/shop/p/0000000001-0000000000000002"
	var other []byte
	for i := range 3 {
		if i == 1 {
			wr, err := v.BeginDelta(t.Context(), l, w.spec(c))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := wr.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			other = contents(t, store, name)
			replace(t, store, name, func([]byte) []byte { return nil })
			v = openVault(t, store, c)
		}
		if _, err := w.cycle(t.Context(), v, l, c, filepath.Join(t.TempDir(), "j")); err != nil {
			t.Fatal(err)
		}
		w.change(10)
	}
	replace(t, store, name, func([]byte) []byte { return other })
	v = openVault(t, store, c)
	if err := readAll(t.Context(), v, "1-3"); dr.KindOf(err) != dr.KindCorrupt || !strings.Contains(err.Error(), "history forks at 1-2") {
		t.Fatalf("forked point: %v", err)
	}
	if h, err := v.Head(t.Context(), "shop"); err != nil || h.Point.ID != "1-2" {
		t.Fatal(h, err)
	}
}

func TestWrongIdentity(t *testing.T) {
	c, w := newClock(), newWorldOf(15, 8*dr.BlockSize)
	store := mem.New()
	v := newVault(t, store, c)
	l := acquire(t, v, "east")
	if _, err := w.cycle(t.Context(), v, l, c, filepath.Join(t.TempDir(), "j")); err != nil {
		t.Fatal(err)
	}
	blind, err := Open(t.Context(), store, Options{Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	if blind.CanRead() {
		t.Fatal("reads without an identity")
	}
	if pts, err := blind.Points(t.Context(), "shop"); err != nil || len(pts) != 1 {
		t.Fatal(pts, err)
	}
	if _, err := blind.OpenPoint(t.Context(), "shop", "1-1"); dr.KindOf(err) != dr.KindInvalid || dr.Hint(err) == "" {
		t.Fatalf("open without an identity: %v", err)
	}
	if r, err := blind.Verify(t.Context(), "shop", nil); err != nil || len(r.Good) != 1 {
		t.Fatal(r, err)
	}
}

// TestLostDescription takes the description away: what is there is not buried under a new vault, and comes back with it.
func TestLostDescription(t *testing.T) {
	c, w := newClock(), newWorldOf(12, 64*dr.BlockSize)
	store := mem.New()
	v := newVault(t, store, c)
	if _, err := w.cycle(t.Context(), v, acquire(t, v, "east"), c, filepath.Join(t.TempDir(), "j")); err != nil {
		t.Fatal(err)
	}
	saved := contents(t, store, descriptionName)
	replace(t, store, descriptionName, func([]byte) []byte { return nil })

	if _, err := Open(t.Context(), store, Options{}); dr.KindOf(err) != dr.KindCorrupt || !strings.Contains(dr.Hint(err), descriptionName) {
		t.Errorf("open: %v, hint %q", err, dr.Hint(err))
	}
	o := CreateOptions{Recipients: []string{testIdentity.Recipient().String()}, Now: c.now}
	if err := Create(t.Context(), store, o); dr.KindOf(err) != dr.KindConflict || !strings.Contains(dr.Hint(err), descriptionName) {
		t.Errorf("create over recovery points: %v, hint %q", err, dr.Hint(err))
	}
	if _, err := store.Create(t.Context(), descriptionName, bytes.NewReader(saved)); err != nil {
		t.Fatal(err)
	}
	w.verify(t, openVault(t, store, c), "shop", "1-1")
}
