package controller

import (
	"cmp"
	"slices"
	"time"

	"understudy/internal/dr"
)

// A Link is the way of recovery points from a site through a vault to another, and how well those get there that take it.
type Link struct {
	Site, Vault, Target string
	Groups              int
	Health              dr.Health     // of the worst group
	Recoverable         bool          // one group at least
	Lose                time.Duration // the most of a group that can be recovered
}

// links adds groups up by their way, in order of names.
func links(list []Status) []Link {
	type way struct{ site, vault, target string }
	by := map[way]*Link{}
	for _, s := range list {
		w := way{s.Group.Site, s.Group.Vault, s.Group.Target}
		l := by[w]
		if l == nil {
			l = &Link{Site: w.site, Vault: w.vault, Target: w.target, Health: s.Health}
			by[w] = l
		}
		l.Groups++
		if slices.Index(dr.Healths(), s.Health) < slices.Index(dr.Healths(), l.Health) {
			l.Health = s.Health
		}
		if s.Recoverable {
			l.Recoverable, l.Lose = true, max(l.Lose, s.Lose)
		}
	}
	out := make([]Link, 0, len(by))
	for _, l := range by {
		out = append(out, *l)
	}
	slices.SortFunc(out, func(a, b Link) int {
		return cmp.Or(cmp.Compare(a.Site, b.Site), cmp.Compare(a.Vault, b.Vault), cmp.Compare(a.Target, b.Target))
	})
	return out
}
