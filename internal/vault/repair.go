package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/segment"
)

// damagedState is damage to a small object that says which objects of a group count. Reading goes on without it.
func damagedState(group string, err error) error {
	return dr.WithHint(err, dr.KindCorrupt, "recovery points can still be listed and restored; mend it with: understudy vault repair --group "+group)
}

// newOwner is the owner of a group that has none which can be read: at an epoch after all that are there, with the
// history that the group's objects tell of.
func (v *Vault) newOwner(ctx context.Context, group, site string) (ownerObject, error) {
	o := ownerObject{Format: formatVersion, Epoch: 1, Site: site, Pending: true}
	newest, err := v.newestEpoch(ctx, group)
	if err != nil {
		return o, err
	}
	o.Epoch += newest
	objects, err := v.objects(ctx, group)
	if err != nil {
		return o, err
	}
	for _, r := range inferReigns(objects) {
		h := reignObject{Epoch: r.Epoch}
		if !r.After.IsZero() {
			p := segment.NewPosition(r.After)
			h.After = &p
		}
		o.History = append(o.History, h)
	}
	return o, nil
}

// inferReigns works out from a group's objects where each epoch began. The first object of an epoch tells exactly,
// unless it was merged or is a base; then all that older epochs hold before the epoch's first position counts. It is pure.
func inferReigns(objects []*object) []Reign {
	first := make(map[uint64]uint64) // sequence of the first position, by epoch
	after := make(map[uint64]dr.Position)
	var epochs []uint64
	for _, o := range objects {
		if o.err != nil || o.to.Sequence == 0 {
			continue
		}
		e := o.to.Epoch
		if seq, ok := first[e]; !ok {
			epochs = append(epochs, e)
			first[e] = o.to.Sequence
		} else {
			first[e] = min(seq, o.to.Sequence)
		}
		if !o.header.Merged && o.from.Epoch < e && !o.from.IsZero() && o.from.Compare(after[e]) > 0 {
			after[e] = o.from
		}
	}
	slices.Sort(epochs)
	var reigns []Reign
	for i, e := range epochs {
		r := Reign{Epoch: e}
		if p, ok := after[e]; ok {
			r.After = p
		} else if i > 0 {
			r.After = dr.Position{Epoch: epochs[i-1], Sequence: first[e]}
		}
		reigns = append(reigns, r)
	}
	return reigns
}

// clear makes room for a damaged object's successor where not even its version can be told, so that it cannot be replaced.
func (v *Vault) clear(ctx context.Context, name string, damaged bool, tag string) error {
	if !damaged || tag != "" {
		return nil
	}
	if err := v.store.Delete(ctx, name); err != nil {
		return fmt.Errorf("remove damaged %s: %w", name, unavailable(err))
	}
	return nil
}

// Repaired says what Repair did.
type Repaired struct {
	Owner bool   // the owner was made anew
	Epoch uint64 // of the new owner
	Marks bool   // the marks were: names of points are lost, and points that retention dropped may be listed again
}

// Repair makes the small objects of a group anew that say which of its objects count, where they are damaged. A new
// owner is of the site given, where the group's machines run now; it is needed only then. Its epoch fences everyone who
// was writing. Sound objects are left as they are. It needs no identity.
func (v *Vault) Repair(ctx context.Context, group, site string) (r Repaired, err error) {
	if err := checkGroup(group); err != nil {
		return r, err
	}
	m, err := v.readMarks(ctx, group)
	switch {
	case dr.KindOf(err) == dr.KindCorrupt:
		fresh := &marks{Format: formatVersion, tag: m.tag}
		if err := v.clear(ctx, marksName(group), true, m.tag); err != nil {
			return r, fmt.Errorf("repair: %w", err)
		}
		if err := v.writeMarks(ctx, group, fresh); err != nil {
			return r, fmt.Errorf("repair: %w", err)
		}
		r.Marks = true
	case err != nil:
		return r, err
	}
	_, _, err = v.readOwner(ctx, group)
	if err == nil || dr.KindOf(err) != dr.KindCorrupt {
		return r, err
	}
	if site == "" {
		return r, dr.WithHint(errors.Join(fmt.Errorf("repair owner of group %s: no site", group), err), dr.KindInvalid,
			"name the site where its machines run now: --site NAME (files, if it was protected without a controller)")
	}
	l, err := v.take(ctx, &Lease{v: v, group: group, site: site, ttl: time.Minute, id: randomID()}, "repair", toRepair)
	if err != nil {
		return r, fmt.Errorf("repair: %w", err)
	}
	r.Owner, r.Epoch = true, l.epoch
	return r, l.Release(ctx)
}
