package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"understudy/internal/dr"
	"understudy/internal/news"
	"understudy/internal/notify"
	"understudy/internal/recovery"
	"understudy/internal/recovery/drill"
	"understudy/internal/store"
)

// drillsEvery is how often schedules of drills are looked at; they are due at whole minutes.
const drillsEvery = 5 * time.Second

// maxWindow bounds how late a drill may begin: less than the shortest that is worth a schedule of its own.
const maxWindow = 7 * 24 * time.Hour

// A Drill is how a group stands with its rehearsals.
type Drill struct {
	Group    string
	Schedule *store.DrillSchedule // nil: none
	Upcoming []time.Time          // the next due times of the schedule
	Limit    time.Duration        // the age of the last proof from which a drill is overdue
	Overdue  time.Duration        // how old the last proof is, when that is more than Limit; since the schedule was set when there is none
	Last     *store.Run           // the newest drill, or nil

	ProvenAt    time.Time
	ProvenRun   string
	ProvenPoint string
	ProvenRTO   time.Duration
}

// A DrillRequest asks for a drill now.
type DrillRequest struct {
	Group string
	Point string // latest when empty
	Plan  string // the group's own order when empty
	Keep  bool   // leave the machines when it fails
	By    string
}

// RunDrill begins a drill.
func (c *Controller) RunDrill(ctx context.Context, q DrillRequest) (store.Run, error) {
	return c.recovery.Start(ctx, recovery.Request{Kind: recovery.KindDrill, Group: q.Group, Point: q.Point, Plan: q.Plan, By: q.By,
		Drill: &recovery.DrillSpec{Keep: q.Keep}})
}

// Report gathers all that is known of a run.
func (c *Controller) Report(ctx context.Context, run string) (drill.Report, error) {
	return c.recovery.Report(ctx, run)
}

// Evidence returns a file that a run left.
func (c *Controller) Evidence(ctx context.Context, run, file string) ([]byte, error) {
	return c.recovery.Evidence(ctx, run, file)
}

// ScheduleDrill sets when a group is rehearsed. What is known of earlier drills stays.
func (c *Controller) ScheduleDrill(ctx context.Context, s store.DrillSchedule) (Drill, error) {
	fail := func(err error) (Drill, error) { return Drill{}, fmt.Errorf("schedule drills of %s: %w", s.Group, err) }
	g, err := c.store.Group(ctx, s.Group)
	if err != nil {
		return fail(err)
	}
	if g.Target == "" {
		return fail(dr.WithHint(errors.New("the group has no target site to be rehearsed at"), dr.KindInvalid, "understudy protect --help: --target"))
	}
	table, err := drill.ParseTimetable(s.Cron, s.Zone)
	if err != nil {
		return fail(err)
	}
	if s.Zone == "" {
		s.Zone = "UTC"
	}
	if s.Window == 0 {
		s.Window = drill.DefaultWindow
	}
	if s.Window < time.Minute || s.Window > maxWindow {
		return fail(dr.WithHint(fmt.Errorf("window %s is not between 1m and %s", dr.FormatDuration(s.Window), dr.FormatDuration(maxWindow)),
			dr.KindInvalid, "it is how late a drill may begin that could not begin on time, such as 4h"))
	}
	now := c.cfg.Now().UTC()
	if gap := table.LongestGap(now); s.OverdueAfter != 0 && s.OverdueAfter < gap {
		return fail(dr.WithHint(fmt.Errorf("drills would be overdue after %s, and %s pass between two of them", dr.FormatDuration(s.OverdueAfter), dr.FormatDuration(gap)),
			dr.KindInvalid, "choose more than "+dr.FormatDuration(gap)+", or leave it out"))
	}
	if s.Plan != "" {
		p, err := c.store.Plan(ctx, s.Plan)
		if err != nil {
			return fail(err)
		}
		if p.Group != s.Group {
			return fail(dr.WithHint(fmt.Errorf("plan %s is of group %s", s.Plan, p.Group), dr.KindInvalid, "understudy plan list"))
		}
	}
	before, ok, err := c.store.DrillSchedule(ctx, s.Group)
	if err != nil {
		return fail(err)
	}
	s.Since, s.Next = now, table.Next(now)
	if ok {
		s.Since, s.LastDue, s.LastRun, s.Reminded = before.Since, before.LastDue, before.LastRun, before.Reminded
	}
	if err := c.store.PutDrillSchedule(ctx, s); err != nil {
		return fail(err)
	}
	c.event(ctx, "drill.scheduled", s.Group, "", fmt.Sprintf("drills of %s are due at %q in %s, by %s", s.Group, s.Cron, s.Zone, s.By))
	return c.Drill(ctx, s.Group)
}

// UnscheduleDrill ends the schedule of a group's drills.
func (c *Controller) UnscheduleDrill(ctx context.Context, group, by string) error {
	if _, err := c.store.Group(ctx, group); err != nil {
		return err
	}
	err := c.store.DeleteDrillSchedule(ctx, group)
	if err == nil {
		c.event(ctx, "drill.unscheduled", group, "", fmt.Sprintf("drills of %s are no longer due, by %s", group, by))
	}
	return err
}

