package controller

import (
	"context"
	"fmt"

	"understudy/internal/dr"
	"understudy/internal/recovery"
	"understudy/internal/registry"
	"understudy/internal/store"
)

// canRun says why machines cannot be recovered to a site, or nil.
func (c *Controller) canRun(ctx context.Context, name string) error {
	s, err := c.store.Site(ctx, name)
	if err != nil {
		return err
	}
	if !registry.CanRun(s) {
		return dr.WithHint(fmt.Errorf("site %s (%s) runs no machines, so nothing can be recovered there", name, s.Provider), dr.KindInvalid,
			"protect the group with a --target that runs machines, or restore points to files: understudy restore --help")
	}
	return nil
}

// Failback begins a failover to the site where the group was first protected.
func (c *Controller) Failback(ctx context.Context, q recovery.Request) (store.Run, error) {
	g, err := c.store.Group(ctx, q.Group)
	if err != nil {
		return store.Run{}, err
	}
	if err := homeward(g); err != nil {
		return store.Run{}, err
	}
	return c.recovery.Start(ctx, q)
}

// homeward refuses a failback of a group that a failover would lead away from home.
func homeward(g dr.Group) error {
	switch {
	case g.Home == "" || g.Site == g.Home:
		return dr.WithHint(fmt.Errorf("failback %s: it runs at %s, where it was first protected", g.Name, g.Site), dr.KindConflict,
			fmt.Sprintf("to go to %s: understudy failover %s --planned", g.Target, g.Name))
	case g.Target != g.Home:
		return dr.WithHint(fmt.Errorf("failback %s: its target is %s, and it was first protected at %s", g.Name, g.Target, g.Home), dr.KindConflict,
			fmt.Sprintf("to go to %s: understudy failover %s --planned", g.Target, g.Name))
	}
	return nil
}

// StartRequest begins a run.
func (c *Controller) StartRequest(ctx context.Context, q recovery.Request) (store.Run, error) {
	return c.recovery.Start(ctx, q)
}

// PreviewFailover says what a failover would do, and changes nothing.
func (c *Controller) PreviewFailover(ctx context.Context, q recovery.Request, failback bool) (recovery.Preview, error) {
	if failback {
		g, err := c.store.Group(ctx, q.Group)
		if err == nil {
			err = homeward(g)
		}
		if err != nil {
			return recovery.Preview{}, err
		}
	}
	return c.recovery.Preview(ctx, q)
}

// PreviewReprotect measures what a reprotection would copy, and changes nothing.
func (c *Controller) PreviewReprotect(ctx context.Context, group string) (recovery.ReprotectPreview, error) {
	return c.recovery.PreviewReprotect(ctx, group)
}

// ReleaseMachine lets a machine run that is held at a site.
func (c *Controller) ReleaseMachine(ctx context.Context, siteName, machine string) error {
	return c.recovery.Release(ctx, siteName, machine)
}
