package dr

import (
	"cmp"
	"slices"
	"time"
)

// Retain returns the recovery points that the tiers keep at the time now, ascending by position. A point survives
// when any tier keeps it: a tier divides time into intervals of Every, aligned to the zero time so that they stay
// where they are as time goes on, and keeps the newest point of each, while it is younger than For. Where an interval has
// points of more than crash consistency, the newest of the most consistent ones stays beside it.
//
// The newest point by position always survives, whatever its age. So do points at or after now: their clock was
// ahead, or this one went back, and neither is a reason to lose data. Points of one interval are compared by position
// where their times agree. Once points are given up they are not wanted again at any later time.
func Retain(points []RecoveryPoint, tiers []Tier, now time.Time) []RecoveryPoint {
	if len(points) == 0 {
		return nil
	}
	sorted := slices.Clone(points)
	slices.SortStableFunc(sorted, func(a, b RecoveryPoint) int { return a.Position.Compare(b.Position) })
	keep := make([]bool, len(sorted))
	keep[len(sorted)-1] = true
	for i, p := range sorted {
		keep[i] = keep[i] || !p.Time.Before(now)
	}
	for _, t := range tiers {
		t.mark(sorted, now, keep)
	}
	var survivors []RecoveryPoint
	for i, p := range sorted {
		if keep[i] {
			survivors = append(survivors, p)
		}
	}
	return survivors
}

// mark marks the points that one tier keeps.
func (t Tier) mark(sorted []RecoveryPoint, now time.Time, keep []bool) {
	type interval struct {
		start int64 // seconds and nanoseconds
		nano  int
	}
	newest, best := map[interval]int{}, map[interval]int{}
	later := func(i, j int) int { return cmp.Or(sorted[i].Time.Compare(sorted[j].Time), i-j) }
	for i, p := range sorted {
		if now.Sub(p.Time) >= t.For {
			continue
		}
		if t.Every <= 0 {
			keep[i] = true
			continue
		}
		// Points after now take part, so that their interval does not keep a second one beside them.
		start := p.Time.Truncate(t.Every)
		in := interval{start.Unix(), start.Nanosecond()}
		if j, ok := newest[in]; !ok || later(i, j) > 0 {
			newest[in] = i
		}
		rank := p.Kind.Rank()
		if rank <= CrashConsistent.Rank() {
			continue
		}
		if j, ok := best[in]; !ok || cmp.Or(rank-sorted[j].Kind.Rank(), later(i, j)) > 0 {
			best[in] = i
		}
	}
	for _, kept := range []map[interval]int{newest, best} {
		for _, i := range kept {
			keep[i] = true
		}
	}
}

// KeptUntil returns, for each point in the order given, until when the tiers keep it for sure, whatever points come after:
// the zero time where that is not sure, as for a point whose interval is not over and may get a newer one. A tier without
// an interval keeps a point for its time from the beginning.
func KeptUntil(points []RecoveryPoint, tiers []Tier, now time.Time) []time.Time {
	until := make([]time.Time, len(points))
	order := make([]int, len(points))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return points[a].Position.Compare(points[b].Position) })
	sorted := make([]RecoveryPoint, len(points))
	for i, at := range order {
		sorted[i] = points[at]
	}
	for _, t := range tiers {
		keep := make([]bool, len(sorted))
		t.mark(sorted, now, keep)
		for i, p := range sorted {
			over := t.Every <= 0 || !p.Time.Truncate(t.Every).Add(t.Every).After(now)
			if end := p.Time.Add(t.For); keep[i] && over && end.After(until[order[i]]) {
				until[order[i]] = end
			}
		}
	}
	return until
}
