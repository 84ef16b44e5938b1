package recovery

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"understudy/internal/dr"
	"understudy/internal/store"
)

// Cancel asks a run to end. A test failover removes what it made; a planned failover that has not raised the epoch
// gives production back to the source; a clone removes what it copied, also after it failed, and a move gives its source
// back. What cannot be taken back is refused with dr.KindConflict.
func (r *Recovery) Cancel(ctx context.Context, id, reason string) error {
	run, err := r.o.Store.Run(ctx, id)
	if err != nil {
		return err
	}
	switch {
	case run.State == store.RunFailed && copiesMachine(run.Kind):
		return r.discardFailed(ctx, run, reason)
	case run.State.Ended():
		return dr.WithHint(fmt.Errorf("cancel %s: it has %s", run.ID, run.State), dr.KindConflict, "understudy run show "+run.ID)
	case run.Kind == KindCleanup || run.Kind == KindCommit || run.Kind == KindResolve:
		return dr.WithHint(fmt.Errorf("cancel %s: a %s is not cancelled", run.ID, run.Kind), dr.KindConflict, "understudy run watch "+run.ID)
	}
	var res Result
	if len(run.Result) > 0 {
		if err := json.Unmarshal(run.Result, &res); err != nil {
			return fmt.Errorf("cancel %s: %w", run.ID, err)
		}
	}
	acting, err := r.acting(ctx, run)
	if err != nil {
		return fmt.Errorf("cancel %s: %w", run.ID, err)
	}
	// The rest of a plan can be given up.
	if !rehearses(run.Kind) && !res.Healthy.IsZero() && !acting {
		return dr.WithHint(fmt.Errorf("cancel %s: the group is failed over, only its disks are still being copied", run.ID), dr.KindConflict,
			"understudy run watch "+run.ID)
	}
	r.event(ctx, "run.cancel", run, "asked to cancel: "+reason)
	return r.engine.Abort(ctx, run.ID, reason)
}

// acting reports whether an action of the run's plan is under way, or waits for a person.
func (r *Recovery) acting(ctx context.Context, run store.Run) (bool, error) {
	steps, err := r.view.steps(ctx, run.ID)
	return run.State == store.RunWaiting || slices.ContainsFunc(steps, func(s store.Step) bool {
		return strings.HasPrefix(s.Name, actionPrefix) && s.State == store.RunRunning
	}), err
}
