package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"understudy/internal/dr"
	"understudy/internal/recovery/engine"
	"understudy/internal/site"
	"understudy/internal/store"
)

// testFailover brings up copies in an isolated network. Production and its replication are not touched.
func (r *Recovery) testFailover(run *engine.Run, p Plan) (*Result, error) {
	res := &Result{}
	point, err := r.choose(run, p, "choose point", "choose the recovery point")
	if err == nil {
		point.into(res)
		res.RPO = p.rpo(point)
		err = r.serve(run, p, point)
	}
	if err == nil {
		err = r.bringUp(run, p, res)
	}
	if errors.Is(err, engine.ErrAborted) {
		// What cancelling could not remove is for a clean-up: the run failed then.
		if left := r.remove(run, p, "cancel: "); left != nil {
			err = left
		}
	}
	return res, err
}

// rpo is what a failover to the point loses.
func (p Plan) rpo(c chosen) Seconds {
	failed := p.FailedAt
	if failed.IsZero() {
		failed = p.Requested
	}
	return seconds(failed.Sub(c.Newest))
}

// failover moves the group to the target although the source may be gone.
func (r *Recovery) failover(run *engine.Run, p Plan) (*Result, error) {
	res := &Result{}
	// Whatever can fail without harm does so here, before the epoch is raised.
	point, err := r.choose(run, p, "choose point", "choose the recovery point")
	if err != nil {
		return res, err
	}
	raised, err := r.takeOver(run, p)
	if err != nil {
		return res, err
	}
	res.Epoch = raised.Epoch
	err = func() error {
		if res.Source, err = r.fence(run, p); err != nil {
			return err
		}
		if p.Of != "" {
			_, before, err := r.planOf(context.Background(), p.Of)
			if err != nil {
				return err
			}
			if err := r.remove(run, before, "start over: "); err != nil {
				return err
			}
		}
		if p.Point == "latest" {
			// A point that the source completed before the epoch was raised counts, and none can come any more.
			if point, err = r.choose(run, p, "choose last point", "choose the newest point that "+p.Source+" completed"); err != nil {
				return err
			}
		}
		point.into(res)
		res.RPO = p.rpo(point)
		return r.goLive(run, p, point, res)
	}()
	return res, r.undo(run, p, res, err)
}

// undo removes what a failover made that was cancelled before its machines were healthy.
func (r *Recovery) undo(run *engine.Run, p Plan, res *Result, err error) error {
	if errors.Is(err, engine.ErrAborted) && res.Healthy.IsZero() {
		if left := r.remove(run, p, "cancel: "); left != nil {
			return left
		}
	}
	return err
}

// goLive brings the machines up under their own names and makes the target the group's site.
func (r *Recovery) goLive(run *engine.Run, p Plan, point chosen, res *Result) error {
	if err := r.serve(run, p, point); err != nil {
		return err
	}
	if err := r.bringUp(run, p, res); err != nil {
		return err
	}
	err := action(run, "finish", fmt.Sprintf("record that %s runs at %s", p.Group, p.Target), engine.StepOptions{Retries: 5, Cleanup: true},
		func(ctx context.Context, say *engine.Progress) error {
			if err := r.o.Store.ChangeGroup(ctx, p.Group, func(g *dr.Group) error { g.Site, g.Target = p.Target, p.Source; return nil }); err != nil {
				return err
			}
			say.Say("lost %.1f s, up after %.1f s", float64(res.RPO), float64(res.RTO))
			return r.o.Store.ChangeRunAndProtection(ctx, p.Run, func(s *store.Run, prot *store.Protection) error {
				if prot.State == dr.StateFailedOver && prot.Run == p.Run {
					return nil // done before a restart
				}
				prot.Epoch = res.Epoch
				return errors.Join(apply(prot, dr.OpFinish), keep(s, res))
			})
		})
	if err != nil {
		return err
	}
	return r.hydrate(run, p, res)
}

// taken is the outcome of raising the epoch. It counts even when the step failed after raising it.
type taken struct {
	Raised bool   `json:"raised"`
	Epoch  uint64 `json:"epoch"`
}

