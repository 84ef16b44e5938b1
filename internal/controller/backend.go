package controller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"understudy/internal/dr"
	"understudy/internal/keyring"
	"understudy/internal/recovery"
	"understudy/internal/registry"
	"understudy/internal/site"
	"understudy/internal/store"
	"understudy/internal/vault"
)

// Ready reports whether the controller can work: its state can be read and no other has taken over.
func (c *Controller) Ready(ctx context.Context) error {
	_, err := c.store.LastEvent(ctx)
	return err
}

// Sites lists the sites.
func (c *Controller) Sites(ctx context.Context) ([]dr.Site, error) { return c.store.Sites(ctx) }

// Site shows a site.
func (c *Controller) Site(ctx context.Context, name string) (dr.Site, error) {
	return c.store.Site(ctx, name)
}

// AddSite adds a site whose driver opens.
func (c *Controller) AddSite(ctx context.Context, s dr.Site) error {
	d, err := c.cfg.OpenSite(s)
	if err != nil {
		return err
	}
	if err := c.store.CreateSite(ctx, s); err != nil {
		if closer, ok := d.(io.Closer); ok {
			err = errors.Join(err, closer.Close())
		}
		return err
	}
	c.mu.Lock()
	c.drivers[s.Name] = d
	c.mu.Unlock()
	return nil
}

