package api

import (
	"context"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/sse"

	"understudy/internal/api/wire"
	"understudy/internal/recovery"
	"understudy/internal/store"
)

// runKinds are the kinds of run of kinds of failover.
var runKinds = map[string]string{"test": "test-failover", "planned": "planned-failover", "unplanned": "failover"}

func (s *server) runs(a huma.API) {
	const tag = "recovery"
	accepted := func(o huma.Operation) huma.Operation {
		o.DefaultStatus = http.StatusAccepted
		return o
	}
	start := func(ctx context.Context, kind, group, point string) (*body[wire.Run], error) {
		r, err := s.backend.StartRun(ctx, kind, group, point, caller(ctx))
		return &body[wire.Run]{fromRun(r, nil)}, fail(err)
	}
	type failover struct {
		Named
		Body wire.Failover
	}
	huma.Register(a, accepted(op(http.MethodPost, "/v1/groups/{name}/failover", "failover", tag, "Begin a failover, or a rehearsal of one")),
		func(ctx context.Context, in *failover) (*body[wire.Run], error) {
			if in.Body.Plan != "" {
				r, err := s.backend.StartPlan(ctx, recovery.Request{Kind: runKinds[in.Body.Kind], Group: in.Name, Plan: in.Body.Plan, Point: in.Body.Point, By: caller(ctx)})
				return &body[wire.Run]{fromRun(r, nil)}, fail(err)
			}
			return start(ctx, runKinds[in.Body.Kind], in.Name, in.Body.Point)
		})
	huma.Register(a, accepted(op(http.MethodPost, "/v1/groups/{name}/commit", "commit", tag, "Make a failover final")),
		func(ctx context.Context, in *Named) (*body[wire.Run], error) {
			return start(ctx, "commit", in.Name, "")
		})
	huma.Register(a, accepted(op(http.MethodPost, "/v1/groups/{name}/cleanup", "cleanup", tag, "Remove what a test failover made")),
		func(ctx context.Context, in *Named) (*body[wire.Run], error) {
			return start(ctx, "cleanup", in.Name, "")
		})
	huma.Register(a, op(http.MethodGet, "/v1/runs/{name}", "show-run", tag, "Show a run and its steps"),
		func(ctx context.Context, in *Named) (*body[wire.Run], error) {
			r, steps, err := s.backend.Run(ctx, in.Name)
			return &body[wire.Run]{fromShownRun(r, steps)}, fail(err)
		})
	huma.Register(a, op(http.MethodPost, "/v1/runs/{name}/cancel", "cancel-run", tag, "Ask a run to stop"),
		func(ctx context.Context, in *Named) (*nothing, error) {
			return nil, fail(s.backend.CancelRun(ctx, in.Name, caller(ctx)))
		})
	sse.Register(a, op(http.MethodGet, "/v1/runs/{name}/watch", "watch-run", tag, "Watch a run: the whole run at every change, until it ends"),
		map[string]any{"run": wire.Run{}, "problem": wire.Problem{}}, s.watch)
	type group struct {
		Group string `query:"group"`
		Page
	}
	huma.Register(a, op(http.MethodGet, "/v1/fences", "list-fences", tag, "List machines that are held, and those that run although they must not (split brain)"),
		func(ctx context.Context, in *group) (*pageOf[wire.Fence], error) {
			list, err := s.backend.Fences(ctx, in.Group)
			if err != nil {
				return nil, fail(err)
			}
			return paged(list, in.Page, func(f store.Fence) string { return f.Site + "\x00" + f.Machine }, fromFence)
		})
}

// fromShownRun converts a run that is shown by itself, with its steps and its plan.
func fromShownRun(r store.Run, steps []store.Step) wire.Run {
	w := fromRun(r, steps)
	w.Plan, _ = planOf(r)
	return w
}

// heartbeat is how often a stream says that it lives.
const heartbeat = 15 * time.Second

// watch sends a run at every change until it has ended or the client is gone.
func (s *server) watch(ctx context.Context, in *Named, send sse.Sender) {
	runs := make(chan wire.Run)
	failed := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer close(runs)
		err := s.backend.WatchRun(ctx, in.Name, func(r store.Run, steps []store.Step) error {
			select {
			case runs <- fromShownRun(r, steps):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		failed <- err
	}()
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	var last wire.Run
	for n := 1; ; {
		select {
		case run, ok := <-runs:
			if !ok {
				if err := <-failed; err != nil && ctx.Err() == nil {
					_ = send.Data(fail(err)) // the client is gone if this fails
				}
				return
			}
			if reflect.DeepEqual(run, last) {
				continue
			}
			if send(sse.Message{ID: n, Data: run}) != nil {
				return
			}
			last = run
			n++
		case <-tick.C:
			if send.Comment("still there") != nil {
				return
			}
		}
	}
}
