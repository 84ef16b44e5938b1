package recovery

import (
	"context"

	"understudy/internal/dr"
	"understudy/internal/recovery/engine"
	"understudy/internal/store"
)

func (r *Recovery) commitKind() kind {
	return kind{
		prepare: func(_ context.Context, _ Request, p *Input, prot store.Protection) (func(*store.Protection) error, error) {
			p.Of, p.OfKind = prot.Run, KindFailover
			return func(s *store.Protection) error { c := *s; return apply(&c, dr.OpCommit) }, nil
		},
		do: r.commit,
		settle: func(o outcome, prot *store.Protection) error {
			if o.state != store.RunSucceeded {
				return nil
			}
			return apply(prot, dr.OpCommit)
		},
	}
}

// commit makes a failover final. Machines that still need the vault are made independent of it first.
func (r *Recovery) commit(run *engine.Run, p Input) (*Result, error) {
	res := &Result{}
	_, of, err := r.inputOf(context.Background(), p.Of)
	if err != nil {
		return res, err
	}
	rows, err := engine.Do(run, engine.Step[int]{Name: "check", Title: "check that the vault is no longer needed",
		Do: func(ctx context.Context, _ *engine.Progress) (int, error) {
			rows, err := r.o.Store.Exports(ctx, of.Run)
			return len(rows), err
		}})
	if err == nil && rows > 0 {
		err = r.hydrate(run, of, res)
	}
	if err == nil {
		err = r.accept(run, of)
	}
	return res, err
}
