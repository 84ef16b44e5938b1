package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/sse"

	"understudy/internal/api/wire"
	"understudy/internal/controller"
	"understudy/internal/store"
)

const (
	// maxStreams bounds the streams of events that are open at once.
	maxStreams = 256
	// streamsRetry is how long a client is to wait that found no place, in seconds.
	streamsRetry = "10"
	// streamLong bounds a stream: a client connects again, by rights that it still has.
	streamLong = 10 * time.Minute
	// namesMost is how many groups a message names; more than that means all.
	namesMost = 500
)

func (s *server) events(a huma.API) {
	const tag = "events"
	type filter struct {
		Group  string `query:"group"`
		Kind   string `query:"kind" doc:"Such as run.ended; run. selects all that begin so"`
		Run    string `query:"run" doc:"ID"`
		Q      string `query:"q" maxLength:"200" doc:"Text in the message, the kind or the group's name, whatever the case"`
		Before int64  `query:"before" minimum:"0" doc:"Only events of a lower sequence: the last of the page before"`
		Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	}
	type page struct {
		Next string `header:"X-Next" doc:"Give it as before to have the next page; left out on the last"`
		Body []wire.Event
	}
	huma.Register(a, op(http.MethodGet, "/v1/events", "list-events", tag, "What happened, the newest first"),
		func(ctx context.Context, in *filter) (*page, error) {
			// One more says whether there are more.
			list, err := s.backend.Events(ctx, store.EventFilter{Group: in.Group, Kind: in.Kind, Run: in.Run, Text: in.Q, Before: in.Before, Newest: true, Limit: in.Limit + 1})
			if err != nil {
				return nil, fail(err)
			}
			p := &page{Body: convert(list[:min(len(list), in.Limit)], fromRecord)}
			if len(list) > in.Limit {
				p.Next = fmt.Sprint(list[in.Limit-1].Sequence)
			}
			return p, nil
		})
	stream := op(http.MethodGet, "/v1/events/stream", "watch-events", tag,
		"Everything that happens, from now on or after an event: change is recorded and has an id; status and run are not, and come once a second at most")
	stream.Middlewares = huma.Middlewares{s.place(a)}
	sse.Register(a, stream, map[string]any{"change": wire.Event{}, "status": wire.StatusChange{}, "run": wire.RunProgress{}}, s.stream)
}

func fromRecord(e store.Event) wire.Event {
	return wire.Event{Sequence: e.Sequence, Time: e.Time.UTC(), Kind: e.Kind, Group: e.Group, Run: e.Run, Message: e.Message}
}

// place lets as many streams in as there are places.
func (s *server) place(a huma.API) func(huma.Context, func(huma.Context)) {
	return func(c huma.Context, next func(huma.Context)) {
		select {
		case s.streams <- struct{}{}:
			defer func() { <-s.streams }()
			next(c)
		default:
			c.SetHeader("Retry-After", streamsRetry)
			_ = huma.WriteErr(a, c, http.StatusServiceUnavailable, fmt.Sprintf("%d streams are open already", maxStreams)) // the client is gone if this fails
		}
	}
}

// Resume says after which event a stream begins.
type Resume struct {
	After       int64 `query:"after" minimum:"-1" default:"-1" doc:"Sequence of the last event that is known; by default only new events are sent"`
	LastEventID int64 `header:"Last-Event-ID" minimum:"-1" default:"-1" doc:"The same, as browsers send it when they connect again"`
}

// stream sends what happens until the client is gone.
func (s *server) stream(ctx context.Context, in *Resume, send sse.Sender) {
	after, sees := max(in.After, in.LastEventID), s.sees(ctx)
	ctx, cancel := context.WithTimeout(ctx, streamLong)
	changes, ended := make(chan controller.Change), make(chan error, 1)
	defer func() { cancel(); <-ended }()
	go func() {
		err := s.backend.Follow(ctx, after, func(c controller.Change) error {
			select {
			case changes <- c:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		if err != nil && ctx.Err() == nil {
			s.opts.Logger.Warn("follow events", "err", err)
		}
		close(changes)
		ended <- err
	}()
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	// The first comment says that the stream is open: a client that waits for it misses nothing.
	err := send.Comment("open")
	for err == nil {
		select {
		case c, ok := <-changes:
			if !ok {
				return // the client connects again
			}
			err = s.sendChange(c, sees, send)
		case <-tick.C:
			sees = s.sees(ctx) // groups come, go and move
			err = send.Comment("still there")
		}
	}
}

// sendChange sends what the caller may see of a change.
func (s *server) sendChange(c controller.Change, sees func(string, string) bool, send sse.Sender) error {
	if e := c.Event; e != nil && (sees(e.Group, "")) {
		return send(sse.Message{ID: int(e.Sequence), Data: fromRecord(*e)})
	}
	if groups := slices.DeleteFunc(c.Groups, func(name string) bool { return !sees(name, "") }); len(groups) > 0 {
		if len(groups) > namesMost {
			groups = []string{}
		}
		return send.Data(wire.StatusChange{Groups: groups})
	}
	for _, p := range c.Progress {
		if !sees(p.Run.Group, "") {
			continue
		}
		if err := send.Data(fromProgress(p)); err != nil {
			return err
		}
	}
	return nil
}

func fromProgress(p controller.RunProgress) wire.RunProgress {
	return wire.RunProgress{
		Run: p.Run.ID, Group: p.Run.Group, Kind: p.Run.Kind, State: string(p.Run.State), Message: p.Run.Message, Started: wire.At(p.Run.Started),
		Step: p.Step.Name, Title: p.Step.Title, Done: p.Step.Done, Total: p.Step.Total, Rate: p.Step.Rate, ETA: p.Step.ETA, Attempts: p.Step.Attempts,
	}
}
