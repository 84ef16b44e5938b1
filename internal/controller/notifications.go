package controller

import (
	"context"
	"fmt"
	"time"

	"understudy/internal/dr"
	"understudy/internal/extension"
	"understudy/internal/notify"
	"understudy/internal/store"
	"understudy/internal/watch"
)

// Times of notifications.
const (
	deliverTick     = time.Second     // between two looks at what is due
	retryFirst      = 5 * time.Second // after the first attempt of a notification that failed; twice that after the next
	retryMost       = time.Hour       // between two attempts
	attemptsMost    = 80              // of one notification: about three days
	attemptsRefused = 3               // of one that the receiver refuses for what it is: those behind it wait
	sentKept        = 1000            // notifications that were sent
	inOneGo         = 100             // notifications that are sent in one go
)

// keepNotifying sends what waits, until ctx ends.
func (c *Controller) keepNotifying(ctx context.Context) error {
	tick := time.NewTicker(deliverTick)
	defer tick.Stop()
	for {
		c.deliver(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
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
	sender, err := c.sender(ctx)
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
		err := sender.Send(ctx, channel, n.Event)
		if ctx.Err() != nil {
			return
		}
		now := c.cfg.Now()
		next := now
		switch {
		case err == nil:
			n.State, n.Sent, n.Problem = store.NotificationSent, now.UTC(), ""
		case n.Attempts >= attemptsMost || notify.Unacceptable(err) && n.Attempts >= attemptsRefused:
			n.State, n.Problem = store.NotificationDead, err.Error()
			c.log.Error("give a notification up", "channel", n.Channel, "subject", n.Event.Subject, "err", err)
		default:
			n.Problem = err.Error()
			next = now.Add(max(notify.RetryAfter(err), min(retryMost, retryFirst<<min(n.Attempts-1, 20))))
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

func (c *Controller) sender(ctx context.Context) (notify.Sender, error) {
	settings, err := c.store.NotificationSettings(ctx)
	return notify.Sender{Secret: extension.Secret, Now: c.cfg.Now, Console: settings.Console}, err
}

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
	sender, err := c.sender(ctx)
	if err != nil {
		return err
	}
	return sender.Send(ctx, channel, notify.Event{ID: "test-" + random(8), Time: c.cfg.Now().UTC(), Source: "understudy notify test", Kind: notify.Information,
		Severity: notify.Info, Subject: "This is a test of Understudy's notifications", Text: "They arrive here. Nothing has happened, and there is nothing to do.", Link: "/"})
}

// Rules lists the rules that say which notifications go where.
func (c *Controller) Rules(ctx context.Context) ([]notify.Rule, error) { return c.store.Rules(ctx) }

// PutRule adds or replaces a rule.
func (c *Controller) PutRule(ctx context.Context, r notify.Rule) error {
	if err := r.Check(); err != nil {
		return err
	}
	return c.store.PutRule(ctx, r)
}

// RemoveRule removes a rule.
func (c *Controller) RemoveRule(ctx context.Context, name string) error {
	return c.store.DeleteRule(ctx, name)
}

// NotificationSettings returns what all notifications share.
func (c *Controller) NotificationSettings(ctx context.Context) (notify.Settings, error) {
	s, err := c.store.NotificationSettings(ctx)
	if s.Repeat == 0 {
		s.Repeat = notify.DefaultRepeat
	}
	return s, err
}

// PutNotificationSettings replaces what all notifications share.
func (c *Controller) PutNotificationSettings(ctx context.Context, s notify.Settings) error {
	if err := s.Check(); err != nil {
		return err
	}
	return c.store.PutNotificationSettings(ctx, s)
}

// Problems lists the problems that were told and are not over.
func (c *Controller) Problems(ctx context.Context) ([]watch.Problem, error) {
	return c.store.Problems(ctx)
}

// Notifications lists notifications, newest first.
func (c *Controller) Notifications(ctx context.Context, f store.NotificationFilter) ([]store.Notification, error) {
	return c.store.Notifications(ctx, f)
}

// CountNotifications returns how many notifications are selected.
func (c *Controller) CountNotifications(ctx context.Context, f store.NotificationFilter) (int, error) {
	return c.store.CountNotifications(ctx, f)
}

// RetryNotification has a notification sent again that was given up.
func (c *Controller) RetryNotification(ctx context.Context, id int64) (store.Notification, error) {
	return c.store.RetryNotification(ctx, id)
}

// DropNotification forgets a notification that was given up.
func (c *Controller) DropNotification(ctx context.Context, id int64) error {
	_, err := c.store.DropNotification(ctx, id)
	return err
}
