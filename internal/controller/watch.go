package controller

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/keyring"
	"understudy/internal/news"
	"understudy/internal/replicate"
	"understudy/internal/store"
	"understudy/internal/watch"
)

// Times of looks at what may be wrong.
const (
	watchEvery = 5 * time.Second
	probeEvery = time.Minute      // between two looks at every vault
	probeTime  = 30 * time.Second // that one may take
)

// keepWatch looks at what may be wrong, until ctx ends. What is wrong is in the store and stays there until it is over, so
// that a look which a crash prevented is made up for by the next.
func (c *Controller) keepWatch(ctx context.Context) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		if err := c.watchOnce(ctx); err != nil && ctx.Err() == nil {
			c.log.Error("look at what may be wrong", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// watchOnce looks once at what may be wrong.
func (c *Controller) watchOnce(ctx context.Context) error {
	l, err := c.conditions(ctx)
	if err != nil {
		return err
	}
	settings, err := c.NotificationSettings(ctx)
	if err != nil {
		return err
	}
	l.Repeat = max(0, settings.Repeat)
	events, err := c.store.Watch(ctx, l)
	for _, e := range events {
		c.log.Info("news", "kind", e.Kind, "severity", e.Severity, "subject", e.Subject)
		c.event(ctx, "notification."+string(e.Kind), e.Group, e.Run, e.Subject)
	}
	return err
}

// conditions gathers what may be wrong.
func (c *Controller) conditions(ctx context.Context) (watch.Look, error) {
	l := watch.Look{At: c.cfg.Now()}
	groups, err := c.groupFacts(ctx)
	if err != nil {
		return l, err
	}
	names, byName := map[string]bool{}, map[string]dr.Group{}
	for _, g := range groups {
		names[g.Group.Name], byName[g.Group.Name] = true, g.Group
		l.Conditions = append(l.Conditions, g.Conditions()...)
	}
	vaults, err := c.vaultFacts(ctx, groups)
	if err != nil {
		return l, err
	}
	vaultNames := map[string]bool{}
	for _, v := range vaults {
		vaultNames[v.Name] = true
		l.Conditions = append(l.Conditions, v.Conditions()...)
	}
	monitors, err := c.store.Monitors(ctx)
	if err != nil {
		return l, err
	}
	monitorNames := map[string]bool{}
	for _, m := range monitors {
		monitorNames[m.Name] = true
		l.Conditions = append(l.Conditions, news.Monitor(m)...)
	}
	open, err := c.store.Problems(ctx)
	if err != nil {
		return l, err
	}
	asked, err := c.asked(ctx, open, byName)
	if err != nil {
		return l, err
	}
	wanted, err := c.wanted(ctx, open)
	if err != nil {
		return l, err
	}
	// Of two conditions of a key the first counts: what became of an approval says more than that its group is gone, and what
	// is stale comes before the rest.
	l.Conditions = slices.Concat(wanted, news.Stale(open, names, vaultNames, monitorNames), asked, l.Conditions)
	return l, nil
}

// asked are the questions of runs: those that are open, and those that were told.
func (c *Controller) asked(ctx context.Context, open []watch.Problem, groups map[string]dr.Group) ([]watch.Condition, error) {
	questions, err := c.store.OpenQuestions(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range open {
		run, topic, ok := news.Asked(p.Event.Key)
		if !ok {
			continue
		}
		q, err := c.store.Question(ctx, run, topic)
		if err != nil && dr.KindOf(err) == dr.KindNotFound {
			continue // forgotten, and with it the run
		}
		if err != nil {
			return nil, err
		}
		if !q.Answered.IsZero() {
			questions = append(questions, q)
		}
	}
	var list []watch.Condition
	for _, q := range questions {
		run, err := c.store.Run(ctx, q.Run)
		if err != nil {
			return nil, err
		}
		list = append(list, news.Waits(q, run, groups[run.Group]))
	}
	return list, nil
}

// wanted are the approvals of another person: those that are waited for, and those that were told.
func (c *Controller) wanted(ctx context.Context, open []watch.Problem) ([]watch.Condition, error) {
	approvals, err := c.store.Approvals(ctx, true)
	if err != nil {
		return nil, err
	}
	var list []watch.Condition
	for _, a := range approvals {
		list = append(list, news.Wanted(a))
	}
	for _, p := range open {
		id, ok := news.WantedID(p.Event.Key)
		if !ok || slices.ContainsFunc(approvals, func(a store.Approval) bool { return a.ID == id }) {
			continue
		}
		a, err := c.store.Approval(ctx, id)
		if err != nil {
			return nil, err
		}
		list = append(list, news.Wanted(a))
	}
	return list, nil
}

func (c *Controller) groupFacts(ctx context.Context) ([]news.Group, error) {
	r, err := c.read(ctx, "")
	if err != nil {
		return nil, err
	}
	list := make([]news.Group, 0, len(r.groups))
	for _, g := range r.groups {
		s := Status{Group: g, RPO: r.rpo[g.Policy], Protection: r.protections[g.Name]}
		err := c.fill(&s, r)
		if err != nil {
			c.log.Warn("look at a group", "group", g.Name, "err", err)
		}
		_, busy := r.active[g.Name]
		f := news.Group{
			Group: g, Protection: s.Protection, Busy: busy, Unknown: err != nil, RPO: s.RPO, Recoverable: s.Recoverable, Lose: s.Lose, RPOMet: s.RPOMet,
			Unprotected: !s.LiveSince.IsZero(), Paused: g.Paused, Replicates: replicates(s.Protection.State) && !g.Paused,
			Failures: s.Failures, Fenced: s.Replication == replicate.StateFenced, Error: s.Error, ErrorKind: s.ErrorKind, Hint: s.Hint,
		}
		for _, fence := range r.fences[g.Name] {
			if !fence.SplitBrain.IsZero() {
				f.Fences = append(f.Fences, fence)
			}
		}
		if d, ok := r.schedules[g.Name]; ok {
			f.Schedule = &d
		}
		list = append(list, f)
	}
	return list, nil
}

func (c *Controller) vaultFacts(ctx context.Context, groups []news.Group) ([]news.Vault, error) {
	vaults, err := c.store.Vaults(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]news.Vault, len(vaults))
	for i, v := range vaults {
		list[i] = news.Vault{Name: v.Name}
		list[i].Err, list[i].Looked = c.probes.get(v)
		for _, g := range groups {
			if g.Group.Vault != v.Name {
				continue
			}
			list[i].Groups = append(list[i].Groups, g.Group.Name)
			if g.Failures > 0 && g.ErrorKind == dr.KindCorrupt {
				list[i].Broken = append(list[i].Broken, g)
			}
		}
	}
	return list, nil
}

// probes are the last looks at vaults.
type probes struct {
	mu   sync.Mutex
	last map[store.Vault]error
}

func (p *probes) get(v store.Vault) (err error, looked bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	err, looked = p.last[v]
	return err, looked
}

// keepProbing looks at the vaults, until ctx ends.
func (c *Controller) keepProbing(ctx context.Context) error {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		c.probe(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// probe looks at every vault once, all at the same time: one that hangs delays no other.
func (c *Controller) probe(ctx context.Context) {
	vaults, err := c.store.Vaults(ctx)
	if err != nil {
		if ctx.Err() == nil {
			c.log.Error("list vaults", "err", err)
		}
		return
	}
	found := make([]error, len(vaults))
	var looking sync.WaitGroup
	for i, v := range vaults {
		looking.Go(func() { found[i] = c.probeVault(ctx, v) })
	}
	looking.Wait()
	if ctx.Err() != nil {
		return // what was not asked did not fail
	}
	c.probes.mu.Lock()
	defer c.probes.mu.Unlock()
	c.probes.last = map[store.Vault]error{}
	for i, v := range vaults {
		c.probes.last[v] = found[i]
	}
}

// probeVault opens a vault anew, so that it is seen whether what is there now is the vault.
func (c *Controller) probeVault(ctx context.Context, v store.Vault) error {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	opened, err := c.opener.Open(ctx, keyring.Place{URL: v.URL, Key: v.KeyFile})
	if err != nil {
		return err
	}
	if v.ID != "" && opened.ID() != v.ID {
		return dr.WithHint(fmt.Errorf("%s holds another vault (%s, not %s)", v.URL, opened.ID(), v.ID), dr.KindConflict, "understudy vault list")
	}
	return nil
}
