package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/segment"
)

// An Owner says who may write to a group.
type Owner struct {
	Epoch   uint64    // rises with every change of owner
	Site    string    // where the group's machines run
	Holder  string    // the process that holds the lease; empty when released
	Expires time.Time // of the lease, by the holder's clock
	Pending bool      // a take-over has begun and not settled where history continues
	History []Reign
}

// A Reign is the start of an epoch: what older epochs hold after that position is not part of history.
type Reign struct {
	Epoch uint64
	After dr.Position
}

// ownerObject is the stored form of an Owner.
type ownerObject struct {
	Format  int           `json:"format"`
	Epoch   uint64        `json:"epoch"`
	Site    string        `json:"site"`
	Holder  string        `json:"holder,omitempty"`
	Lease   string        `json:"lease,omitempty"` // random; tells two leases of one holder apart
	Expires time.Time     `json:"expires,omitzero"`
	Pending bool          `json:"pending,omitempty"`
	History []reignObject `json:"history"`
}

type reignObject struct {
	Epoch uint64            `json:"epoch"`
	After *segment.Position `json:"after,omitempty"` // nil: from the beginning
}

func ownerName(group string) string { return "g/" + group + "/owner" }

// readOwner returns the stored owner and its tag; the tag is empty when there is none.
func (v *Vault) readOwner(ctx context.Context, group string) (ownerObject, string, error) {
	data, tag, err := v.store.GetTagged(ctx, ownerName(group))
	if errors.Is(err, blob.ErrNotFound) {
		return ownerObject{}, "", nil
	}
	if dr.KindOf(err) == dr.KindCorrupt && err != nil {
		return ownerObject{}, "", damagedState(group, fmt.Errorf("read owner of group %s: %w", group, err))
	}
	if err != nil {
		return ownerObject{}, "", fmt.Errorf("read owner of group %s: %w", group, unavailable(err))
	}
	var o ownerObject
	if err := json.Unmarshal(data, &o); err != nil || o.Format != formatVersion || o.Epoch == 0 || len(o.History) == 0 && !o.Pending {
		return ownerObject{}, tag, damagedState(group, fmt.Errorf("read owner of group %s: not an owner of format %d", group, formatVersion))
	}
	return o, tag, nil
}

func (v *Vault) writeOwner(ctx context.Context, group string, o ownerObject, tag string) (string, error) {
	data, err := json.Marshal(o)
	if err != nil {
		return "", fmt.Errorf("write owner of group %s: %w", group, err)
	}
	tag, err = v.store.PutTagged(ctx, ownerName(group), data, tag)
	if err != nil {
		return "", fmt.Errorf("write owner of group %s: %w", group, unavailable(err))
	}
	return tag, nil
}

func (o ownerObject) public() (Owner, error) {
	p := Owner{Epoch: o.Epoch, Site: o.Site, Holder: o.Holder, Expires: o.Expires, Pending: o.Pending}
	for _, h := range o.History {
		r := Reign{Epoch: h.Epoch}
		if h.After != nil {
			var err error
			if r.After, err = h.After.Value(); err != nil {
				return p, fmt.Errorf("owner: %w", err)
			}
		}
		p.History = append(p.History, r)
	}
	return p, nil
}

// Owner returns the owner of a group, or dr.KindNotFound.
func (v *Vault) Owner(ctx context.Context, group string) (Owner, error) {
	if err := checkGroup(group); err != nil {
		return Owner{}, err
	}
	o, tag, err := v.readOwner(ctx, group)
	if err != nil {
		return Owner{}, err
	}
	if tag == "" {
		return Owner{}, dr.WithHint(fmt.Errorf("group %s has no owner", group), dr.KindNotFound, "")
	}
	return o.public()
}

// A Lease is the right to write to a group, for a time that Renew extends. It fences itself: once it could not be
// renewed in time it is not valid, whatever the clock on the wall says.
type Lease struct {
	v     *Vault
	group string
	site  string
	id    string
	ttl   time.Duration
	epoch uint64
	tiers []dr.Tier // see Keep

	mu    sync.Mutex
	tag   string
	until time.Time // by this process's clock
	lost  error
}

// Acquire takes the lease on a group for a process (holder) of a site that owns it; the first to come owns it, at
// epoch 1. Another site's group is dr.KindFenced; a live lease of another holder is dr.KindConflict. A holder that
// acquires again ends its earlier lease.
func (v *Vault) Acquire(ctx context.Context, group, site, holder string, ttl time.Duration) (*Lease, error) {
	return v.take(ctx, &Lease{v: v, group: group, site: site, ttl: ttl, id: randomID()}, holder, toAcquire)
}

