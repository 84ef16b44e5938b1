package controller

import (
	"context"
	"encoding/json"
	"time"

	"understudy/internal/dr"
	"understudy/internal/replicate"
	"understudy/internal/store"
)

// Status is what is known of one group now.
type Status struct {
	Group       dr.Group
	Protection  store.Protection
	Replication string           // state of the scheduler
	KnownGood   time.Time        // the vault holds everything up to this instant
	RPO         time.Duration    // the objective
	LastPoint   string           // ID
	LastCycle   replicate.Result // Kind is empty when there was none
	Progress    replicate.Progress
	NextDue     time.Time
	Error, Hint string
	Failures    int
	SplitBrain  []string // machines seen running where they must not, as site/machine
	Now         time.Time
}

// Status returns the status of one group, or of all when name is empty.
func (c *Controller) Status(ctx context.Context, name string) ([]Status, error) {
	groups, err := c.store.Groups(ctx)
	if name != "" {
		var g dr.Group
		g, err = c.store.Group(ctx, name)
		groups = []dr.Group{g}
	}
	if err != nil {
		return nil, err
	}
	fences, err := c.store.Fences(ctx, name)
	if err != nil {
		return nil, err
	}
	policies, err := c.store.Policies(ctx)
	if err != nil {
		return nil, err
	}
	rpo := map[string]time.Duration{}
	for _, p := range policies {
		rpo[p.Name] = p.RPO
	}
	list := make([]Status, 0, len(groups))
	for _, g := range groups {
		s := Status{Group: g, RPO: rpo[g.Policy], Now: c.cfg.Now()}
		if s.Protection, err = c.store.Protection(ctx, g.Name); err != nil {
			return nil, err
		}
		if err := c.fill(ctx, &s); err != nil {
			return nil, err
		}
		for _, f := range fences {
			if f.Group == g.Name && !f.SplitBrain.IsZero() {
				s.SplitBrain = append(s.SplitBrain, f.Site+"/"+f.Machine)
			}
		}
		list = append(list, s)
	}
	return list, nil
}

// fill adds what the scheduler knows, and what it knew before a restart.
func (c *Controller) fill(ctx context.Context, s *Status) error {
	saved, err := c.store.Status(ctx, s.Group.Name)
	if err != nil {
		return err
	}
	s.Replication, s.KnownGood, s.LastPoint = saved.State, saved.KnownGood, saved.LastPoint
	if len(saved.Detail) > 0 {
		if err := json.Unmarshal(saved.Detail, &s.LastCycle); err != nil {
			c.log.Warn("read saved cycle", "group", s.Group.Name, "err", err)
		}
	}
	live, err := c.scheduler.Status(s.Group.Name)
	if dr.KindOf(err) == dr.KindNotFound {
		s.Error, s.Hint, s.Failures, s.NextDue = saved.LastError, saved.Hint, saved.Failures, saved.NextDue
		return nil
	}
	if err != nil {
		return err
	}
	s.Replication, s.Progress, s.NextDue = live.State, live.Progress, live.NextDue
	s.Error, s.Hint, s.Failures = live.LastError, live.LastHint, live.Failures
	if !live.KnownGood.IsZero() {
		s.KnownGood = live.KnownGood
	}
	if live.LastPoint != "" {
		s.LastPoint = live.LastPoint
	}
	if live.Last.Kind != "" {
		s.LastCycle = live.Last
	}
	return nil
}
