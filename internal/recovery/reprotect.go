package recovery

import (
	"context"
	"errors"
	"fmt"

	"understudy/internal/dr"
	"understudy/internal/recovery/engine"
	"understudy/internal/store"
)

func (r *Recovery) reprotectKind() kind {
	return kind{
		prepare: func(_ context.Context, _ Request, p *Input, _ store.Protection) (func(*store.Protection) error, error) {
			// A group of one site has nothing to go back to, and none that it could be protected against.
			if err := p.validate(); err != nil {
				return nil, err
			}
			return func(s *store.Protection) error {
				if err := apply(s, dr.OpReprotect); err != nil {
					return err
				}
				s.LaterRun = p.Run
				return nil
			}, nil
		},
		do: r.reprotect,
		settle: func(o outcome, prot *store.Protection) error {
			switch {
			case prot.State != dr.StateReprotecting || prot.LaterRun != o.input.Run:
				return nil
			case o.state == store.RunSucceeded:
				return apply(prot, dr.OpFinish)
			case o.state == store.RunCancelled:
				return apply(prot, dr.OpCancel)
			}
			return apply(prot, dr.OpFail)
		},
	}
}

// reprotect protects a group that was failed over at its new site: recovery points go on in the same vault, and the
// machines that it left behind are brought up to date, so that going back needs little.
func (r *Recovery) reprotect(run *engine.Run, p Input) (*Result, error) {
	res := &Result{}
	err := r.protectHere(run, p, res)
	if err == nil {
		// From here on the group is protected: what follows prepares the way back.
		err = r.prepareReturn(run, p, res)
	}
	if errors.Is(err, engine.ErrAborted) {
		if left := r.unprepare(run, p); left != nil {
			return res, left
		}
	}
	return res, err
}

// protectHere makes recovery points of the group where it runs.
func (r *Recovery) protectHere(run *engine.Run, p Input, res *Result) error {
	if err := action(run, "check", fmt.Sprintf("check that %s runs at %s and owns its history", p.Group, p.Source), engine.StepOptions{Timeout: vaultTimeout, Retries: 3},
		func(ctx context.Context, say *engine.Progress) error { return r.runsHere(ctx, p, say) }); err != nil {
		return err
	}
	if err := action(run, "begin replication", fmt.Sprintf("begin replication of %s at %s", p.Group, p.Source), engine.StepOptions{Timeout: vaultTimeout, Retries: 3},
		func(ctx context.Context, _ *engine.Progress) error {
			if err := r.o.Store.ChangeGroup(ctx, p.Group, func(g *dr.Group) error { g.Paused = false; return nil }); err != nil {
				return err
			}
			return r.o.Replicator.Resume(ctx, p.Group)
		}); err != nil {
		return err
	}
	point, err := engine.Do(run, engine.Step[chosen]{Name: "sync", Title: fmt.Sprintf("send what changed at %s since the failover", p.Source),
		Options: engine.StepOptions{Retries: 5},
		Do: func(ctx context.Context, say *engine.Progress) (chosen, error) {
			point, err := r.o.Replicator.Final(ctx, p.Group)
			if err != nil {
				return chosen{}, fmt.Errorf("send what changed: %w", err)
			}
			say.Say("point %s, %d bytes differed", point.ID, point.Changed)
			return chosen{ID: point.ID, Time: point.Time, Newest: point.Time}, nil
		}})
	if err == nil {
		point.into(res)
	}
	return err
}

// runsHere makes sure that there is something to protect.
func (r *Recovery) runsHere(ctx context.Context, p Input, say *engine.Progress) error {
	v, err := r.o.Vaults(ctx, p.Vault)
	if err != nil {
		return err
	}
	owner, err := v.Owner(ctx, p.Group)
	if err != nil {
		return err
	}
	if owner.Site != p.Source {
		return dr.WithHint(fmt.Errorf("site %s owns %s in vault %s, not %s", owner.Site, p.Group, p.Vault, p.Source), dr.KindFenced,
			"another controller failed it over: look at both sites")
	}
	d, err := r.o.Sites(ctx, p.Source)
	if err != nil {
		return err
	}
	there, err := d.Machines(ctx)
	if err != nil {
		return err
	}
	power := map[string]dr.Power{}
	for _, m := range there {
		power[m.Name] = m.Power
	}
	for _, m := range p.Machines {
		if power[m.Name] == "" {
			return dr.WithHint(fmt.Errorf("site %s has no machine %s", p.Source, m.Name), dr.KindNotFound, "understudy machine list --site "+p.Source)
		}
	}
	say.Say("epoch %d", owner.Epoch)
	return nil
}

// prepareReturn brings the machines that the group left behind to the newest point. A site that cannot be reached is
// what failovers are for: then that is done when the group goes back.
func (r *Recovery) prepareReturn(run *engine.Run, p Input, res *Result) error {
	originals, err := r.adopt(run, p, "")
	if unreachable(err) {
		for _, m := range p.Machines {
			res.Originals = append(res.Originals, OriginalResult{Machine: m.Name, Site: p.Target, Reason: "not reachable now: " + err.Error()})
		}
		return nil
	}
	if err != nil {
		return err
	}
	done, err := r.renew(run, p, res.Point, originals.of(p), "")
	if unreachable(err) {
		for i, m := range originals.of(p) {
			if done[i].Point == "" {
				done[i].Machine, done[i].Site, done[i].Reason = m.Name, p.Target, "not reachable now: "+err.Error()
			}
		}
		err = nil
	}
	res.Originals = done
	for _, m := range p.Machines {
		if !originals.has(m.Name) {
			res.Originals = append(res.Originals, OriginalResult{Machine: m.Name, Site: p.Target, Reason: "it no longer exists there: a failback creates it anew"})
		}
	}
	return err
}

func unreachable(err error) bool {
	return err != nil && dr.KindOf(err) == dr.KindUnavailable && !errors.Is(err, engine.ErrInterrupted) && !errors.Is(err, engine.ErrAborted)
}

// unprepare takes back what a cancelled reprotect did.
func (r *Recovery) unprepare(run *engine.Run, p Input) error {
	o := engine.StepOptions{Timeout: vaultTimeout, Retries: 5, Cleanup: true}
	if err := action(run, "cancel: pause replication", "end replication of "+p.Group, o,
		func(ctx context.Context, _ *engine.Progress) error { return r.o.Replicator.Pause(ctx, p.Group) }); err != nil {
		return err
	}
	o.Timeout = 0
	_, err := each(run, p.Machines, func(m dr.MachinePolicy) engine.Step[none] {
		return engine.Step[none]{Name: "cancel: revert " + m.Name, Title: fmt.Sprintf("give %s at %s the content back that it had", m.Name, p.Target), Options: o,
			Do: func(ctx context.Context, _ *engine.Progress) (none, error) {
				return none{}, r.settleOriginal(ctx, p.Group, p.Target, m.Name, false)
			}}
	})
	return err
}
