package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"understudy/internal/dr"
	"understudy/internal/recovery"
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
	ErrorKind   dr.Kind
	Failures    int
	Warning     string // what is wrong beside replication, with a hint
	WarningHint string
	Spool       vault.SpoolState
	SplitBrain  []string // machines seen running where they must not, as site/machine

	Active     string // run that is under way
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

	Observed       time.Time // when something was last known of its replication
	Health         dr.Health
	HealthReason   string // empty when healthy
	Replicating    dr.Replication
	Recoverability dr.Recoverability
}

// Status returns the status of one group, or of all by name when name is empty. What it costs to read does not grow with
// the number of groups but for their rows.
func (c *Controller) Status(ctx context.Context, name string) ([]Status, error) {
	r, err := c.known(ctx, name)
	if err != nil {
		return nil, err
	}
	list := make([]Status, 0, len(r.groups))
	for _, g := range r.groups {
		s, err := c.status(g, r)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// records are what is stored of groups, by group. They are not changed once they are read.
type records struct {
	generation  uint64
	groups      []dr.Group
	rpo         map[string]time.Duration // by policy
	saved       map[string]store.GroupStatus
	protections map[string]store.Protection
	fences      map[string][]store.Fence
	active      map[string]store.Run // the run under way
	schedules   map[string]store.DrillSchedule
	drills      map[string]store.Run // the newest drill
	failovers   map[string]store.Run // by ID: those that the states are about
}

// known is what is stored of one group, or of all. All that is stored is read anew only when something was written: what
// replication saves of itself every moment is known better by the scheduler, but for what was before the start.
func (c *Controller) known(ctx context.Context, name string) (*records, error) {
	if name != "" {
		return c.read(ctx, name)
	}
	c.recordsMu.Lock()
	defer c.recordsMu.Unlock()
	generation := c.store.Generation()
	if c.records != nil && c.records.generation == generation {
		return c.records, nil
	}
	r, err := c.read(ctx, "")
	if err != nil {
		return nil, err
	}
	r.generation, c.records = generation, r
	return r, nil
}

// read reads what is stored of one group, or of all.
func (c *Controller) read(ctx context.Context, name string) (*records, error) {
	r := &records{rpo: map[string]time.Duration{}, fences: map[string][]store.Fence{}}
	var err error
	if name == "" {
		r.groups, err = c.store.Groups(ctx)
	} else {
		var g dr.Group
		g, err = c.store.Group(ctx, name)
		r.groups = []dr.Group{g}
	}
	if err != nil {
		return nil, err
	}
	policies, err := c.store.Policies(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range policies {
		r.rpo[p.Name] = p.RPO
	}
	fences, err := c.store.Fences(ctx, name)
	if err != nil {
		return nil, err
	}
	for _, f := range fences {
		r.fences[f.Group] = append(r.fences[f.Group], f)
	}
	if r.saved, err = c.store.StatusesOf(ctx, name); err != nil {
		return nil, err
	}
	if r.protections, err = c.store.ProtectionsOf(ctx, name); err != nil {
		return nil, err
	}
	if r.active, err = c.store.ActiveRuns(ctx, name); err != nil {
		return nil, err
	}
	if r.schedules, err = c.drillSchedules(ctx); err != nil {
		return nil, err
	}
	if r.drills, err = c.store.NewestRuns(ctx, recovery.KindDrill, name); err != nil {
		return nil, err
	}
	var about []string
	for _, p := range r.protections {
		if failedOver(p.State) && p.Run != "" {
			about = append(about, p.Run)
		}
	}
	r.failovers, err = c.store.RunsByID(ctx, about)
	return r, err
}

// Allowed is what a person may ask of the group now.
func (s Status) Allowed() []dr.Operation {
	return slices.DeleteFunc(s.Protection.Allowed(), func(o dr.Operation) bool {
		if s.Active != "" {
			return o.Runs()
		}
		return o == dr.OpCancel // there is nothing to cancel
	})
}

// status puts together what is known of a group.
func (c *Controller) status(g dr.Group, r *records) (Status, error) {
	s := Status{Group: g, RPO: r.rpo[g.Policy], Protection: r.protections[g.Name]}
	s.Protection.Group = g.Name
	if err := c.fill(&s, r); err != nil {
		return s, err
	}
	if schedule, ok := r.schedules[g.Name]; ok {
		var last *store.Run
		if run, ok := r.drills[g.Name]; ok {
			last = &run
		}
		d, err := c.drillOf(g.Name, s.Protection, &schedule, last)
		if err != nil {
			return s, err
		}
		s.Drill = &d
	}
	for _, f := range r.fences[g.Name] {
		if !f.SplitBrain.IsZero() {
			s.SplitBrain = append(s.SplitBrain, f.Site+"/"+f.Machine)
		}
	}
	run := r.active[g.Name]
	if s.Active = run.ID; run.State == store.RunWaiting {
		s.Waiting, s.WaitingFor = run.ID, run.Message
	}
	c.warnOfExtensions(&s)
	c.warnOfTarget(&s)
	c.judge(&s)
	return s, nil
}

// fill adds what the scheduler knows, and what it knew before a restart.
func (c *Controller) fill(s *Status, r *records) error {
	saved := r.saved[s.Group.Name]
	saved.Group = s.Group.Name
	s.Observed = saved.Updated
	live, err := c.scheduler.Status(s.Group.Name)
	switch {
	case err == nil:
		saved = remembered(live, saved)
		s.Progress, s.Warning, s.WarningHint, s.Spool = live.Progress, live.Warning, live.WarningHint, live.Spool
		s.Observed = c.cfg.Now()
	case dr.KindOf(err) != dr.KindNotFound:
		return err
	}
	s.Replication, s.KnownGood, s.LastPoint, s.NextDue = saved.State, saved.KnownGood, saved.LastPoint, saved.NextDue
	s.Error, s.ErrorKind, s.Hint, s.Failures = saved.LastError, saved.ErrorKind, saved.Hint, saved.Failures
	if live.Last.Kind != "" {
		s.LastCycle = live.Last
	} else if len(saved.Detail) > 0 {
		if err := json.Unmarshal(saved.Detail, &s.LastCycle); err != nil {
			c.log.Warn("read saved cycle", "group", s.Group.Name, "err", err)
		}
	}
	return c.lose(s, r)
}

// failedOver reports whether a state is about a failover whose result says what runs.
func failedOver(s dr.State) bool {
	switch s {
	case dr.StateFailover, dr.StateFailoverFailed, dr.StateFailedOver, dr.StateCommitted:
		return true
	}
	return false
}

// lose works out what would be lost.
func (c *Controller) lose(s *Status, r *records) error {
	now := c.cfg.Now()
	if failedOver(s.Protection.State) {
		// What ailed replication of the former site is over.
		s.Error, s.ErrorKind, s.Hint, s.Failures, s.Warning, s.WarningHint = "", "", "", 0, "", ""
		s.NextDue, s.Progress, s.LastCycle, s.Spool = time.Time{}, replicate.Progress{}, replicate.Result{}, vault.SpoolState{}
		run, ok := r.failovers[s.Protection.Run]
		if !ok {
			return dr.WithHint(fmt.Errorf("status of %s: no run named %q", s.Group.Name, s.Protection.Run), dr.KindNotFound, "understudy run list")
		}
		res, err := recovery.ResultOf(run)
		if err != nil {
			return err
		}
		now = run.Requested // the source counts as lost from then on
		if st := s.Protection.State; st == dr.StateFailedOver || st == dr.StateCommitted {
			// The point that it was brought up from is the newest of what runs now.
			s.KnownGood, s.LastPoint, s.Recoverable = res.PointTime, res.Point, true
			s.LiveSince = res.LiveSince()
			s.Lose = max(0, c.cfg.Now().Sub(s.LiveSince))
			return nil
		}
		if res.Point != "" { // the newest is known better by the run than by the replication that it ended
			s.LastPoint = res.Point
		}
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

// judge says how the group is.
func (c *Controller) judge(s *Status) {
	f := dr.Facts{
		State: s.Protection.State, Test: s.Protection.Test, SplitBrain: s.Protection.SplitBrain || len(s.SplitBrain) > 0,
		Fenced: s.Replication == replicate.StateFenced && !failedOver(s.Protection.State), Paused: s.Group.Paused,
		Age: c.cfg.Now().Sub(s.Observed), RPO: s.RPO, RPOMet: s.RPOMet, Recoverable: s.Recoverable, Lag: s.Lose,
		Failures: s.Failures, Error: s.Error, Warning: s.Warning, Waiting: s.Waiting != "",
		ProvenAt: s.Protection.ProvenAt, Now: c.cfg.Now(),
	}
	if s.Drill != nil {
		f.Overdue, f.ProofLimit = s.Drill.Overdue > 0, s.Drill.Limit
	}
	s.Health, s.HealthReason = dr.JudgeHealth(f)
	s.Replicating, s.Recoverability = dr.JudgeReplication(f), dr.JudgeRecoverability(f)
}
