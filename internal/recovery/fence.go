package recovery

import (
	"context"
	"fmt"

	"understudy/internal/dr"
	"understudy/internal/recovery/engine"
	"understudy/internal/store"
)

// fence holds the machines at the source, where it can be reached. A source that cannot is recorded and does not stop
// the failover: Reconcile holds them when it comes back.
func (r *Recovery) fence(run *engine.Run, p Input) ([]SourceResult, error) {
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
	free, err := r.fencing.take(ctx, siteName, machine)
	if err != nil {
		return err
	}
	defer free()
	d, err := r.o.Sites(ctx, siteName)
	if err != nil {
		return err
	}
	return d.Fence(ctx, machine, true, heldReason)
}

const heldReason = "failed over to another site by Understudy"

func (r *Recovery) recordFence(ctx context.Context, p Input, machine string, held error) error {
	return r.recordFenceAt(ctx, p, p.Source, machine, held)
}

func (r *Recovery) recordFenceAt(ctx context.Context, p Input, siteName, machine string, held error) error {
	_, err := r.o.Store.ChangeFence(ctx, siteName, machine, func(f *store.Fence) error {
		now := r.o.Now().UTC()
		if f.Since.IsZero() {
			f.Since = now
		}
		if siteName == p.Source || f.Run == "" {
			f.Run, f.Reason = p.Run, fmt.Sprintf("%s was failed over to %s", p.Group, p.Target)
			if siteName == p.Target {
				f.Reason = fmt.Sprintf("%s left %s", p.Group, siteName)
			}
		}
		f.Group, f.Error = p.Group, ""
		if held == nil {
			f.HeldAt, f.Seen, f.Power = now, now, dr.PowerOff
			return nil
		}
		f.Error = held.Error()
		return nil
	})
	return err
}
