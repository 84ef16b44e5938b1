package controller

import (
	"context"
	"fmt"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault"
)

const (
	// usageFresh is how long what was added up of a vault is taken as it is: it lists every object.
	usageFresh = 10 * time.Minute
	// usageLook bounds one adding up.
	usageLook = 10 * time.Minute
)

// VaultUsage is what is known of how full a vault is.
type VaultUsage struct {
	vault.Usage
	At      time.Time // when that was so; zero when it was never added up
	Problem string    // why the last time failed
}

// usages are what was added up of vaults, by name. A vault is added up by one goroutine at a time.
type usages struct {
	mu     sync.Mutex
	vaults map[string]*usage
}

type usage struct {
	VaultUsage
	tried  time.Time
	adding chan struct{} // closed when the adding up under way has ended; nil when none is
}

// VaultUsage tells how full a vault is. It waits only when that was never added up.
func (c *Controller) VaultUsage(ctx context.Context, name string) (VaultUsage, error) {
	if _, err := c.store.Vault(ctx, name); err != nil {
		return VaultUsage{}, err
	}
	known, adding := c.usage(ctx, name)
	if !known.At.IsZero() || known.Problem != "" || adding == nil {
		return known, nil
	}
	select {
	case <-adding:
		known, _ = c.usage(ctx, name)
		return known, nil
	case <-ctx.Done():
		return known, fmt.Errorf("add up vault %s: %w", name, ctx.Err())
	}
}

// usage returns what is known of a vault, and sees to it that it is known anew when that is old.
func (c *Controller) usage(ctx context.Context, name string) (VaultUsage, <-chan struct{}) {
	c.usages.mu.Lock()
	defer c.usages.mu.Unlock()
	if c.usages.vaults == nil {
		c.usages.vaults = map[string]*usage{}
	}
	u := c.usages.vaults[name]
	if u == nil {
		u = &usage{}
		c.usages.vaults[name] = u
	}
	if u.adding == nil && c.cfg.Now().Sub(u.tried) >= usageFresh {
		u.adding = make(chan struct{})
		// It is for whoever asks next, too. Close ends it and waits for it.
		look, cancel := context.WithTimeout(context.WithoutCancel(ctx), usageLook)
		c.looking.Go(func() {
			defer cancel()
			stop := context.AfterFunc(c.closing, cancel)
			defer stop()
			c.addUp(look, name, u)
		})
	}
	return u.VaultUsage, u.adding
}

func (c *Controller) addUp(ctx context.Context, name string, u *usage) {
	v, err := c.vault(ctx, name)
	var sum vault.Usage
	if err == nil {
		sum, err = v.Usage(ctx)
	}
	c.usages.mu.Lock()
	defer c.usages.mu.Unlock()
	u.tried = c.cfg.Now()
	if err == nil {
		u.Usage, u.At, u.Problem = sum, u.tried, ""
	} else {
		u.Problem = err.Error()
	}
	close(u.adding)
	u.adding = nil
}

// Foreseen is a recovery point of now, and whether it will be kept.
type Foreseen struct {
	dr.RecoveryPoint
	Kept bool
}

// Foresee tells which of the points that a group has now will be kept at a later time, by its policy or by other tiers.
func (c *Controller) Foresee(ctx context.Context, group string, tiers []dr.Tier, at time.Time) ([]Foreseen, []dr.Tier, error) {
	g, err := c.store.Group(ctx, group)
	if err != nil {
		return nil, nil, err
	}
	if tiers == nil {
		p, err := c.store.Policy(ctx, g.Policy)
		if err != nil {
			return nil, nil, err
		}
		tiers = p.Keep
	}
	points, err := c.Points(ctx, group)
	if err != nil {
		return nil, nil, err
	}
	kept := map[dr.Position]bool{}
	for _, p := range dr.Foresee(points, tiers, c.cfg.Now(), at) {
		kept[p.Position] = true
	}
	list := make([]Foreseen, len(points))
	for i, p := range points {
		list[i] = Foreseen{p, kept[p.Position]}
	}
	return list, tiers, nil
}

// EffectivePolicy tells what a policy does, and which groups it is in force for.
func (c *Controller) EffectivePolicy(ctx context.Context, name string) (dr.Policy, []string, error) {
	p, err := c.store.Policy(ctx, name)
	if err != nil {
		return p, nil, err
	}
	groups, err := c.store.Groups(ctx)
	if err != nil {
		return p, nil, err
	}
	uses := []string{}
	for _, g := range groups {
		if g.Policy == name {
			uses = append(uses, g.Name)
		}
	}
	return p, uses, nil
}
