package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
)

// CompactStats says what a compaction did.
type CompactStats struct {
	Points       int   // recovery points that stay
	Dropped      int   // points that retention dropped
	Merged       int   // objects made of others
	MergedBytes  int64 // their size
	Deleted      int   // objects deleted, parts of seeds included
	DeletedBytes int64
	Waiting      int // objects that wait for their grace period or for a reader
	Failed       int // merges that failed: their sources stay
	Locked       int // objects that nothing needs and that are locked
}

// Compact drops the points that keep does not keep (none when it is empty), merges objects so that few are read to open
// any point, and deletes what was replaced a grace period ago and no reader pins. It needs an identity. At every moment,
// whatever is killed, all points that are listed can be opened.
func (v *Vault) Compact(ctx context.Context, l *Lease, keep []dr.Tier) (CompactStats, error) {
	s, err := v.compact(ctx, l, keep)
	if errors.Is(err, blob.ErrChanged) {
		err = dr.WithHint(err, dr.KindConflict, "another compaction is under way: try again later")
	}
	if err != nil {
		return s, fmt.Errorf("compact group %s: %w", l.group, err)
	}
	return s, nil
}

func (v *Vault) compact(ctx context.Context, l *Lease, keep []dr.Tier) (s CompactStats, err error) {
	if !v.CanRead() {
		return s, dr.WithHint(errors.New("vault is open without a key"), dr.KindInvalid, "give the vault's age identity: --key FILE or UNDERSTUDY_KEY_FILE")
	}
	if err := l.check(ctx); err != nil {
		return s, err
	}
	w, err := v.scan(ctx, l.group)
	if err != nil {
		return s, err
	}
	if w.marks.damaged != nil { // with them names are lost that keep points
		return s, w.marks.damaged
	}
	points := w.points()
	survivors := points
	if len(keep) > 0 && len(points) > 0 {
		// The newest point by position stays whatever its time says.
		survivors = append(dr.Retain(points, keep, v.now()), points[len(points)-1])
	}
	kept := make(map[dr.Position]bool)
	for _, p := range survivors {
		kept[p.Position] = true
	}
	for _, p := range points {
		if len(p.Names) > 0 {
			kept[p.Position] = true
		}
	}
	s.Points, s.Dropped = len(kept), len(points)-len(kept)

	live, err := v.mergeAll(ctx, l, w, kept, &s)
	if err != nil {
		return s, err
	}
	if err := v.lockAll(ctx, w, kept, keep); err != nil {
		return s, err
	}
	if err := v.hide(ctx, l, w, live, kept, &s); err != nil {
		return s, err
	}
	if err := v.deleteHidden(ctx, l, w, &s); err != nil {
		return s, err
	}
	if err := v.deleteParts(ctx, l, &s); err != nil {
		return s, err
	}
	v.log.Debug("compacted", "group", l.group, "points", s.Points, "dropped", s.Dropped, "merged", s.Merged, "deleted", s.Deleted)
	return s, nil
}

// mergeAll makes the objects that the group should have and returns the set of them. w learns of new ones.
func (v *Vault) mergeAll(ctx context.Context, l *Lease, w *view, kept map[dr.Position]bool, s *CompactStats) (map[*object]bool, error) {
	goals := structure(w.position, func(p dr.Position) bool { return kept[p] }, func(p dr.Position) int64 { return w.best[p].trailer.Stored })
	stays := make(map[dr.Position]bool)
	for _, g := range goals {
		stays[g.to] = true
	}
	taken := make(map[string]bool) // names of objects that wait for deletion, or are damaged
	for _, o := range slices.Concat(w.hidden, w.stale, w.broken) {
		taken[o.name] = true
	}
	live := make(map[*object]bool)
	for _, g := range goals {
		list := sources(w.best, stays, g)
		if name := mergedName(l.group, list[len(list)-1].from, g.to); len(list) > 1 && !taken[name] {
			o, err := v.merge(ctx, l.group, list, func() error { return l.check(ctx) })
			switch {
			case err == nil:
				s.Merged++
				s.MergedBytes += o.size
				w.best[g.to] = o
				list = []*object{o}
			case dr.KindOf(err) == dr.KindCorrupt:
				s.Failed++
				v.log.Error("objects cannot be merged", "group", l.group, "point", g.to.ID(), "error", err)
			default:
				return nil, err
			}
		}
		for _, o := range list {
			live[o] = true
			stays[o.to] = true
		}
	}
	return live, nil
}

// hide marks what is not live any more. The objects that take its place are all durable and read back by now.
func (v *Vault) hide(ctx context.Context, l *Lease, w *view, live map[*object]bool, kept map[dr.Position]bool, s *CompactStats) error {
	ends := make(map[dr.Position]bool)
	var first dr.Position
	for o := range live {
		ends[o.to] = true
		if first.IsZero() || o.to.Compare(first) < 0 {
			first = o.to
		}
	}
	var garbage []*object
	for _, o := range w.objects {
		// What cannot be opened since something is damaged stays as long as there is anything older: it may be mended.
		usable := o.from.IsZero() || w.best[o.from] != nil
		if !live[o] && (usable || o.to.Compare(first) < 0) {
			garbage = append(garbage, o)
		}
	}
	garbage = append(garbage, w.stale...)
	for _, o := range w.broken {
		if o.to.Compare(first) < 0 {
			garbage = append(garbage, o)
		}
	}
	garbage, locked, err := v.unlocked(ctx, garbage)
	if err != nil {
		return err
	}
	s.Locked += locked
	if err := v.makeSure(ctx, l.group, live, garbage); err != nil {
		return err
	}
	var retired []string
	for _, p := range w.position {
		if ends[p] && !kept[p] {
			retired = append(retired, p.ID())
		}
	}
	prefix := "g/" + l.group + "/"
	names := sortedNames(garbage)
	for i := range names {
		names[i] = strings.TrimPrefix(names[i], prefix)
	}
	if !w.marks.add(v.now(), names, retired) {
		return nil
	}
	if err := l.check(ctx); err != nil {
		return err
	}
	return v.writeMarks(ctx, l.group, w.marks)
}

