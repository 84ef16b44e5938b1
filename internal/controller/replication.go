package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/history"
	"understudy/internal/replicate"
	"understudy/internal/store"
)

// load gathers what the next cycle of a group needs.
func (c *Controller) load(ctx context.Context, group string) (replicate.Work, error) {
	g, err := c.store.Group(ctx, group)
	if err != nil {
		return replicate.Work{}, err
	}
	policy, err := c.store.Policy(ctx, g.Policy)
	if err != nil {
		return replicate.Work{}, err
	}
	driver, err := c.driver(ctx, g.Site)
	if err != nil {
		return replicate.Work{}, err
	}
	v, err := c.vault(ctx, g.Vault)
	if err != nil {
		return replicate.Work{}, err
	}
	cycler := &replicate.Cycler{
		Driver: driver, Vault: v.Vault, Dir: filepath.Join(c.cfg.Dir, "repl", v.ID()), Now: c.cfg.Now, Logger: c.log,
	}
	if cycler.Spool, err = c.spool(ctx, g.Vault, v); err != nil {
		return replicate.Work{}, err
	}
	cycler.Describe = c.extensions.describe(g)
	return replicate.Work{Group: g, RPO: policy.RPO, Keep: policy.Keep, Cycler: cycler, AppEvery: policy.AppEvery, FreezeTimeout: policy.FreezeTimeout}, nil
}

// onStatus is told of changes of status.
func (c *Controller) onStatus(s replicate.Status) {
	c.dirty.put(s)
	c.feed.group(s.Group)
}

// onCycle is told of cycles that ended.
func (c *Controller) onCycle(e replicate.CycleEnd) {
	s := history.Sample{Time: e.Ended, Changed: e.Result.Changed, Stored: e.Result.Stored, Read: e.Result.Read, Took: e.Result.Took}
	if e.Err != nil {
		s.Failures = 1
	}
	if !e.KnownGood.IsZero() {
		s.Lag = e.Ended.Sub(e.KnownGood) // before the next is there is when it is the largest
	}
	c.history.Add(e.Group, s)
}

// History is what the cycles of a group did from one instant to another, in at most so many buckets.
func (c *Controller) History(ctx context.Context, group string, from, to time.Time, points int) ([]history.Sample, error) {
	if _, err := c.store.Group(ctx, group); err != nil {
		return nil, err
	}
	return c.history.Query(ctx, group, from, to, points)
}

// dirtyStatus collects changes of status until they are saved together: the scheduler must not wait for the disk.
type dirtyStatus struct {
	mu   sync.Mutex
	last map[string]replicate.Status
}

func (d *dirtyStatus) put(s replicate.Status) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last == nil {
		d.last = map[string]replicate.Status{}
	}
	d.last[s.Group] = s
}

func (d *dirtyStatus) take() map[string]replicate.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	taken := d.last
	d.last = nil
	return taken
}

// saveEvery is how often changed status is saved.
const saveEvery = 200 * time.Millisecond

// saveTimeout bounds one save, which the end of the controller does not interrupt: what it took would be lost.
const saveTimeout = 5 * time.Second

// saveStatus saves what changed until ctx ends, and once more then.
func (c *Controller) saveStatus(ctx context.Context) error {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			c.save(ctx)
			return nil
		case <-tick.C:
			c.save(ctx)
		}
	}
}

func (c *Controller) save(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	c.saveOnce(ctx)
}

func (c *Controller) saveOnce(ctx context.Context) {
	taken := c.dirty.take()
	var list []store.GroupStatus
	for _, s := range taken {
		if err := c.advance(ctx, s.Group, s.KnownGood); err != nil && ctx.Err() == nil {
			c.log.Error("record protection", "group", s.Group, "err", err)
		}
		before, err := c.store.Status(ctx, s.Group)
		if err != nil && ctx.Err() == nil {
			c.log.Error("read status", "group", s.Group, "err", err)
		}
		g := remembered(s, before)
		if s.Last.Kind != "" {
			if g.Detail, err = json.Marshal(s.Last); err != nil {
				c.log.Error("encode cycle", "group", s.Group, "err", err)
			}
		}
		g.Updated = c.cfg.Now().UTC()
		list = append(list, g)
	}
	if err := c.store.PutStatuses(ctx, list); err != nil && ctx.Err() == nil {
		c.log.Error("save status", "err", err)
	}
}