// RemoveSite forgets a site that no group uses.
func (c *Controller) RemoveSite(ctx context.Context, name string) error {
	if err := c.store.DeleteSite(ctx, name); err != nil {
		return err
	}
	c.mu.Lock()
	d := c.drivers[name]
	delete(c.drivers, name)
	c.mu.Unlock()
	if closer, ok := d.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

// Machines lists the machines of a site.
func (c *Controller) Machines(ctx context.Context, siteName string) ([]dr.Machine, error) {
	d, err := c.driver(ctx, siteName)
	if err != nil {
		return nil, err
	}
	list, err := d.Machines(ctx)
	if err != nil {
		return nil, fmt.Errorf("list machines of site %s: %w", siteName, err)
	}
	return list, nil
}

// Power starts or stops a machine.
func (c *Controller) Power(ctx context.Context, siteName, machine string, action site.PowerAction) error {
	d, err := c.driver(ctx, siteName)
	if err != nil {
		return err
	}
	if err := d.Power(ctx, machine, action); err != nil {
		return fmt.Errorf("%s %s at site %s: %w", action, machine, siteName, err)
	}
	return nil
}

// Policies lists the policies.
func (c *Controller) Policies(ctx context.Context) ([]dr.Policy, error) { return c.store.Policies(ctx) }

// PutPolicy adds or changes a policy.
func (c *Controller) PutPolicy(ctx context.Context, p dr.Policy) error {
	if err := p.Validate(); err != nil {
		return err
	}
	return c.store.PutPolicy(ctx, p)
}

// RemovePolicy removes a policy that no group uses.
func (c *Controller) RemovePolicy(ctx context.Context, name string) error {
	return c.store.DeletePolicy(ctx, name)
}

// Vaults lists the vaults.
func (c *Controller) Vaults(ctx context.Context) ([]store.Vault, error) { return c.store.Vaults(ctx) }

// Vault shows a vault.
func (c *Controller) Vault(ctx context.Context, name string) (store.Vault, error) {
	return c.store.Vault(ctx, name)
}

// AddVault adds the vault at a URL, and makes it where there is none.
func (c *Controller) AddVault(ctx context.Context, v store.Vault, lock *vault.LockRule) (added store.Vault, made, newKey bool, err error) {
	if _, err := c.store.Vault(ctx, v.Name); err == nil {
		return v, false, false, dr.WithHint(fmt.Errorf("vault %s exists", v.Name), dr.KindConflict, "understudy vault list")
	}
	url, err := registry.VaultURL(v.URL)
	if err != nil {
		return v, false, false, err
	}
	if err := c.opener.Forget(url); err != nil {
		return v, false, false, err
	}
	opened, err := c.opener.OpenOrCreate(ctx, keyring.Place{URL: url, Key: v.KeyFile, Lock: lock})
	if err != nil {
		return v, false, false, err
	}
	v.URL, v.ID, v.KeyFile = url, opened.ID(), opened.KeyFile
	if err := c.store.CreateVault(ctx, v); err != nil {
		return v, opened.Made, opened.NewKey, err
	}
	c.mu.Lock()
	c.vaults[v.Name] = opened
	c.mu.Unlock()
	return v, opened.Made, opened.NewKey, nil
}

// RemoveVault forgets a vault; its data stays.
func (c *Controller) RemoveVault(ctx context.Context, name string) error {
	if err := c.store.DeleteVault(ctx, name); err != nil {
		return err
	}
	c.mu.Lock()
	delete(c.vaults, name)
	delete(c.spools, name)
	c.mu.Unlock()
	return nil
}

// Groups lists the groups.
func (c *Controller) Groups(ctx context.Context) ([]dr.Group, error) { return c.store.Groups(ctx) }

// Group shows a group.
func (c *Controller) Group(ctx context.Context, name string) (dr.Group, error) {
	return c.store.Group(ctx, name)
}

// Protect protects a group from now on, or changes how it is protected.
func (c *Controller) Protect(ctx context.Context, g dr.Group) (dr.Group, error) {
	if g.Policy == "" {
		g.Policy = dr.DefaultPolicy().Name
	}
	if g.Target == "" {
		g.Target = g.Site
	}
	fail := func(err error) (dr.Group, error) { return g, fmt.Errorf("protect %s: %w", g.Name, err) }
	before, err := c.store.Group(ctx, g.Name)
	exists := err == nil
	if err != nil && dr.KindOf(err) != dr.KindNotFound {
		return fail(err)
	}
	if exists && (before.Site != g.Site || before.Vault != g.Vault) {
		return fail(dr.WithHint(fmt.Errorf("it runs at site %s with vault %s, and neither changes this way", before.Site, before.Vault), dr.KindConflict,
			"to move it: understudy failover "+g.Name+" --planned; to begin anew: understudy unprotect "+g.Name))
	}
	g.Home = before.Home
	target, err := c.store.Site(ctx, g.Target)
	if err != nil {
		return fail(err)
	}
	if g.Target != g.Site && !registry.CanRun(target) {
		return fail(dr.WithHint(fmt.Errorf("site %s (%s) runs no machines, so nothing can be recovered there", g.Target, target.Provider), dr.KindInvalid,
			"give another --target, or none: points can still be restored to files"))
	}
	if err := c.checkMachines(ctx, g); err != nil {
		return fail(err)
	}
	if _, err := c.vault(ctx, g.Vault); err != nil {
		return fail(err)
	}
	if exists {
		p, err := c.store.Protection(ctx, g.Name)
		if err != nil {
			return fail(err)
		}
		if p.State != dr.StateDisabled {
			return c.changeGroup(ctx, g, before, p.State)
		}
		if err := c.recovery.Abandon(ctx, g.Name); err != nil {
			return fail(err)
		}
		g.Home = g.Site
		err = c.store.PutGroup(ctx, g)
		if err != nil {
			return fail(err)
		}
	} else {
		// What a group of this name left behind before is not this one's.
		if err := c.recovery.Abandon(ctx, g.Name); err != nil {
			return fail(err)
		}
		g.Home = g.Site
		if err := c.store.CreateGroup(ctx, g); err != nil {
			return fail(err)
		}
	}
	if _, err := c.store.ChangeProtection(ctx, g.Name, beginSeed); err != nil {
		return fail(err)
	}
	c.scheduler.Add(g.Name, g.Paused)
	c.extensions.kick()
	return g, nil
}

// changeGroup changes how a group is protected, which a failover must not have ended.
func (c *Controller) changeGroup(ctx context.Context, g, before dr.Group, state dr.State) (dr.Group, error) {
	var err error
	if replicates(state) || g.Paused || before.Paused {
		g.Paused = before.Paused
		err = c.store.PutGroup(ctx, g)
	} else {
		err = dr.WithHint(fmt.Errorf("it is %s, and no longer protected", state), dr.KindConflict,
			"see what to do next: understudy status "+g.Name)
	}
	if err != nil {
		return g, fmt.Errorf("protect %s: %w", g.Name, err)
	}
	return g, nil
}

// beginSeed starts the life of a group anew, whatever a group of that name did before.
func beginSeed(p *store.Protection) error {
	*p = store.Protection{Group: p.Group, Protection: dr.Protection{State: dr.StateDisabled}}
	for _, op := range []dr.Operation{dr.OpEnable, dr.OpBeginSeed} {
		next, err := p.Protection.Next(op)
		if err != nil {
			return err
		}
		p.Protection = next
	}
	return nil
}

// checkMachines looks for the group's machines at its site.
func (c *Controller) checkMachines(ctx context.Context, g dr.Group) error {
	if len(g.Machines) == 0 {
		return dr.WithHint(errors.New("no machines"), dr.KindInvalid, "name at least one with --machine")
	}
	there, err := c.Machines(ctx, g.Site)
	if err != nil {
		return err
	}
	var names []string
	for _, m := range there {
		names = append(names, m.Name)
	}
	for _, m := range g.Machines {
		if !slices.Contains(names, m.Name) {
			return dr.WithHint(fmt.Errorf("site %s has no machine %s", g.Site, m.Name), dr.KindNotFound, "machines there: "+strings.Join(names, ", "))
		}
	}
	return nil
}

// Unprotect stops protecting a group; its recovery points stay in the vault.
func (c *Controller) Unprotect(ctx context.Context, name string) error {
	if _, err := c.store.Group(ctx, name); err != nil {
		return err
	}
	p, err := c.store.Protection(ctx, name)
	if err != nil {
		return err
	}
	// An earlier try may have come to its first step only.
	if p.State != dr.StateDisabled {
		if _, err := c.recovery.Apply(ctx, name, dr.OpDisable); err != nil {
			return fmt.Errorf("unprotect %s: %w", name, err)
		}
	}
	if err := c.scheduler.Remove(ctx, name); err != nil && dr.KindOf(err) != dr.KindNotFound {
		return fmt.Errorf("unprotect %s: %w", name, err)
	}
	if err := c.recovery.Abandon(ctx, name); err != nil {
		return fmt.Errorf("unprotect %s: %w", name, err)
	}
	if err := c.store.DeleteGroup(ctx, name); err != nil {
		return err
	}
	c.history.Forget(name)
	return nil
}

// Pause pauses replication of a group until Resume.
func (c *Controller) Pause(ctx context.Context, group string) error {
	if err := c.setPaused(ctx, group, true); err != nil {
		return fmt.Errorf("pause %s: %w", group, err)
	}
	return c.scheduler.Pause(ctx, group)
}

// Resume goes on with replication of a group.
func (c *Controller) Resume(ctx context.Context, group string) error {
	if err := c.setPaused(ctx, group, false); err != nil {
		return fmt.Errorf("resume %s: %w", group, err)
	}
	p, err := c.store.Protection(ctx, group)
	if err != nil {
		return fmt.Errorf("resume %s: %w", group, err)
	}
	if !replicates(p.State) {
		return dr.WithHint(fmt.Errorf("resume %s: the group is %s", group, p.State), dr.KindConflict, "understudy status "+group)
	}
	return c.scheduler.Resume(group)
}

// setPaused records that a person pauses or resumes a group. Asking for what is so already changes nothing.
func (c *Controller) setPaused(ctx context.Context, group string, paused bool) error {
	g, err := c.store.Group(ctx, group)
	if err != nil {
		return err
	}
	if g.Paused == paused {
		p, err := c.store.Protection(ctx, group)
		if err != nil || replicates(p.State) || p.State == dr.StatePaused || p.State == dr.StateSeedingPaused {
			return err
		}
	}
	op := dr.OpResume
	if paused {
		op = dr.OpPause
	}
	if _, err := c.recovery.Apply(ctx, group, op); err != nil {
		return err
	}
	return c.store.ChangeGroup(ctx, group, func(g *dr.Group) error { g.Paused = paused; return nil })
}

// StartRun begins a run.
func (c *Controller) StartRun(ctx context.Context, kind, group, point, by string) (store.Run, error) {
	return c.recovery.Start(ctx, recovery.Request{Kind: kind, Group: group, Point: point, By: by})
}

// Runs lists runs, the newest first.
func (c *Controller) Runs(ctx context.Context, f store.RunFilter) ([]store.Run, error) {
	return c.recovery.Runs(ctx, f)
}

// Run returns a run and its steps.
func (c *Controller) Run(ctx context.Context, id string) (store.Run, []store.Step, error) {
	return c.recovery.Run(ctx, id)
}

// WatchRun calls fn with a run and its steps at every change until it has ended.
func (c *Controller) WatchRun(ctx context.Context, id string, fn func(store.Run, []store.Step) error) error {
	return c.recovery.Watch(ctx, id, fn)
}

// CancelRun asks a run to stop.
func (c *Controller) CancelRun(ctx context.Context, id, by string) error {
	return c.recovery.Cancel(ctx, id, "by "+by)
}

// Fences lists machines that must not run.
func (c *Controller) Fences(ctx context.Context, group string) ([]store.Fence, error) {
	return c.store.Fences(ctx, group)
}
