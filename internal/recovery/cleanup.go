package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"understudy/internal/dr"
	"understudy/internal/recovery/engine"
	"understudy/internal/store"
)

func (r *Recovery) cleanupKind() kind {
	return kind{prepare: r.prepareCleanup, do: r.cleanup, settle: settleCleanup}
}

// settleCleanup ends a test failover. That counts as a drill from here on.
func settleCleanup(o outcome, prot *store.Protection) error {
	if !rehearses(o.input.OfKind) {
		return nil
	}
	if o.state != store.RunSucceeded {
		return apply(prot, dr.OpTestFail)
	}
	var drill Result
	if o.of.State == store.RunSucceeded && json.Unmarshal(o.of.Result, &drill) == nil {
		proven(prot, o.of.ID, drill)
	}
	return apply(prot, dr.OpCleaned)
}

// proven records that a rehearsal brought the group up.
func proven(prot *store.Protection, run string, res Result) {
	prot.ProvenAt, prot.ProvenRun, prot.ProvenPoint = res.Healthy, run, res.Point
	prot.ProvenRTO = time.Duration(float64(res.RTO) * float64(time.Second))
}

// prepareCleanup finds what there is to clean up: a test failover, else what a failed failover left.
func (r *Recovery) prepareCleanup(ctx context.Context, _ Request, p *Input, prot store.Protection) (func(*store.Protection) error, error) {
	of, isTest := prot.TestRun, prot.Test != "" && prot.Test != dr.TestNone
	if !isTest {
		of = ""
		if prot.State == dr.StateFailoverFailed {
			of = prot.Run
		}
	}
	if of == "" {
		return nil, dr.WithHint(errors.New("there is nothing to clean up"), dr.KindConflict, "understudy run list")
	}
	run, before, err := r.inputOf(ctx, of)
	if err != nil {
		return nil, err
	}
	if !isTest && run.CleanedBy != "" {
		return nil, dr.WithHint(fmt.Errorf("run %s was cleaned up by %s", of, run.CleanedBy), dr.KindConflict, dr.OpFailover.Command())
	}
	p.Of, p.OfKind, p.Target, p.Source, p.Machines, p.Vault = of, run.Kind, before.Target, before.Source, before.Machines, before.Vault
	return func(s *store.Protection) error {
		if !isTest {
			return nil
		}
		return apply(s, dr.OpCleanup)
	}, nil
}

// cleanup removes what a test failover, or a failed failover, made.
func (r *Recovery) cleanup(run *engine.Run, p Input) (*Result, error) {
	_, of, err := r.inputOf(context.Background(), p.Of)
	if err != nil {
		return nil, err
	}
	return &Result{}, r.remove(run, of, "")
}
