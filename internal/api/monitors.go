package api

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"understudy/internal/api/wire"
	"understudy/internal/monitor"
	"understudy/internal/site"
	"understudy/internal/store"
)

// MonitorBackend does what the API is asked for about monitors.
type MonitorBackend interface {
	AddMonitor(ctx context.Context, m store.Monitor) (store.Monitor, error)
	Monitors(ctx context.Context) ([]store.Monitor, error)
	RemoveMonitor(ctx context.Context, name string) error
	Monitor(ctx context.Context, name string) (store.Monitor, error)
	TestMonitor(ctx context.Context, name string) (monitor.Look, error)
}

func (s *server) monitors(a huma.API) {
	const tag = "monitors"
	huma.Register(a, op(http.MethodGet, "/v1/monitors", "list-monitors", tag, "Tell what monitors know of the long operations of sites"),
		func(ctx context.Context, _ *nothing) (*body[[]wire.Monitor], error) {
			list, err := s.backend.Monitors(ctx)
			return &body[[]wire.Monitor]{convert(list, withoutSteps)}, fail(err)
		})
	huma.Register(a, op(http.MethodGet, "/v1/monitors/{name}", "show-monitor", tag, "Tell what a monitor knows, with the steps of operations"),
		func(ctx context.Context, in *Named) (*body[wire.Monitor], error) {
			m, err := s.backend.Monitor(ctx, in.Name)
			return &body[wire.Monitor]{fromMonitor(m)}, fail(err)
		})
	type add struct {
		Named
		Body wire.MonitorRequest
	}
	huma.Register(a, op(http.MethodPut, "/v1/monitors/{name}", "add-monitor", tag, "Watch the long operations of a site"),
		func(ctx context.Context, in *add) (*body[wire.Monitor], error) {
			m, err := s.backend.AddMonitor(ctx, store.Monitor{Name: in.Name, Site: in.Body.Site, Every: time.Duration(in.Body.Every), Patience: in.Body.Patience})
			return &body[wire.Monitor]{fromMonitor(m)}, fail(err)
		})
	huma.Register(a, op(http.MethodDelete, "/v1/monitors/{name}", "remove-monitor", tag, "Watch no longer"),
		func(ctx context.Context, in *Named) (*nothing, error) {
			return nil, fail(s.backend.RemoveMonitor(ctx, in.Name))
		})
	huma.Register(a, op(http.MethodGet, "/v1/monitors/{name}/test", "test-monitor", tag, "Look now, without any consequence"),
		func(ctx context.Context, in *Named) (*body[wire.Look], error) {
			l, err := s.backend.TestMonitor(ctx, in.Name)
			out := wire.Look{Way: l.Answer.Way, Operations: convert(l.Answer.Operations, fromOperation)}
			if l.Err != nil {
				out.Problem = l.Err.Error()
			}
			return &body[wire.Look]{out}, fail(err)
		})
}

func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func fromMonitor(m store.Monitor) wire.Monitor {
	v := wire.Monitor{Name: m.Name, Site: m.Site, Every: wire.Duration(m.Every), Patience: m.Patience, Looked: instant(m.State.Looked), Way: m.State.Way,
		Failures: m.State.Failures, Problem: m.State.Problem}
	for _, id := range slices.Sorted(maps.Keys(m.State.Operations)) {
		v.Operations = append(v.Operations, fromOperation(m.State.Operations[id]))
	}
	return v
}

func fromOperation(o site.Operation) wire.Operation {
	return wire.Operation{ID: o.ID, Title: o.Title, Version: o.Version, State: o.State, Outcome: string(o.Outcome), Started: instant(o.Started),
		DurationSeconds: o.Duration.Seconds(), Step: o.Step, Message: o.Message, Summary: o.Summary, Steps: fromSteps(o.Steps)}
}

func fromSteps(steps []site.Step) (out []wire.OperationStep) {
	for _, s := range steps {
		out = append(out, wire.OperationStep{Index: s.Index, Name: s.Name, Description: s.Description, Status: s.Status, Started: instant(s.Started), Ended: instant(s.Ended),
			Message: s.Message, Steps: fromSteps(s.Steps)})
	}
	return out
}

// withoutSteps is a monitor in a list, which is read often: steps may be thousands.
func withoutSteps(m store.Monitor) wire.Monitor {
	v := fromMonitor(m)
	for i := range v.Operations {
		v.Operations[i].Steps = nil
	}
	return v
}