// remembered adds to what the scheduler knows of a group what was known before a restart, until a cycle has ended since. The
// cycle itself is as it was saved.
func remembered(live replicate.Status, saved store.GroupStatus) store.GroupStatus {
	g := store.GroupStatus{
		Group: live.Group, State: live.State, Phase: live.Progress.Phase, KnownGood: live.KnownGood, LastPoint: live.LastPoint,
		LastError: live.LastError, ErrorKind: live.LastKind, Hint: live.LastHint, Failures: live.Failures, NextDue: live.NextDue, Detail: saved.Detail,
	}
	if g.KnownGood.IsZero() {
		g.KnownGood = saved.KnownGood
	}
	if g.LastPoint == "" {
		g.LastPoint = saved.LastPoint
	}
	if live.Last.Kind == "" && live.Failures == 0 {
		g.LastError, g.ErrorKind, g.Hint, g.Failures = saved.LastError, saved.ErrorKind, saved.Hint, saved.Failures
		if live.State == replicate.StateWaiting && saved.Failures > 0 {
			g.State = replicate.StateFailing
		}
	}
	return g
}

// advance moves a group's protection on when its first copy is complete.
func (c *Controller) advance(ctx context.Context, group string, knownGood time.Time) error {
	if knownGood.IsZero() {
		return nil
	}
	p, err := c.store.Protection(ctx, group)
	if err != nil || p.State != dr.StateSeeding {
		return err
	}
	_, err = c.store.ChangeProtection(ctx, group, func(p *store.Protection) error {
		if p.State != dr.StateSeeding {
			return nil
		}
		next, err := p.Protection.Next(dr.OpSeeded)
		p.Protection = next
		return err
	})
	return err
}

// replicator is the scheduler as runs use it.
type replicator struct{ c *Controller }

// Pause ends the cycle under way and starts no other.
func (r replicator) Pause(ctx context.Context, group string) error {
	return r.c.scheduler.Pause(ctx, group)
}

// Resume lets cycles go on, unless a person paused the group.
func (r replicator) Resume(ctx context.Context, group string) error {
	g, err := r.c.store.Group(ctx, group)
	if err != nil || g.Paused {
		return err
	}
	return r.c.scheduler.Resume(group)
}

// Final makes a recovery point of a paused group whose machines are stopped.
func (r replicator) Final(ctx context.Context, group string) (dr.RecoveryPoint, error) {
	res, err := r.c.scheduler.SyncNow(ctx, group)
	if err != nil {
		return dr.RecoveryPoint{}, err
	}
	if res.Point != nil {
		return *res.Point, nil
	}
	g, err := r.c.store.Group(ctx, group)
	if err != nil {
		return dr.RecoveryPoint{}, err
	}
	v, err := r.c.vault(ctx, g.Vault)
	if err != nil {
		return dr.RecoveryPoint{}, err
	}
	head, err := v.Head(ctx, group)
	if err != nil {
		return dr.RecoveryPoint{}, fmt.Errorf("final sync of %s: %w", group, err)
	}
	return head.Point, nil
}

// reconcile keeps what must not run from running, until ctx ends.
func (c *Controller) reconcile(ctx context.Context) error {
	tick := time.NewTicker(c.cfg.ReconcileEvery)
	defer tick.Stop()
	for {
		if err := c.recovery.Reconcile(ctx); err != nil && ctx.Err() == nil {
			c.log.Warn("reconcile", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// tidyEvery is how often what is not needed any more is let go of.
const tidyEvery = 24 * time.Hour

// tidy lets go of what is not needed any more, until ctx ends.
func (c *Controller) tidy(ctx context.Context) error {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		if err := c.recovery.Tidy(ctx); err != nil && ctx.Err() == nil {
			c.log.Warn("tidy up", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
