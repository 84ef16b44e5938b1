package recovery

import (
	"context"
	"encoding/json"
	"fmt"

	"understudy/internal/store"
)

// Run returns a run, by its ID or a unique beginning of it, and its steps.
func (r *Recovery) Run(ctx context.Context, id string) (store.Run, []store.Step, error) {
	run, err := r.o.Store.Run(ctx, id)
	if err != nil {
		return run, nil, err
	}
	steps, err := r.view.steps(ctx, run.ID)
	return run, steps, err
}

// Result returns a run, by its ID, and what it achieved so far.
func (r *Recovery) Result(ctx context.Context, id string) (store.Run, Result, error) {
	run, err := r.o.Store.Run(ctx, id)
	if err != nil {
		return run, Result{}, fmt.Errorf("read result of run %s: %w", id, err)
	}
	res, err := ResultOf(run)
	return run, res, err
}

// ResultOf returns what a run achieved so far.
func ResultOf(run store.Run) (res Result, err error) {
	if len(run.Result) > 0 {
		if err := json.Unmarshal(run.Result, &res); err != nil {
			return res, fmt.Errorf("read result of run %s: %w", run.ID, err)
		}
	}
	return res, nil
}

// Runs lists runs, newest first.
func (r *Recovery) Runs(ctx context.Context, f store.RunFilter) ([]store.Run, error) {
	return r.o.Store.Runs(ctx, f)
}

// Watch calls fn with a run and its steps, now and after each change, until the run has ended, ctx ends or fn returns
// an error, which Watch returns.
func (r *Recovery) Watch(ctx context.Context, id string, fn func(store.Run, []store.Step) error) error {
	for {
		changed := r.view.changes()
		run, steps, err := r.Run(ctx, id)
		if err != nil {
			return err
		}
		if err := fn(run, steps); err != nil || run.State.Ended() {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// Changed returns a channel that is closed when a run or its progress changes.
func (r *Recovery) Changed() <-chan struct{} { return r.view.changes() }
