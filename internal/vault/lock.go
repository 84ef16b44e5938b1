package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/segment"

	"golang.org/x/sync/errgroup"
)

// A LockRule has a vault's store lock objects, so that nobody deletes what retention keeps. It is part of the vault's
// description and never changes.
type LockRule struct {
	Mode blob.LockMode `json:"mode"`
	// Seconds is how far ahead anything is locked at most.
	Seconds int64 `json:"seconds"`
}

// Most is how far ahead anything is locked at most.
func (r *LockRule) Most() time.Duration { return time.Duration(r.Seconds) * time.Second }

// Validate reports what is wrong with a rule; nothing is with nil.
func (r *LockRule) Validate() error {
	switch {
	case r == nil:
		return nil
	case r.Mode != blob.Governance && r.Mode != blob.Compliance:
		return dr.WithHint(fmt.Errorf("lock mode %q is not known", r.Mode), dr.KindInvalid, "governance (whom the service permits may take a lock off) or compliance (nobody may)")
	case r.Seconds < 60 || r.Seconds > 100*366*24*3600:
		return dr.WithHint(fmt.Errorf("locks for %d seconds at most", r.Seconds), dr.KindInvalid, "between a minute and 100 years, such as --lock-at-most 30d")
	}
	return nil
}

// Lock is the vault's rule for locks; nil when it locks nothing.
func (v *Vault) Lock() *LockRule { return v.lock }

// locking creates objects that are locked.
type locking struct {
	blob.Store
	lock blob.Lock
}

// Create implements blob.Store.
func (s locking) Create(ctx context.Context, name string, r io.Reader) (blob.Info, error) {
	l, err := blob.AsLocker(s.Store)
	if err != nil {
		return blob.Info{}, err
	}
	return l.CreateLocked(ctx, name, r, s.lock)
}

// lockedStore is the vault's store, whose new objects are locked until a time.
func (v *Vault) lockedStore(until time.Time) blob.Store {
	if v.lock == nil || !until.After(v.now()) {
		return v.store
	}
	return locking{v.store, blob.Lock{Mode: v.lock.Mode, Until: until}}
}

// Keep tells what retention keeps of the group: new objects are locked for as long as that is sure.
func (l *Lease) Keep(tiers []dr.Tier) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tiers = tiers
}

// lockUntil is until when a new object of a point is locked.
func (l *Lease) lockUntil(at time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.v.lock == nil {
		return time.Time{}
	}
	return l.v.sure([]dr.RecoveryPoint{{Time: at}}, l.tiers)[0]
}

// sure is until when each point is kept for sure, as far ahead as the vault locks. Without tiers all are kept.
func (v *Vault) sure(points []dr.RecoveryPoint, tiers []dr.Tier) []time.Time {
	now := v.now()
	most := now.Add(v.lock.Most())
	until := dr.KeptUntil(points, tiers, now)
	for i := range until {
		if len(tiers) == 0 || len(points[i].Names) > 0 || until[i].After(most) {
			until[i] = most
		}
	}
	return until
}

// lockAll makes the locks of what kept points are made of as long as those are kept for sure. It locks a little longer, so
// that it need not do so at each compaction.
func (v *Vault) lockAll(ctx context.Context, w *view, kept map[dr.Position]bool, tiers []dr.Tier) error {
	if v.lock == nil {
		return nil
	}
	var points []dr.RecoveryPoint
	for _, p := range w.position {
		if kept[p] {
			points = append(points, w.info(p))
		}
	}
	need := make(map[*object]time.Time)
	for i, until := range v.sure(points, tiers) {
		for _, o := range w.path(points[i].Position) {
			if until.After(need[o]) {
				need[o] = until
			}
		}
	}
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(8)
	for o, until := range need {
		eg.Go(func() error {
			if err := v.extend(ctx, w.group, o, until); err != nil {
				return fmt.Errorf("lock %s: %w", o.name, unavailable(err))
			}
			return nil
		})
	}
	return eg.Wait()
}

