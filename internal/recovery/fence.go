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
	d, err := r.o.Sites(ctx, siteName)
	if err != nil {
		return err
	}
	return d.Fence(ctx, machine, true, heldReason)
}

const heldReason = "failed over to another site by Understudy"

func (r *Recovery) recordFence(ctx context.Context, p Input, machine string, held error) error {
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
