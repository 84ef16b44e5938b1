package dr

import (
	"fmt"
	"time"
)

// Foresee returns which of the points there are now will be kept at a later time by tiers, if points go on being made
// until then, as Retain and Compact decide: points with a name stay. It is ascending by position.
func Foresee(points []RecoveryPoint, tiers []Tier, now, at time.Time) []RecoveryPoint {
	var newest Position
	for _, p := range points {
		if p.Position.Compare(newest) > 0 {
			newest = p.Position
		}
	}
	// What is still to come takes the place of today's points in two ways: a later point is the newest, and the interval
	// of each tier in which today is ends with a later one.
	later := []time.Time{at}
	for _, t := range tiers {
		if t.Every <= 0 {
			continue
		}
		if end := now.Truncate(t.Every).Add(t.Every - 1); end.Before(at) {
			later = append(later, end)
		}
	}
	all := append([]RecoveryPoint(nil), points...)
	if at.After(now) {
		for i, when := range later {
			p := newest
			p.Epoch, p.Sequence = p.Epoch+1, uint64(i+1)
			all = append(all, RecoveryPoint{Position: p, Time: when, Kind: CrashConsistent})
		}
	}
	kept := map[Position]bool{}
	for _, p := range Retain(all, tiers, at) {
		kept[p.Position] = true
	}
	var survivors []RecoveryPoint
	for _, p := range Retain(points, nil, time.Time{}) { // sorts, and keeps what is after the zero time: all
		if kept[p.Position] || len(p.Names) > 0 {
			survivors = append(survivors, p)
		}
	}
	return survivors
}

// Describe says in sentences what a policy does.
func (p Policy) Describe() []string {
	lines := []string{fmt.Sprintf("A recovery point every %s: no more is lost while a cycle takes less than half of that.", FormatDuration(p.RPO))}
	if p.AppEvery > 0 {
		freeze := p.FreezeTimeout
		if freeze == 0 {
			freeze = DefaultFreezeTimeout
		}
		lines = append(lines, fmt.Sprintf("Every %s an application-consistent one, for which guests are frozen for %s at most.", FormatDuration(p.AppEvery), FormatDuration(freeze)))
	} else {
		lines = append(lines, "All are crash consistent: guests are never frozen.")
	}
	var before time.Duration
	for _, t := range p.Keep {
		every := max(t.Every, p.RPO)
		what := "All are kept"
		if t.Every > 0 {
			what = "The newest of every " + FormatDuration(t.Every) + " is kept"
		}
		until := "for " + FormatDuration(t.For)
		if before > 0 {
			until = "from " + FormatDuration(before) + " to " + FormatDuration(t.For)
		}
		lines = append(lines, fmt.Sprintf("%s %s: about %d.", what, until, (t.For-before)/every))
		before = t.For
	}
	return append(lines, "The newest point and those with a name stay whatever their age.")
}

// Expect is about how many points a policy keeps once it has been in force for its whole length.
func (p Policy) Expect() int {
	var n time.Duration
	var before time.Duration
	for _, t := range p.Keep {
		n += (t.For - before) / max(t.Every, p.RPO, time.Second)
		before = t.For
	}
	return int(n)
}
