package api

import (
	"cmp"
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"understudy/internal/api/wire"
	"understudy/internal/notify"
	"understudy/internal/store"
	"understudy/internal/watch"
)

// NotificationBackend does what the API is asked for about notifications.
type NotificationBackend interface {
	PutChannel(ctx context.Context, c notify.Channel) error
	Channels(ctx context.Context) ([]notify.Channel, error)
	RemoveChannel(ctx context.Context, name string) error
	TestChannel(ctx context.Context, name string) error

	Rules(ctx context.Context) ([]notify.Rule, error)
	PutRule(ctx context.Context, r notify.Rule) error
	RemoveRule(ctx context.Context, name string) error
	NotificationSettings(ctx context.Context) (notify.Settings, error)
	PutNotificationSettings(ctx context.Context, s notify.Settings) error

	Problems(ctx context.Context) ([]watch.Problem, error)
	Notifications(ctx context.Context, f store.NotificationFilter) ([]store.Notification, error)
	CountNotifications(ctx context.Context, f store.NotificationFilter) (int, error)
	// RetryNotification and DropNotification are of those that were given up; dr.KindConflict of others.
	RetryNotification(ctx context.Context, id int64) (store.Notification, error)
	DropNotification(ctx context.Context, id int64) error
}

func (s *server) notifications(a huma.API) {
	s.channels(a)
	s.rules(a)
	const tag = "notifications"
	huma.Register(a, op(http.MethodGet, "/v1/problems", "list-problems", tag, "List what is wrong now, the worst first: what was told and is not over"),
		func(ctx context.Context, _ *nothing) (*body[[]wire.OpenProblem], error) {
			list, err := s.backend.Problems(ctx)
			return &body[[]wire.OpenProblem]{convert(list, fromProblem)}, fail(err)
		})
	type filter struct {
		State   string `query:"state" enum:"waiting,sent,dead" doc:"Only these; dead are those that were given up"`
		Channel string `query:"channel"`
		Topic   string `query:"topic"`
		Group   string `query:"group"`
		Limit   int    `query:"limit" minimum:"0" maximum:"1000" doc:"By default 100"`
		After   int64  `query:"after" minimum:"0" doc:"The header X-Next of the page before"`
	}
	huma.Register(a, op(http.MethodGet, "/v1/notifications", "list-notifications", tag, "List notifications and what became of them, newest first"),
		func(ctx context.Context, in *filter) (*pageOf[wire.Notification], error) {
			want := cmp.Or(in.Limit, 100)
			f := store.NotificationFilter{State: in.State, Channel: in.Channel, Topic: notify.Topic(in.Topic), Group: in.Group, Before: in.After, Limit: want + 1}
			n, err := s.backend.CountNotifications(ctx, f)
			if err != nil {
				return nil, fail(err)
			}
			list, err := s.backend.Notifications(ctx, f) // one more, which says whether there are more
			p := &pageOf[wire.Notification]{Total: strconv.Itoa(n), Body: convert(list[:min(len(list), want)], fromNotification)}
			if len(list) > want {
				p.Next = strconv.FormatInt(list[want-1].ID, 10)
			}
			return p, fail(err)
		})
	type numbered struct {
		Number int64 `path:"number" minimum:"1"`
	}
	huma.Register(a, op(http.MethodPost, "/v1/notifications/{number}/retry", "retry-notification", tag, "Send a notification again that was given up"),
		func(ctx context.Context, in *numbered) (*body[wire.Notification], error) {
			n, err := s.backend.RetryNotification(ctx, in.Number)
			return &body[wire.Notification]{fromNotification(n)}, fail(err)
		})
	huma.Register(a, op(http.MethodDelete, "/v1/notifications/{number}", "drop-notification", tag, "Forget a notification that was given up"),
		func(ctx context.Context, in *numbered) (*nothing, error) {
			return nil, fail(s.backend.DropNotification(ctx, in.Number))
		})
}

func (s *server) channels(a huma.API) {
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
}

