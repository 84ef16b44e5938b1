package main

import (
	"context"
	"errors"
	"fmt"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/dr"
)

// copyOf marks the names of copies.
const copyOf = "-copy"

// cloneMachine copies a machine of the group, as it is or was, to one of the sites. What becomes of it is looked at
// when the step is over.
func cloneMachine(ctx context.Context, c *client.Client, _ *world, g *group, st wire.Status, s Step) (string, error) {
	m := g.machines[s.Pick%uint64(len(g.machines))]
	q := wire.Clone{Machine: m, As: m + copyOf, To: []string{east, west}[s.Pick/2%2]}
	if s.Pick/4%2 == 0 {
		q.Site = st.Site
	} else {
		q.Group = g.name
	}
	run, err := c.Clone(ctx, q)
	return run.ID, err
}

// checkClone has a copy that failed go on, and compares one that is complete. Then the administrator removes it.
func (w *world) checkClone(ctx context.Context, g *group, run wire.Run) (wire.Run, error) {
	if run.State == "failed" {
		again, err := w.proc.client.ResumeRun(ctx, run.ID)
		if dr.KindOf(err) == dr.KindConflict {
			return run, w.noCopies(run)
		}
		if err != nil {
			return run, fmt.Errorf("resume %s: %w", run.ID, err)
		}
		if _, err := w.rest(); err != nil {
			return run, err
		}
		if run, err = w.proc.client.ShowRun(ctx, again.ID); err != nil {
			return run, err
		}
		if run.State != "succeeded" {
			w.violate("the copy %s was resumed with nothing wrong, and %s: %s", run.ID, run.State, run.Error)
		}
	}
	if run.State != "succeeded" {
		return run, w.noCopies(run)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	found := 0
	for _, m := range g.machines {
		for _, p := range w.sites {
			if _, there := w.powers(p)[m+copyOf]; !there {
				continue
			}
			found++
			c, err := w.read(p, map[string]string{m: m + copyOf})
			if err == nil {
				err = matchMachine(w.nodes, m, c)
			}
			w.compared++
			if err != nil && !errors.Is(err, errUnreadable) {
				w.violateLocked("the copy of %s at %s, run %s, holds no moment of it: %v", m, p.name, run.ID, err)
			}
			p.RemoveMachine(m + copyOf)
		}
	}
	if found != 1 {
		w.violateLocked("run %s copied a machine, and there are %d copies", run.ID, found)
	}
	return run, nil
}

// noCopies makes sure that a copy that is given up leaves nothing, soon.
func (w *world) noCopies(run wire.Run) error {
	return w.soon(func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, g := range w.groups {
			for _, m := range g.machines {
				for _, p := range w.sites {
					if _, there := w.powers(p)[m+copyOf]; there {
						return fmt.Errorf("%s %s, and left %s at %s", run.Kind, run.State, m+copyOf, p.name)
					}
				}
			}
		}
		return nil
	})
}

// matchMachine finds the moment of one machine of a group.
func matchMachine(nodes map[uint64]*write, machine string, c map[slot]uint64) error {
	newest := uint64(0)
	for _, seq := range c {
		newest = max(newest, seq)
	}
	n := nodes[newest]
	if newest != 0 && n == nil {
		return fmt.Errorf("write %d was never made", newest)
	}
	for at, seq := range n.content() {
		if at.machine == machine && c[at] != seq {
			return fmt.Errorf("%s has write %d, at %s it had %d", at, c[at], n, seq)
		}
	}
	return nil
}