// takeOver makes the target the owner of the group in its vault: from then on the source can add nothing. It records
// the point of no return in the group's protection.
func (r *Recovery) takeOver(run *engine.Run, p Plan) (taken, error) {
	return engine.Do(run, engine.Step[taken]{Name: "take over", Title: fmt.Sprintf("make %s the owner of %s in vault %s", p.Target, p.Group, p.Vault),
		Options: engine.StepOptions{Timeout: vaultTimeout, Retries: 3},
		Do: func(ctx context.Context, say *engine.Progress) (t taken, err error) {
			v, err := r.o.Vaults(ctx, p.Vault)
			if err != nil {
				return t, err
			}
			if t.Epoch, err = own(ctx, v, p, r.o.Holder); err != nil {
				// Whether it was raised decides what may be undone.
				owner, e := v.Owner(context.WithoutCancel(ctx), p.Group)
				t.Raised = e == nil && owner.Site == p.Target
				if !t.Raised {
					return t, err
				}
			}
			t.Raised = true
			say.Say("epoch %d", t.Epoch)
			_, stateErr := r.o.Store.ChangeProtection(ctx, p.Group, func(s *store.Protection) error {
				if s.Run == p.Run && s.State == dr.StateFailover {
					return nil // done before a restart
				}
				s.Run = p.Run
				if s.State == dr.StatePlannedFailover {
					// The table knows no way back from here, only on.
					if err := apply(s, dr.OpFail); err != nil {
						return err
					}
				}
				return apply(s, failoverOp(*s))
			})
			if err := joinErrors([]error{err, stateErr}); err != nil {
				return t, err
			}
			return t, r.o.Replicator.Pause(ctx, p.Group)
		}})
}

// own makes the target own the group, once: a target that owns it does not raise the epoch again.
func own(ctx context.Context, v Vault, p Plan, holder string) (uint64, error) {
	owner, err := v.Owner(ctx, p.Group)
	if err != nil {
		return 0, err
	}
	take := v.TakeOver
	if owner.Site == p.Target {
		if !owner.Pending {
			return owner.Epoch, nil
		}
		take = v.Acquire // which ends what was begun
	}
	lease, err := take(ctx, p.Group, p.Target, holder, leaseTTL)
	if err != nil {
		return 0, err
	}
	return lease.Epoch(), lease.Release(ctx)
}

// fence holds the machines at the source, where it can be reached. A source that cannot is recorded and does not stop
// the failover: Reconcile holds them when it comes back.
func (r *Recovery) fence(run *engine.Run, p Plan) ([]SourceResult, error) {
	return each(run, p.Machines, func(m dr.MachinePolicy) engine.Step[SourceResult] {
		return engine.Step[SourceResult]{Name: "fence " + m.Name, Title: fmt.Sprintf("stop %s at %s and keep it stopped", m.Name, p.Source),
			Do: func(ctx context.Context, say *engine.Progress) (SourceResult, error) {
				res := SourceResult{Name: m.Name}
				// The run may be cancelled here; a site that is down may not hold it up.
				bounded, stop := context.WithTimeout(ctx, r.o.SiteTimeout)
				defer stop()
				err := r.hold(bounded, p.Source, m.Name)
				if ctx.Err() != nil {
					return res, context.Cause(ctx)
				}
				if res.Held = err == nil; !res.Held {
					res.Error = err.Error()
					say.Say("not possible now, done when it is seen there (%v)", err)
				}
				return res, r.recordFence(ctx, p, m.Name, err)
			}}
	})
}

func (r *Recovery) hold(ctx context.Context, siteName, machine string) error {
	d, err := r.o.Sites(ctx, siteName)
	if err != nil {
		return err
	}
	return d.Fence(ctx, machine, true, heldReason)
}

const heldReason = "failed over to another site by Understudy"

func (r *Recovery) recordFence(ctx context.Context, p Plan, machine string, held error) error {
	_, err := r.o.Store.ChangeFence(ctx, p.Source, machine, func(f *store.Fence) error {
		now := r.o.Now().UTC()
		if f.Since.IsZero() {
			f.Since = now
		}
		f.Group, f.Run, f.Error = p.Group, p.Run, ""
		f.Reason = fmt.Sprintf("%s was failed over to %s", p.Group, p.Target)
		if held == nil {
			f.HeldAt, f.Seen = now, now
			return nil
		}
		f.Error = held.Error()
		return nil
	})
	return err
}

