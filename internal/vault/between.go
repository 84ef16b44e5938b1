package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/segment"
)

// ChangedBetween tells which extents of a group's disks may differ between two recovery points, by ID, in either order:
// for each disk of the point to, those of its bytes that may read otherwise at from, ascending and apart. More may be
// named than differ, never less. full says that this is not known, since a full copy lies between the two or history no
// longer knows from, and everything must be compared. A point that retention dropped is still known until its objects
// are merged; one with a name is kept (NamePoint). Only indexes are read. It needs an identity.
func (v *Vault) ChangedBetween(ctx context.Context, group, from, to string) (changed map[dr.DiskID][]dr.Extent, full bool, err error) {
	for range 3 {
		changed, full, err = v.changedBetween(ctx, group, from, to)
		// Nothing is pinned: an object may go between being listed and being read. Then others take its place.
		if !errors.Is(err, blob.ErrNotFound) {
			break
		}
	}
	if err != nil {
		return nil, false, fmt.Errorf("compare points %s and %s of group %s: %w", from, to, group, err)
	}
	return changed, full, nil
}

func (v *Vault) changedBetween(ctx context.Context, group, from, to string) (map[dr.DiskID][]dr.Extent, bool, error) {
	w, err := v.scan(ctx, group)
	if err != nil {
		return nil, false, err
	}
	end, err := w.find(to)
	if err != nil {
		return nil, false, err
	}
	start, ok := w.known(from)
	if !ok {
		return nil, true, nil
	}
	objects, ok := w.between(start, end)
	if !ok {
		return nil, true, nil
	}
	layers := make([]*layer, 0, len(objects)+2)
	// The disks of both ends, beside what lies between them.
	for _, o := range append([]*object{w.best[end], w.best[start]}, objects...) {
		l, err := v.openLayer(ctx, o)
		if err != nil {
			return nil, false, err
		}
		layers = append(layers, l)
	}
	changed := make(map[dr.DiskID][]dr.Extent)
	for _, d := range layers[0].index.Disks {
		changed[d.ID] = unionOf(layers[1], layers[2:], d)
	}
	return changed, false, nil
}

// known finds a position by its ID, also one that retention dropped and that objects still end at.
func (w *view) known(id string) (dr.Position, bool) {
	i := slices.IndexFunc(w.position, func(p dr.Position) bool { return p.ID() == id })
	if i < 0 {
		return dr.Position{}, false
	}
	return w.position[i], true
}

// between returns objects that together hold all that differs between two positions: those that lead from each of them
// back to a position that both came from. Where several end at a position it takes the one that covers least. It reports
// false when a base is among them.
func (w *view) between(a, b dr.Position) (objects []*object, ok bool) {
	for a != b {
		if a.Compare(b) < 0 {
			a, b = b, a
		}
		var next *object
		for _, o := range w.objects {
			if o.to != a || o.from.IsZero() || w.best[o.from] == nil {
				continue
			}
			// As far as the other position in few steps, else past it by as little as may be.
			switch reaches := o.from.Compare(b) >= 0; {
			case next == nil,
				reaches && (next.from.Compare(b) < 0 || o.from.Compare(next.from) < 0),
				!reaches && o.from.Compare(next.from) > 0:
				next = o
			}
		}
		if next == nil {
			return nil, false
		}
		objects = append(objects, next)
		a = next.from
	}
	return objects, true
}

// unionOf is what a disk may hold otherwise than it did at start: what any of the layers holds of it, and all from where
// the disk ended at any time between.
func unionOf(start *layer, layers []*layer, disk segment.DiskRuns) []dr.Extent {
	floor := disk.Size
	var list []dr.Extent
	if d := start.index.Disk(disk.ID); d == nil {
		floor = 0
	} else {
		floor = min(floor, d.Size)
	}
	for _, l := range layers {
		d := l.index.Disk(disk.ID)
		if d == nil {
			floor = 0
			break
		}
		floor = min(floor, d.Size)
		for _, r := range segment.Clip(d.Runs, blocks(disk.Size)) {
			list = append(list, dr.Extent{Offset: int64(r.Block) * dr.BlockSize, Length: int64(r.Count) * dr.BlockSize})
		}
	}
	if floor < disk.Size {
		// From the block on in which the disk ended: the rest of that block was padded.
		off := floor / dr.BlockSize * dr.BlockSize
		list = append(list, dr.Extent{Offset: off, Length: disk.Size - off})
	}
	slices.SortFunc(list, func(a, b dr.Extent) int { return int(min(1, max(-1, a.Offset-b.Offset))) })
	var out []dr.Extent
	for _, e := range list {
		e.Length = min(e.Length, disk.Size-e.Offset)
		if n := len(out); n > 0 && e.Offset <= out[n-1].End() {
			out[n-1].Length = max(out[n-1].End(), e.End()) - out[n-1].Offset
		} else if e.Length > 0 {
			out = append(out, e)
		}
	}
	return out
}
