package replicate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault"
)

// tryTime is how long a vault that has a spool may take to answer before it counts as away.
const tryTime = 5 * time.Second

// around runs a cycle, and puts what waits in the spool into the vault before and after it.
func (c *Cycler) around(ctx context.Context, lease *vault.Lease, g dr.Group, o CycleOptions) (res Result, err error) {
	// Before, since what a cycle needs from the vault may be what waits.
	before, err := c.drain(ctx, lease, g.Name, o.Drain)
	if err == nil {
		if res, err = c.cycle(ctx, lease, g, o); errors.Is(err, vault.ErrSpoolFull) {
			c.Spool.TooLarge(g.Name)
		}
	}
	var after *dr.RecoveryPoint
	if err == nil {
		after, err = c.drain(ctx, lease, g.Name, o.Drain)
	}
	res.InVault, res.Spooled = cmp.Or(after, before), c.Spool.State(g.Name).Points
	return res, err
}

// drain puts what waits into the vault, for some time. A vault that cannot be reached is no error.
func (c *Cycler) drain(ctx context.Context, lease *vault.Lease, group string, most time.Duration) (*dr.RecoveryPoint, error) {
	if lease == nil || c.Spool.State(group).Points == 0 || c.Spool.State(group).Away.Cause != nil {
		return nil, nil
	}
	begun := c.Now()
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := lease.Ensure(work); err != nil { // a long capture may have outlasted it
		return nil, c.notAway(ctx, err)
	}
	go keepLease(work, cancel, lease, c.Logger)
	newest, err := c.Spool.Drain(work, lease, func() bool { return most == 0 || c.Now().Sub(begun) < most })
	return newest, c.notAway(ctx, err)
}

// notAway returns an error unless it says that the vault cannot be reached, which it takes note of. ctx is the caller's: an
// operation that took too long ended by a context of its own.
func (c *Cycler) notAway(ctx context.Context, err error) error {
	timeout := ctx.Err() == nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded))
	if err == nil || !timeout && dr.KindOf(err) != dr.KindUnavailable {
		return err
	}
	c.Spool.Away(err)
	return nil
}

// newestHead is the head that a cycle continues, and the lease, which is nil where the vault turns out to be away.
func (c *Cycler) newestHead(ctx context.Context, lease *vault.Lease, group string) (vault.Head, *vault.Lease, error) {
	if c.Spool == nil {
		head, err := c.Vault.Head(ctx, group)
		return head, lease, err
	}
	head, err := c.Spool.Head(ctx, lease, group)
	if err != nil && lease != nil && c.notAway(ctx, err) == nil {
		head, err = c.Spool.Head(ctx, nil, group)
		return head, nil, err
	}
	return head, lease, err
}

// beginDelta begins a delta in the spool, or in the vault itself.
func (cy *cycle) beginDelta(ctx context.Context, spec vault.Spec) (*vault.Writer, error) {
	// What does not fit goes past the spool, once the vault can be reached.
	if cy.Spool != nil && (cy.lease == nil || !cy.Spool.Direct(cy.group.Name)) {
		return cy.Spool.Begin(ctx, cy.group.Name, spec)
	}
	if err := cy.bypass(ctx); err != nil {
		return nil, err
	}
	return cy.Vault.BeginDelta(ctx, cy.lease, spec)
}

// bypass prepares to write to the vault itself.
func (cy *cycle) bypass(ctx context.Context) error {
	switch {
	case cy.Spool == nil:
		return nil
	case cy.lease == nil:
		return dr.WithHint(fmt.Errorf("the vault cannot be reached, and a full copy is not spooled: %w", cy.Spool.State(cy.group.Name).Away.Cause),
			dr.KindUnavailable, "bring the vault's storage back")
	}
	return cy.Spool.Bypass(ctx, cy.group.Name)
}

// leaseOrAway is lease, but for a vault that has a spool and is away the lease is nil.
func (s *Scheduler) leaseOrAway(ctx context.Context, j *job, work Work) (*vault.Lease, error) {
	sp := work.Cycler.Spool
	if sp == nil {
		return s.lease(ctx, j, work)
	}
	if !sp.Try() {
		return nil, nil
	}
	try, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	lease, err := s.lease(try, j, work)
	if err != nil {
		lease = nil
		if err = work.Cycler.notAway(ctx, err); err == nil {
			return nil, nil
		}
	}
	sp.Back()
	if err != nil && dr.KindOf(err) == dr.KindFenced {
		err = sp.Refuse(ctx, j.name, err)
	}
	return lease, err
}

// spooled shows what waits in the spool. The lock is held.
func (s *Scheduler) spooled(j *job, work Work) {
	if work.Cycler == nil || work.Cycler.Spool == nil {
		return
	}
	j.status.Spool = work.Cycler.Spool.State(j.name)
	var w warning
	if away := j.status.Spool.Away; !away.Since.IsZero() {
		w = warning{"the vault cannot be reached since " + away.Since.UTC().Format(time.RFC3339) + ": " + away.Cause.Error(),
			"bring the vault's storage back: what is captured waits in the spool, and is lost if this controller is"}
	}
	s.warn(j, &j.spooling, w)
}

// spooledError is what somebody is told who asked for a recovery point that is not in the vault.
func spooledError(group string, res Result) error {
	if res.Spooled == 0 {
		return nil
	}
	return dr.WithHint(fmt.Errorf("sync %s: captured, but %d captures wait in the spool until the vault can be reached", group, res.Spooled),
		dr.KindUnavailable, "understudy status "+group)
}