// makeSure reads merged objects that take the place of garbage and were not read back: their compaction was killed.
func (v *Vault) makeSure(ctx context.Context, group string, live map[*object]bool, garbage []*object) error {
	for o := range live {
		replaces := func(g *object) bool {
			return g.header != nil && g.from.Compare(o.from) >= 0 && g.to.Compare(o.to) <= 0
		}
		v.mu.Lock()
		known := v.sound[o.name]
		v.mu.Unlock()
		if known || !o.header.Merged || !slices.ContainsFunc(garbage, replaces) {
			continue
		}
		if _, err := v.readBack(ctx, group, o.name, nil); err != nil {
			if dr.KindOf(err) == dr.KindCorrupt {
				// Its sources are still there; without it they are merged again.
				err = errors.Join(err, v.scrap(ctx, o.name))
			}
			return fmt.Errorf("read back merged object: %w", err)
		}
	}
	return nil
}

// deleteHidden deletes what has been marked for the grace period and is not pinned.
func (v *Vault) deleteHidden(ctx context.Context, l *Lease, w *view, s *CompactStats) error {
	now := v.now()
	due := func(b markBatch) bool { return now.Sub(b.Time) >= v.o.Grace }
	act := false
	for i := range w.marks.Batches {
		b := &w.marks.Batches[i]
		if b.Time.After(now) {
			b.Time = now.UTC() // the clock went back: the grace period starts again
			act = true
		}
		s.Waiting += len(b.Objects)
		act = act || due(*b)
	}
	if !act {
		return nil
	}
	held, err := v.pinned(ctx, l.group)
	if err != nil {
		return err
	}
	if err := l.check(ctx); err != nil {
		return err
	}
	sizes := make(map[string]int64)
	for _, o := range slices.Concat(w.hidden, w.objects, w.stale, w.broken) {
		sizes[o.name] = o.size
	}
	next := *w.marks
	next.Batches = nil
	for _, b := range w.marks.Batches {
		left := b.Objects
		if due(b) {
			left = nil
			for _, rel := range b.Objects {
				name := "g/" + l.group + "/" + rel
				if held[name] {
					left = append(left, rel)
					continue
				}
				err := v.remove(ctx, name)
				if errors.Is(err, blob.ErrLocked) { // somebody made its lock longer
					left = append(left, rel)
					s.Locked++
					continue
				}
				if err != nil {
					return fmt.Errorf("delete %s: %w", name, unavailable(err))
				}
				v.mu.Lock()
				delete(v.heads, name)
				delete(v.sound, name)
				delete(v.until, name)
				v.mu.Unlock()
				s.Deleted++
				s.Waiting--
				s.DeletedBytes += sizes[name]
			}
		}
		if len(left) > 0 {
			next.Batches = append(next.Batches, markBatch{Time: b.Time, Objects: left})
		}
	}
	// Only now: what is deleted but still marked does no harm, the reverse would bring it back.
	return v.writeMarks(ctx, l.group, &next)
}

// deleteParts deletes the parts of seeds that no object lists and none will: their place in history is taken, or their
// epoch has ended.
func (v *Vault) deleteParts(ctx context.Context, l *Lease, s *CompactStats) error {
	prefix := "g/" + l.group + "/s/"
	var parts []blob.Info
	if err := v.store.List(ctx, prefix, func(i blob.Info) error { parts = append(parts, i); return nil }); err != nil {
		return fmt.Errorf("list parts: %w", unavailable(err))
	}
	if len(parts) == 0 {
		return nil
	}
	w, err := v.scan(ctx, l.group) // after the parts: what lists them is seen
	if err != nil {
		return err
	}
	needed := make(map[string]bool)
	damaged := make(map[dr.Position]bool)
	for _, o := range slices.Concat(w.objects, w.hidden, w.stale, w.broken) {
		if o.header == nil {
			damaged[dr.Position{Epoch: o.to.Epoch, Sequence: o.to.Sequence}] = true
		} else if o.header.Seed != "" {
			needed[o.header.Seed] = true
		}
	}
	checked := time.Time{}
	for _, part := range parts {
		seed, _, _ := strings.Cut(strings.TrimPrefix(part.Name, prefix), "/")
		at, ok := parsePosition(seed)
		if !ok || needed[seed] || damaged[at] || at.Epoch > l.epoch || (at.Epoch == l.epoch && at.Sequence > w.last) {
			continue
		}
		if checked.IsZero() {
			if err := l.check(ctx); err != nil {
				return err
			}
			checked = v.now()
		}
		err := v.remove(ctx, part.Name)
		if errors.Is(err, blob.ErrLocked) {
			s.Locked++
			continue
		}
		if err != nil {
			return fmt.Errorf("delete %s: %w", part.Name, unavailable(err))
		}
		s.Deleted++
		s.DeletedBytes += part.Size
	}
	return nil
}