// TakeOver makes a site the owner of a group at the next epoch, whoever owned it, and takes the lease. History goes on
// from the newest point; what a stale writer adds to an older epoch after that is not part of it.
func (v *Vault) TakeOver(ctx context.Context, group, site, holder string, ttl time.Duration) (*Lease, error) {
	return v.take(ctx, &Lease{v: v, group: group, site: site, ttl: ttl, id: randomID()}, holder, toTakeOver)
}

// attempts bounds how often a compare-and-swap that lost is tried again.
const attempts = 8

// Why a lease is taken.
const (
	toAcquire = iota
	toTakeOver
	toRepair // over an owner that cannot be read
)

func (v *Vault) take(ctx context.Context, l *Lease, holder string, why int) (*Lease, error) {
	if err := checkGroup(l.group); err != nil {
		return nil, err
	}
	if l.site == "" || holder == "" || l.ttl <= 0 {
		return nil, dr.WithHint(fmt.Errorf("acquire group %s: site, holder and duration are needed", l.group), dr.KindInvalid, "")
	}
	for range attempts {
		start := v.now()
		o, tag, err := v.readOwner(ctx, l.group)
		damaged := why == toRepair && dr.KindOf(err) == dr.KindCorrupt
		if err != nil && !damaged {
			return nil, err
		}
		switch {
		case tag == "" || damaged:
			// The owner object may have been lost while history is there: then go on after it.
			if o, err = v.newOwner(ctx, l.group, l.site); err != nil {
				return nil, err
			}
			if err := v.clear(ctx, ownerName(l.group), damaged, tag); err != nil {
				return nil, err
			}
		case why == toRepair:
			return nil, dr.WithHint(fmt.Errorf("repair owner of group %s: it is sound", l.group), dr.KindConflict, "nothing is to be repaired")
		case why == toTakeOver:
			o.Epoch++
			o.Site, o.Pending = l.site, true
		case o.Site != l.site:
			return nil, dr.WithHint(fmt.Errorf("acquire group %s: site %s owns it at epoch %d, not %s", l.group, o.Site, o.Epoch, l.site), dr.KindFenced,
				"this site is no longer the group's: fail back with a planned failover, or retire its machines")
		case o.Holder != "" && o.Holder != holder && o.Expires.After(start):
			return nil, dr.WithHint(fmt.Errorf("acquire group %s: %s holds it until %s", l.group, o.Holder, o.Expires.Format(time.RFC3339)), dr.KindConflict,
				"another controller replicates this group: stop it, or wait until its lease ends")
		}
		o.Holder, o.Lease, o.Expires = holder, l.id, start.Add(l.ttl).UTC()
		if l.tag, err = v.writeOwner(ctx, l.group, o, tag); err == nil && o.Pending {
			err = v.settle(ctx, l, o)
		}
		if errors.Is(err, blob.ErrChanged) {
			continue
		}
		if err != nil {
			return nil, err
		}
		l.epoch, l.until = o.Epoch, start.Add(l.ttl)
		v.log.Info("lease acquired", "group", l.group, "site", l.site, "holder", holder, "epoch", l.epoch)
		return l, nil
	}
	return nil, dr.WithHint(fmt.Errorf("acquire group %s: others keep changing its owner", l.group), dr.KindConflict, "")
}

// settle ends a take-over: only now, when the older epoch can acknowledge nothing more, is its newest position read.
// A writer that checked the owner before the first step has created its object before it, so it is seen here; one that
// checks after its creation finds the new epoch and acknowledges nothing.
func (v *Vault) settle(ctx context.Context, l *Lease, o ownerObject) error {
	view, err := v.scan(ctx, l.group)
	if err != nil {
		return err
	}
	r := reignObject{Epoch: o.Epoch}
	if head := view.head(); head != nil {
		p := segment.NewPosition(head.to)
		r.After = &p
	}
	o.History = append(o.History, r)
	o.Pending = false
	l.tag, err = v.writeOwner(ctx, l.group, o, l.tag)
	return err
}

// Epoch is the epoch that the lease writes in.
func (l *Lease) Epoch() uint64 { return l.epoch }

// Group is the group that the lease is on.
func (l *Lease) Group() string { return l.group }