// planned moves the group without loss: the source is stopped and synchronised first. Until the epoch is raised every
// failure gives production back to the source.
func (r *Recovery) planned(run *engine.Run, p Plan) (*Result, error) {
	res := &Result{}
	touched := false
	var point chosen
	var raised taken
	err := func() (err error) {
		if _, err = r.choose(run, p, "check vault", "check that the vault can be read here"); err != nil {
			return err
		}
		touched = true
		if err = r.stopSource(run, p); err != nil {
			return err
		}
		if point, err = r.final(run, p); err != nil {
			return err
		}
		raised, err = r.takeOver(run, p)
		return err
	}()
	if errors.Is(err, engine.ErrInterrupted) {
		return res, err
	}
	if err != nil && !raised.Raised {
		if touched {
			if back := r.giveBack(run, p); back != nil {
				return res, joinErrors([]error{back, err})
			}
		}
		res.Restored = true
		return res, err
	}
	res.Epoch = raised.Epoch
	for _, m := range p.Machines {
		res.Source = append(res.Source, SourceResult{Name: m.Name, Held: true})
	}
	point.into(res)
	if err == nil {
		err = r.goLive(run, p, point, res)
	}
	return res, r.undo(run, p, res, err)
}

// stopSource pauses replication and shuts the machines down, the last to start first, and holds them.
func (r *Recovery) stopSource(run *engine.Run, p Plan) error {
	if err := action(run, "pause replication", "pause replication of "+p.Group, engine.StepOptions{Timeout: vaultTimeout, Retries: 3},
		func(ctx context.Context, _ *engine.Progress) error { return r.o.Replicator.Pause(ctx, p.Group) }); err != nil {
		return err
	}
	orders := p.orders()
	slices.Reverse(orders)
	for _, machines := range orders {
		if _, err := each(run, machines, func(m dr.MachinePolicy) engine.Step[none] {
			return engine.Step[none]{Name: "shut down " + m.Name, Title: fmt.Sprintf("shut down %s at %s", m.Name, p.Source),
				Options: engine.StepOptions{Timeout: 2*r.o.ShutdownGrace + time.Minute, Retries: 1},
				Do: func(ctx context.Context, _ *engine.Progress) (none, error) {
					d, err := r.o.Sites(ctx, p.Source)
					if err != nil {
						return none{}, err
					}
					grace, stop := context.WithTimeout(ctx, r.o.ShutdownGrace)
					defer stop()
					if err := d.Power(grace, m.Name, site.PowerShutdown); err != nil {
						return none{}, fmt.Errorf("shut down %s: %w", m.Name, err)
					}
					if err := r.recordFence(ctx, p, m.Name, nil); err != nil {
						return none{}, err
					}
					return none{}, d.Fence(ctx, m.Name, true, heldReason)
				}}
		}); err != nil {
			return err
		}
	}
	return nil
}

// final makes the recovery point that holds everything.
func (r *Recovery) final(run *engine.Run, p Plan) (chosen, error) {
	return engine.Do(run, engine.Step[chosen]{Name: "final sync", Title: "copy the last changes of " + p.Group,
		Options: engine.StepOptions{Retries: 2},
		Do: func(ctx context.Context, say *engine.Progress) (chosen, error) {
			point, err := r.o.Replicator.Final(ctx, p.Group)
			if err != nil {
				return chosen{}, fmt.Errorf("final sync: %w", err)
			}
			say.Say("point %s holds everything", point.ID)
			return chosen{ID: point.ID, Time: point.Time, Newest: point.Time}, nil
		}})
}

// giveBack starts production at the source again.
func (r *Recovery) giveBack(run *engine.Run, p Plan) error {
	o := engine.StepOptions{Timeout: startTimeout, Retries: 5, Cleanup: true}
	if err := action(run, "release source", "release the machines at "+p.Source, o, func(ctx context.Context, _ *engine.Progress) error {
		// First the records: Reconcile must not hold again what is released.
		if err := r.o.Store.DeleteFences(ctx, p.Run); err != nil {
			return err
		}
		d, err := r.o.Sites(ctx, p.Source)
		for _, m := range p.Machines {
			if err == nil {
				err = d.Fence(ctx, m.Name, false, "")
			}
		}
		return err
	}); err != nil {
		return err
	}
	for _, machines := range p.orders() {
		if _, err := each(run, machines, func(m dr.MachinePolicy) engine.Step[none] {
			return engine.Step[none]{Name: "restart " + m.Name, Title: fmt.Sprintf("start %s at %s again", m.Name, p.Source), Options: o,
				Do: func(ctx context.Context, _ *engine.Progress) (none, error) {
					d, err := r.o.Sites(ctx, p.Source)
					if err != nil {
						return none{}, err
					}
					return none{}, d.Power(ctx, m.Name, site.PowerStart)
				}}
		}); err != nil {
			return err
		}
	}
	return action(run, "resume replication", "resume replication of "+p.Group, o,
		func(ctx context.Context, _ *engine.Progress) error { return r.o.Replicator.Resume(ctx, p.Group) })
}

