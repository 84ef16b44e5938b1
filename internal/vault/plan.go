package vault

import (
	"slices"

	"understudy/internal/dr"
)

const (
	// fanOut is how many parts a merge over others spans: opening takes at most fanOut-1 steps per power of it.
	fanOut = 8
	// mergeFactor bounds what merging costs: a position that nobody needs any more goes when what lies before it is at
	// most so many times larger than what follows it. So a large base is not rewritten for each small change.
	mergeFactor = 4
)

// goal is where an object that ends at a position should start, at the latest: a merge may start earlier.
type goal struct {
	to   dr.Position
	from dr.Position // zero: a base
}

// structure decides which positions stay and where the objects that end there should start. positions are ascending;
// size gives the stored size of the object to take at each. It is pure. The result is ascending; all kept positions are in it.
func structure(positions []dr.Position, kept func(dr.Position) bool, size func(dr.Position) int64) []goal {
	stay := stayers(positions, kept, size)
	goals := make([]goal, len(stay))
	for i, p := range stay {
		goals[i].to = p
		if i == 0 {
			continue
		}
		goals[i].from = stay[i-1]
		for span := uint64(fanOut); span/fanOut <= p.Sequence; span *= fanOut {
			// Only the last position of a block that is full reaches back to the last one of a block before it.
			if i+1 == len(stay) || stay[i+1].Sequence/span == p.Sequence/span {
				break
			}
			j := i - 1
			for j >= 0 && stay[j].Sequence/span == p.Sequence/span {
				j--
			}
			goals[i].from = stay[max(j, 0)] // in the first block of all: back to the start
			if j < 0 {
				break
			}
		}
	}
	return goals
}

// stayers drops positions that nobody needs, as far as merging pays.
func stayers(positions []dr.Position, kept func(dr.Position) bool, size func(dr.Position) int64) []dr.Position {
	type edge struct {
		to   dr.Position
		size int64
		kept bool
	}
	var edges []edge
	for _, p := range positions {
		e := edge{p, size(p), kept(p)}
		for n := len(edges); n > 0 && !edges[n-1].kept && edges[n-1].size <= mergeFactor*e.size; n-- {
			e.size += edges[n-1].size
			edges = edges[:n-1]
		}
		edges = append(edges, e)
	}
	// After the last kept position nothing is needed; the newest point is always kept, so there is nothing.
	stay := make([]dr.Position, len(edges))
	for i, e := range edges {
		stay[i] = e.to
	}
	return stay
}

// sources returns the objects to merge, newest first, for an object that ends at to and starts at from or before, at a
// position that stays. One object means that there is nothing to merge.
func sources(best map[dr.Position]*object, stays map[dr.Position]bool, g goal) []*object {
	var list []*object
	at := g.to
	for {
		o := best[at]
		list = append(list, o)
		at = o.from
		if at.IsZero() || (stays[at] && at.Compare(g.from) <= 0) {
			return list
		}
	}
}

func sortedNames(objects []*object) []string {
	names := make([]string, len(objects))
	for i, o := range objects {
		names[i] = o.name
	}
	slices.Sort(names)
	return names
}