// Drill tells how a group stands with its rehearsals.
func (c *Controller) Drill(ctx context.Context, group string) (Drill, error) {
	if _, err := c.store.Group(ctx, group); err != nil {
		return Drill{}, err
	}
	s, ok, err := c.store.DrillSchedule(ctx, group)
	if err != nil {
		return Drill{}, err
	}
	schedules := map[string]store.DrillSchedule{}
	if ok {
		schedules[group] = s
	}
	return c.drill(ctx, group, schedules)
}

// Drills tells how every group stands with its rehearsals.
func (c *Controller) Drills(ctx context.Context) ([]Drill, error) {
	r, err := c.known(ctx, "")
	if err != nil {
		return nil, err
	}
	list := make([]Drill, 0, len(r.groups))
	for _, g := range r.groups {
		var schedule *store.DrillSchedule
		if s, ok := r.schedules[g.Name]; ok {
			schedule = &s
		}
		var last *store.Run
		if run, ok := r.drills[g.Name]; ok {
			last = &run
		}
		d, err := c.drillOf(g.Name, r.protections[g.Name], schedule, last)
		if err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	return list, nil
}

// drillSchedules are all schedules, by group.
func (c *Controller) drillSchedules(ctx context.Context) (map[string]store.DrillSchedule, error) {
	list, err := c.store.DrillSchedules(ctx)
	by := map[string]store.DrillSchedule{}
	for _, s := range list {
		by[s.Group] = s
	}
	return by, err
}

func (c *Controller) drill(ctx context.Context, group string, schedules map[string]store.DrillSchedule) (Drill, error) {
	prot, err := c.store.Protection(ctx, group)
	if err != nil {
		return Drill{}, err
	}
	runs, err := c.store.Runs(ctx, store.RunFilter{Group: group, Kind: recovery.KindDrill, Limit: 1})
	if err != nil {
		return Drill{}, err
	}
	var last *store.Run
	if len(runs) > 0 {
		last = &runs[0]
	}
	var schedule *store.DrillSchedule
	if s, ok := schedules[group]; ok {
		schedule = &s
	}
	return c.drillOf(group, prot, schedule, last)
}

// drillOf tells how a group stands with its rehearsals, by what is stored of it.
func (c *Controller) drillOf(group string, prot store.Protection, s *store.DrillSchedule, last *store.Run) (Drill, error) {
	d := Drill{Group: group, Schedule: s, Last: last,
		ProvenAt: prot.ProvenAt, ProvenRun: prot.ProvenRun, ProvenPoint: prot.ProvenPoint, ProvenRTO: prot.ProvenRTO}
	if s == nil {
		return d, nil
	}
	table, err := drill.ParseTimetable(s.Cron, s.Zone)
	if err != nil {
		return d, err
	}
	now := c.cfg.Now()
	for at := s.Next; len(d.Upcoming) < 3 && !at.IsZero(); at = table.Next(at) {
		d.Upcoming = append(d.Upcoming, at)
	}
	d.Limit = table.Limit(*s, now)
	if age := now.Sub(proofOf(*s, prot)); age > d.Limit {
		d.Overdue = age
	}
	return d, nil
}

// proofOf is the instant from which the age of the proof counts.
func proofOf(s store.DrillSchedule, prot store.Protection) time.Time {
	if prot.ProvenAt.After(s.Since) {
		return prot.ProvenAt
	}
	return s.Since
}

// sampleReplication tells a drill how replication of a group stands.
func (c *Controller) sampleReplication(ctx context.Context, group string) (drill.Sample, error) {
	g, err := c.store.Group(ctx, group)
	if err != nil {
		return drill.Sample{}, err
	}
	policy, err := c.store.Policy(ctx, g.Policy)
	if err != nil {
		return drill.Sample{}, err
	}
	saved, err := c.store.Status(ctx, group)
	if err != nil {
		return drill.Sample{}, err
	}
	live, err := c.scheduler.Status(group)
	if err != nil {
		return drill.Sample{}, err
	}
	saved = remembered(live, saved)
	s := drill.Sample{KnownGood: saved.KnownGood, State: saved.State, Objective: policy.RPO}
	if g.Paused {
		s.State = "paused"
	}
	return s, nil
}

// keepDrills begins drills that are due, until ctx ends.
func (c *Controller) keepDrills(ctx context.Context) error {
	tick := time.NewTicker(drillsEvery)
	defer tick.Stop()
	for {
		if err := c.dueDrills(ctx); err != nil && ctx.Err() == nil {
			c.log.Error("look at the schedules of drills", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// dueDrills looks at every schedule once. One look at a time: two would both find the same drill due.
func (c *Controller) dueDrills(ctx context.Context) error {
	c.drillsMu.Lock()
	defer c.drillsMu.Unlock()
	list, err := c.store.DrillSchedules(ctx)
	for _, s := range list {
		table, terr := drill.ParseTimetable(s.Cron, s.Zone)
		if terr != nil {
			err = errors.Join(err, fmt.Errorf("group %s: %w", s.Group, terr))
			continue
		}
		err = errors.Join(err, c.dueDrill(ctx, s, table), c.remind(ctx, s.Group, table))
	}
	return err
}

// dueDrill does what the schedule of a group asks for now.
func (c *Controller) dueDrill(ctx context.Context, s store.DrillSchedule, table drill.Timetable) error {
	turn := table.Decide(s, c.cfg.Now())
	record := func(change func(*store.DrillSchedule), told ...notify.Event) error {
		_, err := c.store.ChangeDrillSchedule(ctx, s.Group, func(now *store.DrillSchedule) error {
			if now.Cron == s.Cron && now.Zone == s.Zone { // else it was changed meanwhile
				change(now)
			}
			return nil
		}, told...)
		return err
	}
	switch turn.Turn {
	case drill.Mend:
		return record(func(s *store.DrillSchedule) { s.Next = turn.Next })
	case drill.Miss:
		message := fmt.Sprintf("the drill of %s due %s did not begin within %s", s.Group, turn.Due.Format(time.RFC3339), dr.FormatDuration(s.Window))
		if s.Problem != "" {
			message += ": " + s.Problem
		}
		g, err := c.store.Group(ctx, s.Group)
		if err != nil {
			return err
		}
		if err := record(func(s *store.DrillSchedule) { s.Next, s.LastDue = turn.Next, turn.Due }, news.DrillMissed(g, s, turn.Due, c.cfg.Now())); err != nil {
			return err
		}
		c.log.Warn(message, "group", s.Group)
		c.event(ctx, "drill.missed", s.Group, "", message)
	case drill.Run:
		// After a crash right here it may be under way, or over.
		run, begun, err := c.recovery.DrillDue(ctx, s.Group, turn.Due)
		if err != nil {
			return err
		}
		if !begun {
			run, err = c.recovery.Start(ctx, recovery.Request{Kind: recovery.KindDrill, Group: s.Group, Plan: s.Plan, By: "schedule",
				Drill: &recovery.DrillSpec{Keep: s.Keep, Due: turn.Due}})
		}
		if err != nil && run.ID == "" {
			return c.deferred(ctx, s, turn, err, record)
		}
		return record(func(s *store.DrillSchedule) {
			s.Next, s.LastDue, s.LastRun, s.Problem, s.Hint = turn.Next, turn.Due, run.ID, "", ""
		})
	}
	return nil
}

// deferred records why a drill that is due cannot begin now. It is tried again while its window lasts.
func (c *Controller) deferred(ctx context.Context, s store.DrillSchedule, turn drill.Decision, why error, record func(func(*store.DrillSchedule), ...notify.Event) error) error {
	if ctx.Err() != nil || s.Problem == why.Error() {
		return nil
	}
	message := fmt.Sprintf("the drill of %s due %s cannot begin yet: %v", s.Group, turn.Due.Format(time.RFC3339), why)
	c.log.Warn(message, "group", s.Group)
	c.event(ctx, "drill.deferred", s.Group, "", message)
	return record(func(s *store.DrillSchedule) { s.Problem, s.Hint = why.Error(), dr.Hint(why) })
}

// remind says once that the proof of a group is too old.
func (c *Controller) remind(ctx context.Context, group string, table drill.Timetable) error {
	prot, err := c.store.Protection(ctx, group)
	if err != nil {
		return err
	}
	s, ok, err := c.store.DrillSchedule(ctx, group)
	if err != nil || !ok {
		return err
	}
	now := c.cfg.Now()
	since, limit := proofOf(s, prot), table.Limit(s, now)
	age := now.Sub(since)
	if age <= limit || s.Reminded.Equal(since) {
		return nil
	}
	if _, err := c.store.ChangeDrillSchedule(ctx, group, func(s *store.DrillSchedule) error { s.Reminded = since; return nil }); err != nil {
		return err
	}
	message := fmt.Sprintf("drill of %s is overdue: last proven %s ago, the limit is %s", group, dr.FormatDuration(age.Truncate(time.Minute)), dr.FormatDuration(limit))
	if prot.ProvenAt.IsZero() {
		message = fmt.Sprintf("drill of %s is overdue: it was never proven to boot, and its schedule is %s old", group, dr.FormatDuration(age.Truncate(time.Minute)))
	}
	c.log.Warn(message, "group", group)
	c.event(ctx, "drill.overdue", group, "", message)
	return nil
}

// event appends an event that is of no run.
func (c *Controller) event(ctx context.Context, kind, group, run, message string) {
	if _, err := c.store.AppendEvent(context.WithoutCancel(ctx), store.Event{Kind: kind, Group: group, Run: run, Message: message}); err != nil {
		c.log.Error("append event", "kind", kind, "group", group, "err", err)
	}
}
