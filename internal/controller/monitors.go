package controller

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/extension"
	"understudy/internal/monitor"
	"understudy/internal/notify"
	"understudy/internal/site"
	"understudy/internal/store"
)

// Times of monitors and notifications.
const (
	monitorEvery = time.Minute     // unless the monitor says
	monitorLook  = 2 * time.Minute // that one look may take
	monitorTick  = time.Second     // between two looks at what is due
	retryFirst   = 5 * time.Second // after the first attempt of a notification that failed; twice that after the next
	retryMost    = time.Hour       // between two attempts
	attemptsMost = 80              // of one notification: about three days
	sentKept     = 1000            // notifications that ended
	inOneGo      = 100             // notifications that are sent in one go
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

// TestMonitor looks at once, without any consequence.
func (c *Controller) TestMonitor(ctx context.Context, name string) ([]site.Operation, error) {
	list, err := c.store.Monitors(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range list {
		if m.Name == name {
			w, err := c.watcher(ctx, m.Site)
			if err != nil {
				return nil, err
			}
			return w.Operations(ctx)
		}
	}
	return nil, dr.WithHint(fmt.Errorf("no monitor named %q", name), dr.KindNotFound, "understudy monitor list")
}

// keepMonitors looks at what is due, and sends what waits, until ctx ends.
func (c *Controller) keepMonitors(ctx context.Context) error {
	looked := map[string]time.Time{}
	busy := make(chan struct{}, 1) // one sending at a time
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
			looked[m.Name] = now
			running.Go(func() { c.look(ctx, m) })
		}
		select {
		case busy <- struct{}{}:
			running.Go(func() {
				defer func() { <-busy }()
				c.deliver(ctx)
			})
		default:
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
	looking, cancel := context.WithTimeout(ctx, monitorLook)
	defer cancel()
	l := monitor.Look{At: c.cfg.Now()}
	w, err := c.watcher(looking, m.Site)
	if err == nil {
		l.Operations, err = w.Operations(looking)
	}
	if ctx.Err() != nil {
		return // what was not asked did not fail
	}
	l.Err = err
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

// deliver sends what is due. What was sent when the process died is sent again, with the same ID.
func (c *Controller) deliver(ctx context.Context) {
	due, err := c.store.DueNotifications(ctx, c.cfg.Now(), inOneGo)
	if err != nil || len(due) == 0 {
		if err != nil && ctx.Err() == nil {
			c.log.Error("read notifications", "err", err)
		}
		return
	}
	channels, err := c.channels(ctx)
	if err != nil {
		return
	}
	blocked := map[string]bool{} // channels that did not take one: what comes later waits, so that order is kept
	for _, n := range due {
		channel, ok := channels[n.Channel]
		if !ok || blocked[n.Channel] {
			continue
		}
		n.Attempts++
		err := c.sender().Send(ctx, channel, n.Event)
		if ctx.Err() != nil {
			return
		}
		now := c.cfg.Now()
		next := now
		switch {
		case err == nil:
			n.State, n.Sent, n.Problem = store.NotificationSent, now.UTC(), ""
		case n.Attempts >= attemptsMost:
			n.State, n.Problem = store.NotificationDead, err.Error()
			c.log.Error("give a notification up", "channel", n.Channel, "subject", n.Event.Subject, "err", err)
		default:
			n.Problem = err.Error()
			next = now.Add(min(retryMost, retryFirst<<min(n.Attempts-1, 20)))
			blocked[n.Channel] = true
			c.log.Warn("send notification", "channel", n.Channel, "attempt", n.Attempts, "err", err)
		}
		if err := c.store.SaveNotification(ctx, n, next); err != nil && ctx.Err() == nil {
			c.log.Error("save notification", "err", err)
			return
		}
	}
	if err := c.store.PruneNotifications(ctx, sentKept); err != nil && ctx.Err() == nil {
		c.log.Warn("forget old notifications", "err", err)
	}
}

func (c *Controller) sender() notify.Sender { return notify.Sender{Secret: extension.Secret} }

func (c *Controller) channels(ctx context.Context) (map[string]notify.Channel, error) {
	list, err := c.store.Channels(ctx)
	out := map[string]notify.Channel{}
	for _, one := range list {
		out[one.Name] = one
	}
	return out, err
}

// PutChannel adds or replaces a channel of notifications.
func (c *Controller) PutChannel(ctx context.Context, n notify.Channel) error {
	if err := n.Check(); err != nil {
		return err
	}
	return c.store.PutChannel(ctx, n)
}

// Channels lists the channels of notifications.
func (c *Controller) Channels(ctx context.Context) ([]notify.Channel, error) {
	return c.store.Channels(ctx)
}

// RemoveChannel removes a channel, with what waits for it.
func (c *Controller) RemoveChannel(ctx context.Context, name string) error {
	return c.store.DeleteChannel(ctx, name)
}

// TestChannel sends a test to a channel, and returns when it was taken.
func (c *Controller) TestChannel(ctx context.Context, name string) error {
	all, err := c.channels(ctx)
	if err != nil {
		return err
	}
	channel, ok := all[name]
	if !ok {
		return dr.WithHint(fmt.Errorf("no channel named %q", name), dr.KindNotFound, "understudy notify list")
	}
	return c.sender().Send(ctx, channel, notify.Event{ID: "test-" + random(8), Time: c.cfg.Now().UTC(), Source: "understudy notify test", Kind: notify.Information,
		Subject: "A test", Text: "Notifications of Understudy arrive here."})
}

// Notifications lists the newest notifications, of one state or all.
func (c *Controller) Notifications(ctx context.Context, state string) ([]store.Notification, error) {
	return c.store.Notifications(ctx, state, inOneGo)
}
