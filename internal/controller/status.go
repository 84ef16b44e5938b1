package controller

import (
	"context"
	"encoding/json"
	"time"

	"understudy/internal/dr"
	"understudy/internal/replicate"
	"understudy/internal/store"
	"understudy/internal/vault"
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
	Warning     string // what is wrong beside replication, with a hint
	WarningHint string
	Spool       vault.SpoolState
	SplitBrain  []string // machines seen running where they must not, as site/machine

	Waiting    string // run that waits for a person
	WaitingFor string // what it asks

	Drill *Drill // how it stands with its rehearsals; nil without a schedule

	// Recoverable says that there is something to fail over to, and Lose what would be lost if the group's site were
	// lost now. LiveSince is set after a failover: since then the group runs at its new site, where nothing protects it,
	// so that all that happened since would be lost.
	Recoverable bool
	Lose        time.Duration
	RPOMet      bool
	LiveSince   time.Time
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
	drills, err := c.drillSchedules(ctx)
	if err != nil {
		return nil, err
	}
	rpo := map[string]time.Duration{}
	for _, p := range policies {
		rpo[p.Name] = p.RPO
	}
	list := make([]Status, 0, len(groups))
	for _, g := range groups {
		s := Status{Group: g, RPO: rpo[g.Policy]}
		if s.Protection, err = c.store.Protection(ctx, g.Name); err != nil {
			return nil, err
		}
		if err := c.fill(ctx, &s); err != nil {
			return nil, err
		}
		if _, ok := drills[g.Name]; ok {
			d, err := c.drill(ctx, g.Name, drills)
			if err != nil {
				return nil, err
			}
			s.Drill = &d
		}
		for _, f := range fences {
			if f.Group == g.Name && !f.SplitBrain.IsZero() {
				s.SplitBrain = append(s.SplitBrain, f.Site+"/"+f.Machine)
			}
		}
		if err := c.waits(ctx, &s); err != nil {
			return nil, err
		}
		c.warnOfExtensions(&s)
		list = append(list, s)
	}
	return list, nil
}

// waits adds what a run of the group asks of a person.
func (c *Controller) waits(ctx context.Context, s *Status) error {
	runs, err := c.store.Runs(ctx, store.RunFilter{Group: s.Group.Name, Active: true, Limit: 1})
	if err != nil || len(runs) == 0 || runs[0].State != store.RunWaiting {
		return err
	}
	s.Waiting, s.WaitingFor = runs[0].ID, runs[0].Message
	return nil
}

// fill adds what the scheduler knows, and what it knew before a restart.
func (c *Controller) fill(ctx context.Context, s *Status) error {
	saved, err := c.store.Status(ctx, s.Group.Name)
	if err != nil {
		return err
	}
	live, err := c.scheduler.Status(s.Group.Name)
	switch {
	case err == nil:
		if saved, err = remembered(live, saved); err != nil {
			return err
		}
		s.Progress, s.Warning, s.WarningHint, s.Spool = live.Progress, live.Warning, live.WarningHint, live.Spool
	case dr.KindOf(err) != dr.KindNotFound:
		return err
	}
	s.Replication, s.KnownGood, s.LastPoint, s.NextDue = saved.State, saved.KnownGood, saved.LastPoint, saved.NextDue
	s.Error, s.Hint, s.Failures = saved.LastError, saved.Hint, saved.Failures
	if len(saved.Detail) > 0 {
		if err := json.Unmarshal(saved.Detail, &s.LastCycle); err != nil {
			c.log.Warn("read saved cycle", "group", s.Group.Name, "err", err)
		}
	}
	return c.lose(ctx, s)
}

// lose works out what would be lost.
func (c *Controller) lose(ctx context.Context, s *Status) error {
	now := c.cfg.Now()
	switch s.Protection.State {
	case dr.StateFailover, dr.StateFailoverFailed, dr.StateFailedOver, dr.StateCommitted:
		// What ailed replication of the former site is over.
		s.Error, s.Hint, s.Failures, s.Warning, s.WarningHint = "", "", 0, "", ""
		s.NextDue, s.Progress, s.LastCycle, s.Spool = time.Time{}, replicate.Progress{}, replicate.Result{}, vault.SpoolState{}
		run, res, err := c.recovery.Result(ctx, s.Protection.Run)
		if err != nil {
			return err
		}
		now = run.Requested // the source counts as lost from then on
		if st := s.Protection.State; st != dr.StateFailedOver && st != dr.StateCommitted {
			if res.Point != "" { // the newest is known better by the run than by the replication that it ended
				s.LastPoint = res.Point
			}
			break
		}
		// The point that it was brought up from is the newest of what runs now.
		s.KnownGood, s.LastPoint, s.Recoverable = res.PointTime, res.Point, true
		s.LiveSince = res.LiveSince()
		s.Lose = max(0, c.cfg.Now().Sub(s.LiveSince))
		return nil
	}
	if s.KnownGood.IsZero() {
		return nil
	}
	s.Recoverable, s.Lose = true, max(0, now.Sub(s.KnownGood))
	// A point is there when its cycle has ended: until then the one before is what a failover gets. A source that is
	// too slow for its objective misses it all the same.
	s.RPOMet = s.Lose <= s.RPO+min(s.LastCycle.Took, s.RPO/2)
	return nil
}
