package recovery

import (
	"context"
	"fmt"

	"understudy/internal/dr"
	"understudy/internal/recovery/engine"
	"understudy/internal/store"
)

// taken is the outcome of raising the epoch. It counts even when the step failed after raising it.
type taken struct {
	Raised bool   `json:"raised"`
	Epoch  uint64 `json:"epoch"`
}

// takeOver makes the target the owner of the group in its vault: from then on the source can add nothing. It records
// the point of no return in the group's protection. A run that is cancelled does not begin it; what was begun is carried
// through and recorded, for half of it cannot be undone.
func (r *Recovery) takeOver(run *engine.Run, p Input) (taken, error) {
	return engine.Do(run, engine.Step[taken]{Name: "take over", Title: fmt.Sprintf("make %s the owner of %s in vault %s", p.Target, p.Group, p.Vault),
		Options: engine.StepOptions{Timeout: vaultTimeout, Retries: 3, Cleanup: true},
		Do: func(ctx context.Context, say *engine.Progress) (t taken, err error) {
			v, err := r.o.Vaults(ctx, p.Vault)
			if err != nil {
				return t, err
			}
			owner, err := v.Owner(ctx, p.Group)
			if err != nil {
				return t, err
			}
			if aborted := run.Aborted(); aborted != nil && owner.Site != p.Target {
				return t, aborted
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
			_, stateErr := r.o.Store.ChangeProtection(context.WithoutCancel(ctx), p.Group, func(s *store.Protection) error {
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
func own(ctx context.Context, v Vault, p Input, holder string) (uint64, error) {
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
