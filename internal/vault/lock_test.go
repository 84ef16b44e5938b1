package vault

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/blob/mem"
)

// newLocked makes a vault that locks, in a store with the test's clock.
func newLocked(t *testing.T, c *clock) (*Vault, *mem.Store) {
	t.Helper()
	store := mem.New()
	store.Now = c.now
	err := Create(t.Context(), store, CreateOptions{Recipients: []string{testIdentity.Recipient().String()}, Now: c.now,
		Lock: &LockRule{Mode: blob.Compliance, Seconds: 7 * 24 * 3600}})
	if err != nil {
		t.Fatal(err)
	}
	return openVault(t, store, c), store
}

// attack deletes whatever the store lets go of, from a copy, and returns the copy.
func attack(t *testing.T, store *mem.Store, c *clock) *mem.Store {
	t.Helper()
	left := mem.New()
	left.Now = c.now
	err := store.List(t.Context(), "", func(i blob.Info) error {
		until, err := store.LockedUntil(t.Context(), i.Name)
		if err != nil || !until.After(c.now()) {
			return err
		}
		b := make([]byte, i.Size)
		if err := store.ReadAt(t.Context(), i.Name, b, 0); err != nil {
			return err
		}
		_, err = left.Create(t.Context(), i.Name, bytes.NewReader(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return left
}

// TestLocks runs a group for days under tiers. At each moment an attacker deletes what is not locked: every point that the
// tiers keep for sure can still be opened. What nothing needs is deleted when its lock has ended, and not before.
func TestLocks(t *testing.T) {
	c, w := newClock(), newWorldOf(11, 16*dr.BlockSize+512, 24*dr.BlockSize)
	v, store := newLocked(t, c)
	tiers := []dr.Tier{{For: 2 * time.Hour}, {Every: 4 * time.Hour, For: 2 * 24 * time.Hour}}
	l, err := v.Acquire(t.Context(), "shop", "east", "east-controller", 1000*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	l.Keep(tiers)
	journal := filepath.Join(t.TempDir(), "journal")
	deleted, locked := 0, 0
	for i := range 120 { // 60 hours
		if _, err := w.cycle(t.Context(), v, l, c, journal); err != nil {
			t.Fatal(err)
		}
		w.change(3)
		c.advance(30 * time.Minute)
		stats, err := v.Compact(t.Context(), l, tiers)
		if err != nil {
			t.Fatal(err)
		}
		deleted, locked = deleted+stats.Deleted, max(locked, stats.Locked)
		if i%8 != 7 {
			continue
		}
		w.verify(t, v, "shop")
		after := openVault(t, attack(t, store, c), c)
		points, err := v.Points(t.Context(), "shop")
		if err != nil {
			t.Fatal(err)
		}
		sure := 0
		for j, until := range dr.KeptUntil(points, tiers, c.now()) {
			if until.After(c.now()) {
				sure++
				w.same(t, after, "shop", points[j].ID)
			}
		}
		if sure < 3 {
			t.Fatalf("only %d of %d points are kept for sure", sure, len(points))
		}
	}
	if deleted == 0 || locked == 0 {
		t.Errorf("%d objects were deleted, up to %d were locked", deleted, locked)
	}
	s, err := v.Stats(t.Context(), "shop")
	if err != nil || s.Locked == 0 || s.LockedBytes == 0 || s.LockedUntil.Before(c.now().Add(24*time.Hour)) || s.Bytes < s.LockedBytes {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestLockRules(t *testing.T) {
	c := newClock()
	create := func(store blob.Store, r LockRule) error {
		return Create(t.Context(), store, CreateOptions{Recipients: []string{testIdentity.Recipient().String()}, Now: c.now, Lock: &r})
	}
	for _, r := range []LockRule{{}, {Mode: "forever", Seconds: 3600}, {Mode: blob.Compliance}, {Mode: blob.Governance, Seconds: 1 << 40}} {
		if err := create(mem.New(), r); dr.KindOf(err) != dr.KindInvalid || dr.Hint(err) == "" {
			t.Errorf("%+v: %v", r, err)
		}
	}
	// A store that cannot lock says so at once.
	unable := struct{ blob.Store }{mem.New()}
	if err := create(unable, LockRule{Mode: blob.Compliance, Seconds: 3600}); dr.KindOf(err) != dr.KindInvalid || dr.Hint(err) == "" {
		t.Errorf("a store that cannot lock: %v", err)
	}
	v, store := newLocked(t, c)
	if r := v.Lock(); r == nil || r.Mode != blob.Compliance || r.Most() != 7*24*time.Hour {
		t.Errorf("%+v", r)
	}
	if err := store.Purge(t.Context(), descriptionName); !errors.Is(err, blob.ErrLocked) {
		t.Errorf("the description can be deleted: %v", err)
	}
}
