package api

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"understudy/internal/api/wire"
	"understudy/internal/site"
	"understudy/internal/store"
)

// MonitorBackend does what the API is asked for about monitors.
type MonitorBackend interface {
	AddMonitor(ctx context.Context, m store.Monitor) (store.Monitor, error)
	Monitors(ctx context.Context) ([]store.Monitor, error)
	RemoveMonitor(ctx context.Context, name string) error
	TestMonitor(ctx context.Context, name string) ([]site.Operation, error)
}

func (s *server) monitors(a huma.API) {
	const tag = "monitors"
	huma.Register(a, op(http.MethodGet, "/v1/monitors", "list-monitors", tag, "Tell what monitors know of the long operations of sites"),
		func(ctx context.Context, _ *nothing) (*body[[]wire.Monitor], error) {
			list, err := s.backend.Monitors(ctx)
			return &body[[]wire.Monitor]{convert(list, fromMonitor)}, fail(err)
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
		func(ctx context.Context, in *Named) (*body[[]wire.Operation], error) {
			list, err := s.backend.TestMonitor(ctx, in.Name)
			return &body[[]wire.Operation]{convert(list, fromOperation)}, fail(err)
		})
}

func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func fromMonitor(m store.Monitor) wire.Monitor {
	v := wire.Monitor{Name: m.Name, Site: m.Site, Every: wire.Duration(m.Every), Patience: m.Patience, Looked: instant(m.State.Looked), Failures: m.State.Failures, Problem: m.State.Problem}
	for _, id := range slices.Sorted(maps.Keys(m.State.Operations)) {
		v.Operations = append(v.Operations, fromOperation(m.State.Operations[id]))
	}
	return v
}

func fromOperation(o site.Operation) wire.Operation {
	return wire.Operation{ID: o.ID, Title: o.Title, Version: o.Version, State: o.State, Outcome: string(o.Outcome), Started: instant(o.Started),
		DurationSeconds: o.Duration.Seconds(), Step: o.Step, Message: o.Message}
}
