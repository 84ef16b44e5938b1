package recovery

import (
	"context"
	"errors"

	"understudy/internal/dr"
	"understudy/internal/recovery/engine"
	"understudy/internal/store"
)

func (r *Recovery) testKind() kind {
	return kind{
		prepare: func(_ context.Context, _ Request, p *Input, _ store.Protection) (func(*store.Protection) error, error) {
			return func(s *store.Protection) error { s.TestRun = p.Run; return apply(s, dr.OpTestFailover) }, nil
		},
		do: r.testFailover,
		settle: func(o outcome, prot *store.Protection) error {
			switch o.state {
			case store.RunSucceeded:
				return apply(prot, dr.OpTestRunning)
			case store.RunCancelled: // and it removed what it made
				return errors.Join(apply(prot, dr.OpCleanup), apply(prot, dr.OpCleaned))
			}
			if !o.result.Made {
				return errors.Join(apply(prot, dr.OpCleanup), apply(prot, dr.OpCleaned))
			}
			return apply(prot, dr.OpTestFail)
		},
	}
}

// testFailover brings up copies in an isolated network. Production and its replication are not touched.
func (r *Recovery) testFailover(run *engine.Run, p Input) (*Result, error) {
	res := &Result{}
	point, err := r.choose(run, p, "choose point", "choose the recovery point")
	if err == nil {
		point.into(res)
		res.RPO = p.rpo(point)
		err = r.serve(run, p, point)
	}
	made := err == nil
	if made {
		err = r.bringUp(run, p, res)
	}
	switch {
	case errors.Is(err, engine.ErrInterrupted):
	case errors.Is(err, engine.ErrAborted):
		// What cancelling could not remove is for a clean-up: the run failed then.
		if left := r.remove(run, p, "cancel: "); left != nil {
			err = left
		}
		res.Made = true
	case err != nil && !made:
		res.Made = r.stopServing(run, p.Run, "give up: ") != nil
	default:
		res.Made = true
	}
	return res, err
}
