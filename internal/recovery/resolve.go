package recovery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"understudy/internal/dr"
	"understudy/internal/recovery/engine"
	"understudy/internal/store"
)

func (r *Recovery) resolveKind() kind {
	return kind{
		prepare: r.prepareResolve,
		do:      r.resolve,
		settle: func(o outcome, prot *store.Protection) error {
			switch {
			case !o.input.Full && o.state == store.RunSucceeded:
				return apply(prot, dr.OpKeepOwner)
			case prot.State != dr.StateResolving || prot.LaterRun != o.input.Run:
				return nil
			case o.state == store.RunSucceeded:
				return apply(prot, dr.OpFinish)
			}
			return apply(prot, dr.OpFail)
		},
	}
}

// prepareResolve finds out which side is kept. Source is the other one, from here on.
func (r *Recovery) prepareResolve(_ context.Context, q Request, p *Input, prot store.Protection) (func(*store.Protection) error, error) {
	owner, former := p.Source, p.Target
	if prot.State == dr.StateFailoverFailed {
		// The epoch is raised, the group's site is not changed.
		owner, former = former, owner
		p.Of, p.OfKind = prot.Run, KindFailover
	}
	op := dr.OpKeepOwner
	switch q.Keep {
	case owner:
		p.Source, p.Target = former, owner
	case former:
		p.Source, p.Target = owner, former
		op = dr.OpKeepFormer
	default:
		return nil, dr.WithHint(fmt.Errorf("group %s is at %s and %s, not at %q", p.Group, owner, former, q.Keep), dr.KindInvalid,
			fmt.Sprintf("--keep %s keeps what runs since the failover; --keep %s goes back to what %s has", owner, former, former))
	}
	if err := p.validate(); err != nil {
		return nil, err
	}
	p.Full = op == dr.OpKeepFormer || prot.State == dr.StateResolveFailed
	return func(s *store.Protection) error {
		if !p.Full {
			c := *s
			return apply(&c, op)
		}
		if err := apply(s, op); err != nil {
			return err
		}
		s.LaterRun = p.Run
		return nil
	}, nil
}

// resolve ends a split brain: one side's machines are held and given up, the other's are the group's.
func (r *Recovery) resolve(run *engine.Run, p Input) (res *Result, err error) {
	res = &Result{}
	if !p.Full {
		return res, r.giveUp(run, p, res)
	}
	if err := action(run, "check", fmt.Sprintf("check that %s has the machines of %s", p.Target, p.Group), engine.StepOptions{Timeout: r.o.SiteTimeout, Retries: 3},
		func(ctx context.Context, _ *engine.Progress) error { return r.hasAll(ctx, p) }); err != nil {
		return res, err
	}
	if err := action(run, "pause replication", "pause replication of "+p.Group, engine.StepOptions{Timeout: vaultTimeout, Retries: 3},
		func(ctx context.Context, _ *engine.Progress) error { return r.o.Replicator.Pause(ctx, p.Group) }); err != nil {
		return res, err
	}
	if res.Source, err = r.fence(run, p); err != nil {
		return res, err
	}
	if p.Of != "" {
		_, of, err := r.inputOf(context.Background(), p.Of)
		if err != nil {
			return res, err
		}
		if err := r.remove(run, of, "give up: "); err != nil {
			return res, err
		}
	}
	if res.Epoch, err = r.ownAgain(run, p); err != nil {
		return res, err
	}
	if err := r.accept(run, p); err != nil {
		return res, err
	}
	if err := r.letRun(run, p); err != nil {
		return res, err
	}
	if err := r.startStages(run, p, res); err != nil {
		return res, err
	}
	return res, action(run, "resume replication", fmt.Sprintf("go on with replication of %s from %s", p.Group, p.Target), engine.StepOptions{Timeout: vaultTimeout, Retries: 5},
		func(ctx context.Context, _ *engine.Progress) error { return r.o.Replicator.Resume(ctx, p.Group) })
}