func (s *server) rules(a huma.API) {
	const tag = "notifications"
	huma.Register(a, op(http.MethodGet, "/v1/notification-rules", "list-notification-rules", tag, "List which notifications go to which channels"),
		func(ctx context.Context, _ *nothing) (*body[[]wire.NotificationRule], error) {
			list, err := s.backend.Rules(ctx)
			return &body[[]wire.NotificationRule]{convert(list, fromRule)}, fail(err)
		})
	type put struct {
		Named
		Body wire.NotificationRule
	}
	huma.Register(a, op(http.MethodPut, "/v1/notification-rules/{name}", "put-notification-rule", tag, "Add a rule, or replace it"),
		func(ctx context.Context, in *put) (*body[wire.NotificationRule], error) {
			in.Body.Name = in.Name
			return &body[wire.NotificationRule]{in.Body}, fail(s.backend.PutRule(ctx, toRule(in.Body)))
		})
	huma.Register(a, op(http.MethodDelete, "/v1/notification-rules/{name}", "remove-notification-rule", tag, "Remove a rule"),
		func(ctx context.Context, in *Named) (*nothing, error) {
			return nil, fail(s.backend.RemoveRule(ctx, in.Name))
		})
	huma.Register(a, op(http.MethodGet, "/v1/notification-settings", "show-notification-settings", tag, "Tell what all notifications share"),
		func(ctx context.Context, _ *nothing) (*body[wire.NotificationSettings], error) {
			v, err := s.backend.NotificationSettings(ctx)
			return &body[wire.NotificationSettings]{fromSettings(v)}, fail(err)
		})
	type settings struct {
		Body wire.NotificationSettings
	}
	huma.Register(a, op(http.MethodPut, "/v1/notification-settings", "put-notification-settings", tag, "Set what all notifications share"),
		func(ctx context.Context, in *settings) (*body[wire.NotificationSettings], error) {
			v := notify.Settings{Console: in.Body.Console, Repeat: time.Duration(in.Body.Repeat)}
			if in.Body.NoRepeat {
				v.Repeat = -1
			}
			return &body[wire.NotificationSettings]{in.Body}, fail(s.backend.PutNotificationSettings(ctx, v))
		})
}

func fromSettings(v notify.Settings) wire.NotificationSettings {
	return wire.NotificationSettings{Console: v.Console, Repeat: wire.Duration(max(0, v.Repeat)), NoRepeat: v.Repeat < 0}
}

func fromRule(r notify.Rule) wire.NotificationRule {
	return wire.NotificationRule{Name: r.Name, Channels: r.Channels, Topics: texts(r.Topics), Kinds: texts(r.Kinds), Severity: string(r.Severity), Groups: r.Groups, Sites: r.Sites}
}

func toRule(w wire.NotificationRule) notify.Rule {
	r := notify.Rule{Name: w.Name, Channels: w.Channels, Severity: notify.Severity(w.Severity), Groups: w.Groups, Sites: w.Sites}
	for _, t := range w.Topics {
		r.Topics = append(r.Topics, notify.Topic(t))
	}
	for _, k := range w.Kinds {
		r.Kinds = append(r.Kinds, notify.Kind(k))
	}
	return r
}

func texts[T ~string](list []T) []string {
	return convert(list, func(v T) string { return string(v) })
}

func fromNotification(n store.Notification) wire.Notification {
	return wire.Notification{Number: n.ID, NotificationEvent: fromEvent(n.Event), Channel: n.Channel, State: n.State, Attempts: n.Attempts, Sent: instant(n.Sent), Problem: n.Problem}
}

func fromEvent(e notify.Event) wire.NotificationEvent {
	return wire.NotificationEvent{ID: e.ID, Time: e.Time, Source: e.Source, Kind: string(e.Kind), Topic: string(e.Topic), Severity: string(e.Severity), Key: e.Key, Ends: e.Ends,
		Since: instant(e.Since), Repeat: e.Repeat, Group: e.Group, Sites: e.Sites, Vault: e.Vault, Run: e.Run, Subject: e.Subject, Text: e.Text, Loss: e.Loss, Next: e.Next, Link: e.Link}
}

func fromProblem(p watch.Problem) wire.OpenProblem {
	return wire.OpenProblem{NotificationEvent: fromEvent(p.Event), Told: p.Told, Times: p.Times, Gone: instant(p.Gone)}
}