// commit makes a failover final. Machines that still need the vault are made independent of it first.
func (r *Recovery) commit(run *engine.Run, p Plan) (*Result, error) {
	res := &Result{}
	_, of, err := r.planOf(context.Background(), p.Of)
	if err != nil {
		return res, err
	}
	rows, err := engine.Do(run, engine.Step[int]{Name: "check", Title: "check that the vault is no longer needed",
		Do: func(ctx context.Context, _ *engine.Progress) (int, error) {
			rows, err := r.o.Store.Exports(ctx, of.Run)
			return len(rows), err
		}})
	if err == nil && rows > 0 {
		err = r.hydrate(run, of, res)
	}
	return res, err
}

// cleanup removes what a test failover, or a failed failover, made.
func (r *Recovery) cleanup(run *engine.Run, p Plan) (*Result, error) {
	_, of, err := r.planOf(context.Background(), p.Of)
	if err != nil {
		return nil, err
	}
	return &Result{}, r.remove(run, of, "")
}

func stateOf(err error) store.RunState {
	switch {
	case err == nil:
		return store.RunSucceeded
	case errors.Is(err, engine.ErrAborted):
		return store.RunCancelled
	}
	return store.RunFailed
}

// finish records the outcome of a run and what it means for the group. It may be called again for the same outcome.
func (r *Recovery) finish(ctx context.Context, o engine.Outcome) error {
	var res Result
	if len(o.Result) > 0 {
		if err := json.Unmarshal(o.Result, &res); err != nil {
			return fmt.Errorf("read result: %w", err)
		}
	}
	run, plan, err := r.planOf(ctx, o.ID)
	if err != nil {
		return err
	}
	if run.State.Ended() {
		return nil
	}
	state := stateOf(o.Err)
	var of store.Run
	if plan.Kind == KindCleanup {
		if of, err = r.o.Store.Run(ctx, plan.Of); err != nil {
			return err
		}
		if state == store.RunSucceeded {
			if _, err := r.o.Store.ChangeRun(ctx, plan.Of, func(run *store.Run) error { run.CleanedBy = o.ID; return nil }); err != nil {
				return err
			}
		}
	}
	err = r.o.Store.ChangeRunAndProtection(ctx, o.ID, func(run *store.Run, prot *store.Protection) error {
		run.State, run.Ended, run.Result = state, r.o.Now().UTC(), o.Result
		run.Message = string(state)
		if o.Err != nil {
			run.Error, run.ErrorKind, run.Hint = o.Err.Error(), dr.KindOf(o.Err), dr.Hint(o.Err)
		}
		return settle(plan, of, state, res, prot)
	})
	if err != nil {
		return err
	}
	message := fmt.Sprintf("%s of %s %s", plan.Kind, plan.Group, state)
	if o.Err != nil {
		message += ": " + o.Err.Error()
	}
	run.State = state
	r.event(ctx, "run."+string(state), run, message)
	r.view.forget(o.ID)
	return nil
}

// settle moves a group's protection to where the outcome of a run leaves it.
func settle(p Plan, of store.Run, state store.RunState, res Result, prot *store.Protection) error {
	ok := state == store.RunSucceeded
	switch p.Kind {
	case KindTest:
		switch {
		case ok:
			return apply(prot, dr.OpTestRunning)
		case state == store.RunCancelled: // and it removed what it made
			return errors.Join(apply(prot, dr.OpCleanup), apply(prot, dr.OpCleaned))
		}
		return apply(prot, dr.OpTestFail)
	case KindFailover, KindPlanned:
		switch {
		case ok || prot.Run != p.Run:
			return nil
		case prot.State == dr.StateFailover:
			return apply(prot, dr.OpFail)
		case prot.State == dr.StatePlannedFailover && res.Restored:
			return apply(prot, dr.OpCancel)
		case prot.State == dr.StatePlannedFailover:
			return apply(prot, dr.OpFail)
		}
	case KindCommit:
		if ok {
			return apply(prot, dr.OpCommit)
		}
	case KindCleanup:
		if p.OfKind != KindTest {
			return nil
		}
		if !ok {
			return apply(prot, dr.OpTestFail)
		}
		var drill Result
		if of.State == store.RunSucceeded && json.Unmarshal(of.Result, &drill) == nil {
			prot.ProvenAt, prot.ProvenRun, prot.ProvenPoint = drill.Healthy, of.ID, drill.Point
			prot.ProvenRTO = time.Duration(float64(drill.RTO) * float64(time.Second))
		}
		return apply(prot, dr.OpCleaned)
	}
	return nil
}
