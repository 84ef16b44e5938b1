package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/monitor"
	"understudy/internal/site"
	"understudy/internal/store"
)

// Times of monitors.
const (
	monitorEvery = time.Minute     // unless the monitor says
	monitorLook  = 2 * time.Minute // that one look may take
	monitorTick  = time.Second     // between two looks at what is due
)

var monitorName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)

// AddMonitor begins to watch the long operations of a site.
func (c *Controller) AddMonitor(ctx context.Context, m store.Monitor) (store.Monitor, error) {
	if !monitorName.MatchString(m.Name) {
		return m, dr.WithHint(fmt.Errorf("%q is no name of a monitor", m.Name), dr.KindInvalid, "use lower-case letters, digits, '-' and '.'")
	}
	if m.Every == 0 {
		m.Every = monitorEvery
	}
	if m.Every < time.Second || m.Patience < 0 {
		return m, dr.WithHint(errors.New("a monitor looks at most once a second, and has patience"), dr.KindInvalid, "--every 1m --patience 3")
	}
	if _, err := c.watcher(ctx, m.Site); err != nil {
		return m, err
	}
	return m, c.store.PutMonitor(ctx, m)
}

func (c *Controller) watcher(ctx context.Context, name string) (site.Watcher, error) {
	d, err := c.driver(ctx, name)
	if err != nil {
		return nil, err
	}
	w, ok := d.(site.Watcher)
	if !ok {
		return nil, dr.WithHint(fmt.Errorf("site %s has no operations to watch", name), dr.KindInvalid, "add the stack as an azure site with updates=REGION: docs/monitor.md")
	}
	return w, nil
}

// Monitors lists the monitors.
func (c *Controller) Monitors(ctx context.Context) ([]store.Monitor, error) {
	return c.store.Monitors(ctx)
}

// RemoveMonitor ends a monitor.
func (c *Controller) RemoveMonitor(ctx context.Context, name string) error {
	return c.store.DeleteMonitor(ctx, name)
}

// TestMonitor looks at once, without any consequence. An error of the look comes with its answer, if there is one.
func (c *Controller) TestMonitor(ctx context.Context, name string) (l monitor.Look, err error) {
	m, err := c.store.Monitor(ctx, name)
	if err == nil {
		l = c.see(ctx, m)
		if l.Answer.Way == "" {
			err = l.Err
		}
	}
	return l, err
}

// Monitor returns a monitor with what it knows.
func (c *Controller) Monitor(ctx context.Context, name string) (store.Monitor, error) {
	return c.store.Monitor(ctx, name)
}

// see looks once at what a monitor watches.
func (c *Controller) see(ctx context.Context, m store.Monitor) monitor.Look {
	ctx, cancel := context.WithTimeout(ctx, monitorLook)
	defer cancel()
	l := monitor.Look{Monitor: m.Name, At: c.cfg.Now(), Patience: m.Patience}
	w, err := c.watcher(ctx, m.Site)
	if err != nil {
		l.Err = err
		return l
	}
	l.Answer, l.Err = w.Operations(ctx, slices.Collect(maps.Values(m.State.Operations)))
	return l
}

// keepMonitors looks at what is due, until ctx ends.
func (c *Controller) keepMonitors(ctx context.Context) error {
	looked := map[string]time.Time{}
	var looking sync.Map // names; what an earlier look saw must not come after a later one
	var running sync.WaitGroup
	defer running.Wait()
	tick := time.NewTicker(monitorTick)
	defer tick.Stop()
	for {
		list, err := c.store.Monitors(ctx)
		if err != nil && ctx.Err() == nil {
			c.log.Error("list monitors", "err", err)
		}
		for _, m := range list {
			now := c.cfg.Now()
			if last, ok := looked[m.Name]; ok && now.Sub(last) < m.Every {
				continue
			}
			if _, still := looking.LoadOrStore(m.Name, true); still {
				continue
			}
			looked[m.Name] = now
			running.Go(func() {
				defer looking.Delete(m.Name)
				c.look(ctx, m)
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look looks once at what a monitor watches, and keeps what is news.
func (c *Controller) look(ctx context.Context, m store.Monitor) {
	l := c.see(ctx, m)
	if ctx.Err() != nil {
		return // what was not asked did not fail
	}
	_, events, err := c.store.Advance(ctx, m.Name, l)
	if err != nil && ctx.Err() == nil && dr.KindOf(err) != dr.KindNotFound {
		c.log.Error("keep what a monitor saw", "monitor", m.Name, "err", err)
	}
	for _, e := range events {
		c.log.Info("news", "monitor", m.Name, "kind", e.Kind, "subject", e.Subject)
		if _, err := c.store.AppendEvent(ctx, store.Event{Kind: "monitor." + string(e.Kind), Message: e.Subject}); err != nil && ctx.Err() == nil {
			c.log.Warn("append event", "err", err)
		}
	}
}
