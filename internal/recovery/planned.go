package recovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"understudy/internal/dr"
	"understudy/internal/recovery/engine"
	"understudy/internal/site"
	"understudy/internal/store"
)

func (r *Recovery) plannedKind() kind {
	return kind{
		prepare: func(_ context.Context, _ Request, p *Input, _ store.Protection) (func(*store.Protection) error, error) {
			if p.Point != "latest" {
				return nil, dr.WithHint(errors.New("a planned failover takes the point that its final sync makes"), dr.KindInvalid, "leave --point out, or use --unplanned")
			}
			return func(s *store.Protection) error { s.Run = p.Run; return apply(s, dr.OpPlannedFailover) }, nil
		},
		do: r.planned, settle: settleFailover,
	}
}

// planned moves the group without loss: the source is stopped and synchronised first. Until the epoch is raised every
// failure gives production back to the source.
func (r *Recovery) planned(run *engine.Run, p Input) (*Result, error) {
	res := &Result{}
	touched := false
	var point chosen
	var raised taken
	err := func() (err error) {
		if point, err = r.choose(run, p, "check vault", "check that the vault can be read here"); err != nil {
			return err
		}
		if err = r.before(run, p, res); err != nil {
			return err
		}
		// Most of what differs is written while production still runs.
		originals, err := r.adopt(run, p, "ahead: ")
		if err != nil {
			return err
		}
		if _, err = r.renew(run, p, point.ID, originals.of(p), "ahead: "); err != nil {
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
		err = action(run, "remember source", fmt.Sprintf("record that the disks at %s are at point %s", p.Source, point.ID), engine.StepOptions{Retries: 5},
			func(ctx context.Context, _ *engine.Progress) error { return r.stayed(ctx, p, point.ID) })
	}
	if err == nil {
		err = r.goLive(run, p, point, res)
	}
	return res, r.undo(run, p, res, err)
}

// stopSource pauses replication and shuts the machines down, the last to start first, and holds them.
func (r *Recovery) stopSource(run *engine.Run, p Input) error {
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
func (r *Recovery) final(run *engine.Run, p Input) (chosen, error) {
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
func (r *Recovery) giveBack(run *engine.Run, p Input) error {
	o := engine.StepOptions{Timeout: startTimeout, Retries: 5, Cleanup: true}
	if err := action(run, "release source", "release the machines at "+p.Source, o, func(ctx context.Context, _ *engine.Progress) error {
		for _, m := range p.Machines {
			// First the records: Reconcile must not hold again what is released.
			if err := r.releaseHeld(ctx, p.Source, m.Name); err != nil {
				return err
			}
		}
		return nil
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
