package controller

import (
	"context"
	"fmt"

	"understudy/internal/dr"
	"understudy/internal/keyring"
	"understudy/internal/replicate"
	"understudy/internal/store"
)

// vaultOf opens the vault of a group.
func (c *Controller) vaultOf(ctx context.Context, group string) (*keyring.Opened, error) {
	g, err := c.store.Group(ctx, group)
	if err != nil {
		return nil, err
	}
	return c.vault(ctx, g.Vault)
}

// Points lists the recovery points of a group, the oldest first.
func (c *Controller) Points(ctx context.Context, group string) ([]dr.RecoveryPoint, error) {
	v, err := c.vaultOf(ctx, group)
	if err != nil {
		return nil, err
	}
	return v.Points(ctx, group)
}

// Point finds a recovery point of a group, as vault.FindPoint does.
func (c *Controller) Point(ctx context.Context, group, selector string) (dr.RecoveryPoint, error) {
	v, err := c.vaultOf(ctx, group)
	if err != nil {
		return dr.RecoveryPoint{}, err
	}
	return v.FindPoint(ctx, group, selector)
}

// NamePoint gives a recovery point a name, which keeps it from retention.
func (c *Controller) NamePoint(ctx context.Context, group, selector, name, by string) (dr.RecoveryPoint, error) {
	v, err := c.vaultOf(ctx, group)
	if err != nil {
		return dr.RecoveryPoint{}, err
	}
	p, err := v.NamePoint(ctx, group, selector, name)
	if err != nil {
		return p, fmt.Errorf("name point: %w", err)
	}
	c.record(ctx, store.Event{Kind: "point.named", Group: group, Message: fmt.Sprintf("point %s of %s named %s by %s", p.ID, group, name, by)})
	return p, nil
}

// UnnamePoint takes a name away.
func (c *Controller) UnnamePoint(ctx context.Context, group, name, by string) (dr.RecoveryPoint, error) {
	v, err := c.vaultOf(ctx, group)
	if err != nil {
		return dr.RecoveryPoint{}, err
	}
	p, err := v.UnnamePoint(ctx, group, name)
	if err != nil {
		return p, fmt.Errorf("unname point: %w", err)
	}
	c.record(ctx, store.Event{Kind: "point.unnamed", Group: group, Message: fmt.Sprintf("name %s taken from point %s of %s by %s", name, p.ID, group, by)})
	return p, nil
}

// record adds to the record of what happened. It has happened already, so that a failure is only logged.
func (c *Controller) record(ctx context.Context, e store.Event) {
	if _, err := c.store.AppendEvent(context.WithoutCancel(ctx), e); err != nil {
		c.log.Error("record event", "kind", e.Kind, "group", e.Group, "err", err)
	}
}

// Sync runs a cycle now and waits for it.
func (c *Controller) Sync(ctx context.Context, group string) (replicate.Result, error) {
	return c.sync(ctx, group, c.scheduler.SyncNow)
}

// SyncConsistent runs a cycle now for a point that is as consistent as the guests allow.
func (c *Controller) SyncConsistent(ctx context.Context, group string) (replicate.Result, error) {
	return c.sync(ctx, group, c.scheduler.SyncConsistent)
}

func (c *Controller) sync(ctx context.Context, group string, run func(context.Context, string) (replicate.Result, error)) (replicate.Result, error) {
	g, err := c.store.Group(ctx, group)
	if err != nil {
		return replicate.Result{}, err
	}
	p, err := c.store.Protection(ctx, group)
	if err != nil {
		return replicate.Result{}, err
	}
	if !replicates(p.State) || g.Paused {
		state := string(p.State)
		if g.Paused {
			state = "paused"
		}
		return replicate.Result{}, dr.WithHint(fmt.Errorf("sync %s: the group is %s", group, state), dr.KindConflict, "understudy status "+group)
	}
	res, err := run(ctx, group)
	if err != nil {
		return res, err
	}
	// Whoever waited for the first copy may fail over now.
	return res, c.advance(ctx, group, res.Instant)
}
