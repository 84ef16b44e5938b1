package recovery

import (
	"context"
	"errors"
	"slices"
	"time"

	"understudy/internal/dr"
	"understudy/internal/recovery/engine"
)

// Times that steps may take.
const (
	vaultTimeout     = 2 * time.Minute
	provisionTimeout = 10 * time.Minute
	startTimeout     = 2 * time.Minute
	probeTimeout     = 2 * time.Minute // when the probe has none
	deleteTimeout    = 5 * time.Minute
	hydrateStall     = 10 * time.Minute
	leaseTTL         = time.Minute
)

// none is the result of a step that has none.
type none = struct{}

// action is a step without a result.
func action(run *engine.Run, name, title string, o engine.StepOptions, do func(context.Context, *engine.Progress) error) error {
	_, err := engine.Do(run, engine.Step[none]{Name: name, Title: title, Options: o,
		Do: func(ctx context.Context, p *engine.Progress) (none, error) { return none{}, do(ctx, p) }})
	return err
}

// each does a step per machine at the same time.
func each[T any](run *engine.Run, machines []dr.MachinePolicy, step func(dr.MachinePolicy) engine.Step[T]) ([]T, error) {
	steps := make([]engine.Step[T], len(machines))
	for i, m := range machines {
		steps[i] = step(m)
	}
	values, errs := engine.Parallel(run, steps)
	if slices.ContainsFunc(errs, func(err error) bool { return errors.Is(err, engine.ErrInterrupted) }) {
		return values, engine.ErrInterrupted
	}
	return values, joinErrors(errs)
}

// joinErrors keeps the kind and hint of the first error.
func joinErrors(errs []error) error {
	errs = slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return err == nil })
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	}
	return dr.WithHint(errors.Join(errs...), dr.KindOf(errs[0]), dr.Hint(errs[0]))
}