// Valid reports whether the lease still holds as far as this process knows, without asking the vault.
func (l *Lease) Valid() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.valid()
}

func (l *Lease) valid() bool { return l.lost == nil && l.v.now().Before(l.until) }

// Renew extends the lease by its duration from now. After dr.KindFenced or dr.KindConflict it is lost for good.
func (l *Lease) Renew(ctx context.Context) error {
	return l.update(ctx, func(o *ownerObject, now time.Time) time.Time {
		o.Expires = now.Add(l.ttl).UTC()
		return now.Add(l.ttl)
	})
}

// Ensure makes sure that the lease holds and goes on to: it renews it when half of its time is gone, and otherwise only
// looks, since object stores charge for writing. Its errors are those of Renew.
func (l *Lease) Ensure(ctx context.Context) error {
	l.mu.Lock()
	fresh := l.valid() && l.until.Sub(l.v.now()) > l.ttl/2
	l.mu.Unlock()
	if fresh {
		return l.check(ctx)
	}
	return l.Renew(ctx)
}

// Release gives the lease up, so that another holder need not wait. The site keeps the group.
func (l *Lease) Release(ctx context.Context) error {
	return l.update(ctx, func(o *ownerObject, now time.Time) time.Time {
		o.Holder, o.Lease, o.Expires = "", "", time.Time{}
		return time.Time{}
	})
}

func (l *Lease) update(ctx context.Context, change func(o *ownerObject, now time.Time) time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for range attempts {
		now := l.v.now()
		o, tag, err := l.current(ctx)
		if err != nil {
			return err
		}
		until := change(&o, now)
		l.tag, err = l.v.writeOwner(ctx, l.group, o, tag)
		if errors.Is(err, blob.ErrChanged) {
			continue
		}
		if err == nil {
			l.until = until
		}
		return err
	}
	return dr.WithHint(fmt.Errorf("renew lease on group %s: others keep changing its owner", l.group), dr.KindConflict, "")
}

// current reads the owner and makes sure that it is still this lease.
func (l *Lease) current(ctx context.Context) (ownerObject, string, error) {
	if l.lost != nil {
		return ownerObject{}, "", l.lost
	}
	o, tag, err := l.v.readOwner(ctx, l.group)
	switch {
	case err != nil:
		return o, tag, err
	case tag == "" || o.Epoch != l.epoch:
		l.lost = dr.WithHint(fmt.Errorf("group %s is owned by site %q at epoch %d, this lease is of epoch %d", l.group, o.Site, o.Epoch, l.epoch), dr.KindFenced,
			"the group was failed over: this side must not run it any more")
	case o.Lease != l.id:
		l.lost = dr.WithHint(fmt.Errorf("lease on group %s was lost to %q", l.group, o.Holder), dr.KindConflict, "another controller replicates this group")
	}
	return o, tag, l.lost
}

// check makes sure that the lease holds, here and in the vault.
func (l *Lease) check(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost == nil && !l.valid() {
		return dr.WithHint(fmt.Errorf("lease on group %s was not renewed in time", l.group), dr.KindConflict, "it is acquired again by the next cycle")
	}
	_, _, err := l.current(ctx)
	return err
}

// confirm decides, after an object was created at pos, whether it became part of history. It did unless the epoch ended.
func (l *Lease) confirm(ctx context.Context, pos dr.Position) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	stored, tag, err := l.v.readOwner(ctx, l.group)
	if err != nil {
		return err
	}
	o, err := stored.public()
	if err != nil {
		return err
	}
	if tag != "" && (o.Epoch == l.epoch || !o.Pending && o.includes(pos)) {
		return nil
	}
	l.lost = dr.WithHint(fmt.Errorf("group %s was taken over by site %q at epoch %d while point %s was written", l.group, o.Site, o.Epoch, pos.ID()), dr.KindFenced,
		"the group was failed over: this side must not run it any more")
	return l.lost
}

// includes reports whether a position is part of history as far as epochs say: not after the start of a later epoch,
// and of an epoch that settled (or is older than what the owner object remembers).
func (o Owner) includes(p dr.Position) bool {
	known := false
	for _, r := range o.History {
		if r.Epoch > p.Epoch {
			return (known || r.Epoch == o.History[0].Epoch) && (p.Sequence < r.After.Sequence || p == r.After)
		}
		known = known || r.Epoch == p.Epoch
	}
	return known
}
