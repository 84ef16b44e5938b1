package controller

import (
	"cmp"
	"context"
	"fmt"

	"understudy/internal/dr"
	"understudy/internal/grant"
	"understudy/internal/recovery"
	"understudy/internal/store"
)

// Copy begins a clone or a move. A machine that is replicated is cloned from a recovery point made for it now, so that its
// replication need not wait for the end of the copy; a cloud that copies disks itself does not touch replication.
func (c *Controller) Copy(ctx context.Context, kind string, spec recovery.CloneSpec, by string) (store.Run, error) {
	direct := false
	if kind == recovery.KindClone && spec.Site != "" {
		var err error
		if direct, err = c.recovery.CopiesDirectly(ctx, kind, spec); err != nil {
			return store.Run{}, err
		}
	}
	if kind == recovery.KindClone && spec.Site != "" && spec.Group == "" && !direct {
		group, err := c.replicating(ctx, spec.Site, spec.Machine)
		if err != nil {
			return store.Run{}, err
		}
		if group != "" {
			if _, err := c.Sync(ctx, group); err != nil {
				return store.Run{}, dr.WithHint(fmt.Errorf("clone %s: bring its group %s up to date: %w", spec.Machine, group, err), dr.KindOf(err),
					"clone from a recovery point that there is: --group "+group+" --point latest")
			}
			if spec.To == "" {
				spec.To = spec.Site
			}
			spec.Group, spec.Site = group, ""
		}
	}
	return c.recovery.Start(ctx, recovery.Request{Kind: kind, Clone: &spec, By: by})
}

// PreviewClone says what a clone would do. Of a machine that is replicated the newest recovery point is looked at.
func (c *Controller) PreviewClone(ctx context.Context, spec recovery.CloneSpec) (recovery.ClonePreview, error) {
	if spec.Site != "" && spec.Group == "" {
		direct, err := c.recovery.CopiesDirectly(ctx, recovery.KindClone, spec)
		if err != nil {
			return recovery.ClonePreview{}, err
		}
		group := ""
		if !direct {
			if group, err = c.replicating(ctx, spec.Site, spec.Machine); err != nil {
				return recovery.ClonePreview{}, err
			}
		}
		if group != "" {
			spec.To = cmp.Or(spec.To, spec.Site)
			spec.Group, spec.Site = group, ""
		}
	}
	return c.recovery.PreviewClone(ctx, recovery.Request{Kind: recovery.KindClone, Clone: &spec})
}

// replicating returns the group that a machine is replicated with, or nothing.
func (c *Controller) replicating(ctx context.Context, siteName, machine string) (string, error) {
	groups, err := c.store.Groups(ctx)
	if err != nil {
		return "", err
	}
	for _, g := range groups {
		if g.Site != siteName || g.Paused {
			continue
		}
		for _, m := range g.Machines {
			if m.Name != machine {
				continue
			}
			p, err := c.store.Protection(ctx, g.Name)
			if err != nil || !replicates(p.State) {
				return "", err
			}
			return g.Name, nil
		}
	}
	return "", nil
}

// ConfirmMove makes a move final.
func (c *Controller) ConfirmMove(ctx context.Context, run string, deleteSource bool, by string) error {
	return c.recovery.Confirm(ctx, run, deleteSource, by)
}

// ResumeRun goes on with a clone or a move that failed.
func (c *Controller) ResumeRun(ctx context.Context, run, by string) (store.Run, error) {
	return c.recovery.Resume(ctx, run, by)
}

// Grants lists grants, the newest first; only those that have not ended with active.
func (c *Controller) Grants(ctx context.Context, active bool) ([]grant.Record, error) {
	return c.recovery.Grants(ctx, active, -1)
}

// RevokeGrant ends a grant.
func (c *Controller) RevokeGrant(ctx context.Context, id, by string) error {
	return c.recovery.RevokeGrant(ctx, id, by)
}