// extend locks an object until a time at least, and before it the parts that it lists.
func (v *Vault) extend(ctx context.Context, group string, o *object, until time.Time) error {
	locked, err := v.lockedUntil(ctx, o.name)
	if err != nil || !until.After(locked) || !until.After(v.now()) {
		return err
	}
	locker, err := blob.AsLocker(v.store)
	if err != nil {
		return err
	}
	lock := blob.Lock{Mode: v.lock.Mode, Until: until.Add(v.lock.Most() / 8)}
	names := []string{o.name}
	if o.header.Seed != "" {
		_, f, err := v.readObject(ctx, group, o.name, o.size, segment.TailBytes)
		if err != nil {
			return err
		}
		parts, err := f.Parts()
		if err != nil {
			return err
		}
		names = nil
		for _, p := range parts {
			names = append(names, partName(group, o.header.Seed, p.Number))
		}
		names = append(names, o.name)
	}
	for _, name := range names {
		if err := locker.Lock(ctx, name, lock); err != nil {
			return err
		}
		v.mu.Lock()
		v.until[name] = lock.Until
		v.mu.Unlock()
	}
	return nil
}

// lockedUntil returns until when an object is locked, and remembers it: locks become longer only.
func (v *Vault) lockedUntil(ctx context.Context, name string) (time.Time, error) {
	v.mu.Lock()
	until := v.until[name]
	v.mu.Unlock()
	if v.lock == nil || until.After(v.now()) {
		return until, nil
	}
	locker, err := blob.AsLocker(v.store)
	if err != nil {
		return until, err
	}
	if until, err = locker.LockedUntil(ctx, name); errors.Is(err, blob.ErrNotFound) {
		return time.Time{}, nil
	}
	if err == nil {
		v.mu.Lock()
		v.until[name] = until
		v.mu.Unlock()
	}
	return until, err
}

// unlocked leaves out what is locked, and counts it.
func (v *Vault) unlocked(ctx context.Context, objects []*object) (free []*object, locked int, err error) {
	if v.lock == nil {
		return objects, 0, nil
	}
	for _, o := range objects {
		until, err := v.lockedUntil(ctx, o.name)
		if err != nil {
			return nil, 0, fmt.Errorf("ask for the lock of %s: %w", o.name, unavailable(err))
		}
		if until.After(v.now()) {
			locked++
			continue
		}
		free = append(free, o)
	}
	return free, locked, nil
}

// remove deletes an object of a group. One that is locked is blob.ErrLocked.
func (v *Vault) remove(ctx context.Context, name string) error {
	if v.lock == nil {
		return v.store.Delete(ctx, name)
	}
	if until, err := v.lockedUntil(ctx, name); err != nil || until.After(v.now()) {
		return errors.Join(err, blob.ErrLocked)
	}
	locker, err := blob.AsLocker(v.store)
	if err != nil {
		return err
	}
	return locker.Purge(ctx, name)
}

// scrap is remove of an object that nobody was told of, which may be locked.
func (v *Vault) scrap(ctx context.Context, name string) error {
	if err := v.remove(ctx, name); !errors.Is(err, blob.ErrLocked) {
		return err
	}
	return nil
}

// countLocks adds to a group's numbers what is locked.
func (v *Vault) countLocks(ctx context.Context, objects []blob.Info, s *Stats) error {
	if v.lock == nil {
		return nil
	}
	until := make([]time.Time, len(objects))
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(16)
	for i, o := range objects {
		eg.Go(func() (err error) { until[i], err = v.lockedUntil(ctx, o.Name); return err })
	}
	if err := eg.Wait(); err != nil {
		return unavailable(err)
	}
	for i, o := range objects {
		if !until[i].After(v.now()) {
			continue
		}
		s.Locked++
		s.LockedBytes += o.Size
		if until[i].After(s.LockedUntil) {
			s.LockedUntil = until[i].UTC()
		}
	}
	return nil
}
