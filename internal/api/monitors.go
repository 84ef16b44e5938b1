package api

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"understudy/internal/api/wire"
	"understudy/internal/notify"
	"understudy/internal/site"
	"understudy/internal/store"
)

// MonitorBackend does what the API is asked for about monitors and notifications.
type MonitorBackend interface {
	AddMonitor(ctx context.Context, m store.Monitor) (store.Monitor, error)
	Monitors(ctx context.Context) ([]store.Monitor, error)
	RemoveMonitor(ctx context.Context, name string) error
	TestMonitor(ctx context.Context, name string) ([]site.Operation, error)

	PutChannel(ctx context.Context, c notify.Channel) error
	Channels(ctx context.Context) ([]notify.Channel, error)
	RemoveChannel(ctx context.Context, name string) error
	TestChannel(ctx context.Context, name string) error
	Notifications(ctx context.Context, state string) ([]store.Notification, error)
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

func (s *server) notifications(a huma.API) {
	const tag = "notifications"
	huma.Register(a, op(http.MethodGet, "/v1/channels", "list-channels", tag, "List whom notifications go to"),
		func(ctx context.Context, _ *nothing) (*body[[]wire.Channel], error) {
			list, err := s.backend.Channels(ctx)
			return &body[[]wire.Channel]{convert(list, func(c notify.Channel) wire.Channel { return wire.Channel(c) })}, fail(err)
		})
	type put struct {
		Named
		Body wire.Channel
	}
	huma.Register(a, op(http.MethodPut, "/v1/channels/{name}", "put-channel", tag, "Add a channel of notifications, or replace it"),
		func(ctx context.Context, in *put) (*body[wire.Channel], error) {
			in.Body.Name = in.Name
			return &body[wire.Channel]{in.Body}, fail(s.backend.PutChannel(ctx, notify.Channel(in.Body)))
		})
	huma.Register(a, op(http.MethodDelete, "/v1/channels/{name}", "remove-channel", tag, "Remove a channel, with what waits for it"),
		func(ctx context.Context, in *Named) (*nothing, error) {
			return nil, fail(s.backend.RemoveChannel(ctx, in.Name))
		})
	huma.Register(a, op(http.MethodPost, "/v1/channels/{name}/test", "test-channel", tag, "Send a test, and wait until it was taken"),
		func(ctx context.Context, in *Named) (*nothing, error) {
			return nil, fail(s.backend.TestChannel(ctx, in.Name))
		})
	type filter struct {
		State string `query:"state" enum:"waiting,sent,dead" doc:"Only these"`
	}
	huma.Register(a, op(http.MethodGet, "/v1/notifications", "list-notifications", tag, "List the newest notifications and what became of them"),
		func(ctx context.Context, in *filter) (*body[[]wire.Notification], error) {
			list, err := s.backend.Notifications(ctx, in.State)
			return &body[[]wire.Notification]{convert(list, fromNotification)}, fail(err)
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

func fromNotification(n store.Notification) wire.Notification {
	return wire.Notification{ID: n.Event.ID, Channel: n.Channel, State: n.State, Kind: string(n.Event.Kind), Subject: n.Event.Subject, Text: n.Event.Text, Time: n.Event.Time,
		Attempts: n.Attempts, Sent: instant(n.Sent), Problem: n.Problem}
}
