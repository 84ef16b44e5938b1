package recovery

import (
	"context"
	"errors"
	"fmt"

	"understudy/internal/dr"
	"understudy/internal/recovery/engine"
	"understudy/internal/store"
)

func (r *Recovery) failoverKind() kind {
	return kind{
		prepare: func(ctx context.Context, _ Request, p *Input, prot store.Protection) (func(*store.Protection) error, error) {
			// The state changes when the epoch is raised; before that a failed run leaves everything as it was.
			return func(s *store.Protection) error { c := *s; return apply(&c, failoverOp(c)) }, r.startOver(ctx, p, prot)
		},
		do: r.failover, settle: settleFailover,
	}
}

// settleFailover records a failover that did not reach its end; one that did has recorded that itself.
func settleFailover(o outcome, prot *store.Protection) error {
	switch {
	case o.state == store.RunSucceeded || prot.Run != o.input.Run:
		return nil
	case prot.State == dr.StateFailover:
		return apply(prot, dr.OpFail)
	case prot.State == dr.StatePlannedFailover && o.result.Restored:
		if err := apply(prot, dr.OpCancel); err != nil || !o.input.Paused {
			return err
		}
		return apply(prot, dr.OpPause)
	case prot.State == dr.StatePlannedFailover:
		return apply(prot, dr.OpFail)
	}
	return nil
}

func failoverOp(s store.Protection) dr.Operation {
	if s.State == dr.StateFailedOver {
		return dr.OpChangePoint
	}
	return dr.OpFailover
}

// startOver lets a failover after a failover begin by removing what that one made.
func (r *Recovery) startOver(ctx context.Context, p *Input, prot store.Protection) error {
	if prot.State != dr.StateFailedOver && prot.State != dr.StateFailoverFailed || prot.Run == "" {
		return nil
	}
	run, before, err := r.inputOf(ctx, prot.Run)
	if err != nil {
		return err
	}
	p.Change = prot.State == dr.StateFailedOver
	p.Source, p.Target, p.Machines, p.Vault = before.Source, before.Target, before.Machines, before.Vault
	p.Of, p.OfKind = run.ID, run.Kind
	return nil
}

// failover moves the group to the target although the source may be gone.
func (r *Recovery) failover(run *engine.Run, p Input) (*Result, error) {
	res := &Result{}
	// Whatever can fail without harm does so here, before the epoch is raised.
	point, err := r.choose(run, p, "choose point", "choose the recovery point")
	if err != nil {
		return res, err
	}
	point.into(res)
	if err := r.before(run, p, res); err != nil {
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
			_, before, err := r.inputOf(context.Background(), p.Of)
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
func (r *Recovery) undo(run *engine.Run, p Input, res *Result, err error) error {
	if errors.Is(err, engine.ErrAborted) && res.Healthy.IsZero() {
		if left := r.remove(run, p, "cancel: "); left != nil {
			return left
		}
	}
	return err
}

// moved makes the target the site of a group.
func moved(g *dr.Group, p Input) {
	if g.Home == "" {
		g.Home = p.Source
	}
	g.Site, g.Target = p.Target, p.Source
}

// goLive brings the machines up under their own names and makes the target the group's site.
func (r *Recovery) goLive(run *engine.Run, p Input, point chosen, res *Result) error {
	originals, err := r.adopt(run, p, "")
	if err != nil {
		return err
	}
	if res.Originals, err = r.renew(run, p, point.ID, originals.of(p), ""); err != nil {
		return err
	}
	if err := r.release(run, p); err != nil {
		return err
	}
	if err := r.serve(run, p, point); err != nil {
		return err
	}
	if err := r.bringUp(run, p, res); err != nil {
		return err
	}
	err = action(run, "finish", fmt.Sprintf("record that %s runs at %s", p.Group, p.Target), engine.StepOptions{Retries: 5, Cleanup: true},
		func(ctx context.Context, say *engine.Progress) error {
			if err := r.o.Store.ChangeGroup(ctx, p.Group, func(g *dr.Group) error { moved(g, p); return nil }); err != nil {
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
	return r.afterLive(run, p, res)
}
