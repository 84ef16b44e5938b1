package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"understudy/internal/dr"
	"understudy/internal/recovery/engine"
	"understudy/internal/store"
)

func stateOf(err error) store.RunState {
	switch {
	case err == nil:
		return store.RunSucceeded
	case errors.Is(err, engine.ErrAborted):
		return store.RunCancelled
	}
	return store.RunFailed
}

// An outcome is how a run ended.
type outcome struct {
	input  Input
	of     store.Run // that it was about, of a clean-up
	state  store.RunState
	result Result
}

// finish records the outcome of a run and what it means for the group. It may be called again for the same outcome.
func (r *Recovery) finish(ctx context.Context, o engine.Outcome) error {
	var res Result
	if len(o.Result) > 0 {
		if err := json.Unmarshal(o.Result, &res); err != nil {
			return fmt.Errorf("read result: %w", err)
		}
	}
	run, input, err := r.inputOf(ctx, o.ID)
	if err != nil {
		return err
	}
	if run.State.Ended() {
		return nil
	}
	state := stateOf(o.Err)
	var of store.Run
	if input.Kind == KindCleanup {
		if of, err = r.o.Store.Run(ctx, input.Of); err != nil {
			return err
		}
		if state == store.RunSucceeded {
			if _, err := r.o.Store.ChangeRun(ctx, input.Of, func(run *store.Run) error { run.CleanedBy = o.ID; return nil }); err != nil {
				return err
			}
		}
	}
	if err := r.planVerified(ctx, run, input, of, state, res); err != nil {
		return err
	}
	record := func(run *store.Run) {
		run.State, run.Ended, run.Result = state, r.o.Now().UTC(), o.Result
		run.Message = string(state)
		if o.Err != nil {
			run.Error, run.ErrorKind, run.Hint = o.Err.Error(), dr.KindOf(o.Err), dr.Hint(o.Err)
		}
	}
	if input.Group == "" {
		_, err = r.o.Store.ChangeRun(ctx, o.ID, func(run *store.Run) error { record(run); return nil })
	} else {
		err = r.o.Store.ChangeRunAndProtection(ctx, o.ID, func(run *store.Run, prot *store.Protection) error {
			record(run)
			return r.kinds[input.Kind].settle(outcome{input, of, state, res}, prot)
		})
	}
	if err != nil {
		return err
	}
	message := fmt.Sprintf("%s of %s %s", input.Kind, input.about(), state)
	if o.Err != nil {
		message += ": " + o.Err.Error()
	}
	run.State = state
	r.event(ctx, "run."+string(state), run, message)
	r.view.forget(o.ID)
	return nil
}