// giveUp records that what the machines of a former owner hold is given up. They stay held.
func (r *Recovery) giveUp(run *engine.Run, p Input, res *Result) error {
	var err error
	if res.Source, err = r.fence(run, p); err != nil {
		return err
	}
	for _, s := range res.Source {
		if !s.Held {
			return dr.WithHint(fmt.Errorf("machine %s at %s is not held: %s", s.Name, p.Source, s.Error), dr.KindConflict, "stop it at "+p.Source+" first")
		}
	}
	return action(run, "give up", fmt.Sprintf("record that what %s has is given up", p.Source), engine.StepOptions{Retries: 5},
		func(ctx context.Context, _ *engine.Progress) error {
			fences, err := r.o.Store.Fences(ctx, p.Group)
			for _, f := range fences {
				if err == nil && f.Site == p.Source {
					_, err = r.o.Store.ChangeFence(ctx, f.Site, f.Machine, func(f *store.Fence) error { f.SplitBrain = time.Time{}; return nil })
				}
			}
			return err
		})
}

// hasAll makes sure that a site can take the group back.
func (r *Recovery) hasAll(ctx context.Context, p Input) error {
	d, err := r.o.Sites(ctx, p.Target)
	if err != nil {
		return err
	}
	there, err := d.Machines(ctx)
	if err != nil {
		return err
	}
	names := map[string]bool{}
	for _, m := range there {
		names[m.Name] = true
	}
	for _, m := range p.Machines {
		if !names[m.Name] {
			return dr.WithHint(fmt.Errorf("site %s has no machine %s any more", p.Target, m.Name), dr.KindConflict,
				fmt.Sprintf("understudy split-brain resolve %s --keep %s", p.Group, p.Source))
		}
	}
	return nil
}

// ownAgain makes the kept site the owner of the group's history, at a new epoch.
func (r *Recovery) ownAgain(run *engine.Run, p Input) (uint64, error) {
	return engine.Do(run, engine.Step[uint64]{Name: "take over", Title: fmt.Sprintf("make %s the owner of %s in vault %s", p.Target, p.Group, p.Vault),
		Options: engine.StepOptions{Timeout: vaultTimeout, Retries: 3},
		Do: func(ctx context.Context, say *engine.Progress) (uint64, error) {
			v, err := r.o.Vaults(ctx, p.Vault)
			if err != nil {
				return 0, err
			}
			epoch, err := own(ctx, v, p, r.o.Holder)
			if err != nil {
				return 0, err
			}
			say.Say("epoch %d", epoch)
			_, err = r.o.Store.ChangeProtection(ctx, p.Group, func(s *store.Protection) error { s.Epoch = epoch; return nil })
			return epoch, err
		}})
}

// letRun makes the kept site the group's and lets its machines run. What the other side's are at is not known any more.
func (r *Recovery) letRun(run *engine.Run, p Input) error {
	return action(run, "release", fmt.Sprintf("let the machines of %s run at %s", p.Group, p.Target), engine.StepOptions{Timeout: startTimeout, Retries: 5},
		func(ctx context.Context, _ *engine.Progress) error {
			for _, m := range p.Machines {
				if err := r.strayed(ctx, p.Source, m.Name); err != nil {
					return err
				}
				if err := r.releaseHeld(ctx, p.Target, m.Name); err != nil {
					return err
				}
			}
			return r.o.Store.ChangeGroup(ctx, p.Group, func(g *dr.Group) error {
				g.Site, g.Target, g.Paused = p.Target, p.Source, false
				return nil
			})
		})
}

// releaseHeld lets a machine that exists run.
func (r *Recovery) releaseHeld(ctx context.Context, siteName, machine string) error {
	free, err := r.fencing.take(ctx, siteName, machine)
	if err != nil {
		return err
	}
	defer free()
	if err := r.o.Store.DeleteFence(ctx, siteName, machine); err != nil {
		return err
	}
	d, err := r.o.Sites(ctx, siteName)
	if err != nil {
		return err
	}
	return d.Fence(ctx, machine, false, "")
}

// Release lets a machine run that is held at a site and that no group wants held.
func (r *Recovery) Release(ctx context.Context, siteName, machine string) error {
	f, held, err := r.o.Store.Fence(ctx, siteName, machine)
	if err != nil {
		return err
	}
	if held {
		return dr.WithHint(fmt.Errorf("release %s at %s: group %s runs elsewhere (%s)", machine, siteName, f.Group, f.Reason), dr.KindFenced,
			fmt.Sprintf("to go back there: understudy failback %s; to give the group up: understudy unprotect %s", f.Group, f.Group))
	}
	err = r.releaseHeld(ctx, siteName, machine)
	if errors.Is(err, context.Canceled) {
		return err
	}
	if err != nil {
		return fmt.Errorf("release %s at %s: %w", machine, siteName, err)
	}
	return nil
}
