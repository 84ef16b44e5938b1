package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"understudy/internal/api/wire"
	"understudy/internal/controller"
	"understudy/internal/store"
)

// feedBackend is a backend of which the test says what happens.
type feedBackend struct {
	backend
	after   chan int64
	changes chan controller.Change
	events  []store.Event // newest first
}

func (b *feedBackend) Follow(ctx context.Context, after int64, fn func(controller.Change) error) error {
	b.after <- after
	for {
		select {
		case c := <-b.changes:
			if err := fn(c); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (b *feedBackend) Events(_ context.Context, f store.EventFilter) (list []store.Event, err error) {
	for _, e := range b.events {
		if (f.Before == 0 || e.Sequence < f.Before) && len(list) < f.Limit {
			list = append(list, e)
		}
	}
	return list, nil
}

func get(t *testing.T, url string, header ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer right")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// messages returns a function that reads the next message of a stream.
func messages(t *testing.T, resp *http.Response) func() string {
	t.Helper()
	lines := bufio.NewScanner(resp.Body)
	return func() string {
		t.Helper()
		var all []string
		for lines.Scan() {
			if lines.Text() == "" {
				return strings.Join(all, "\n")
			}
			all = append(all, lines.Text())
		}
		t.Fatalf("the stream ended: %v, after %q", lines.Err(), all)
		return ""
	}
}

func TestStream(t *testing.T) {
	b := &feedBackend{after: make(chan int64, 1), changes: make(chan controller.Change)}
	s := serveBackend(t, b)
	for _, tt := range []struct {
		query, last string
		after       int64
	}{{"", "", -1}, {"?after=0", "", 0}, {"?after=7", "", 7}, {"?after=7", "9", 9}, {"", "12", 12}} {
		header := []string{}
		if tt.last != "" {
			header = append(header, "Last-Event-ID", tt.last)
		}
		resp := get(t, s.URL+"/v1/events/stream"+tt.query, header...)
		if got := <-b.after; got != tt.after {
			t.Errorf("%q, last %q: after %d, want %d", tt.query, tt.last, got, tt.after)
		}
		resp.Body.Close()
	}
	// A backend of its own: the streams above may not have ended yet, and would take what is for this one.
	b = &feedBackend{after: make(chan int64, 1), changes: make(chan controller.Change)}
	s = serveBackend(t, b)
	resp := get(t, s.URL+"/v1/events/stream")
	<-b.after
	if ct := resp.Header.Get("Content-Type"); ct != "text/event-stream" {
		t.Errorf("content type %q", ct)
	}
	next := messages(t, resp)
	if got := next(); got != ": open" {
		t.Errorf("first: %q", got)
	}
	b.changes <- controller.Change{Event: &store.Event{Sequence: 42, Time: time.Unix(0, 0), Kind: "run.started", Group: "shop", Run: "r1", Message: "begins"}}
	if got, want := next(), `id: 42
event: change
data: {"sequence":42,"time":"1970-01-01T00:00:00Z","kind":"run.started","group":"shop","run":"r1","message":"begins"}`; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	b.changes <- controller.Change{Groups: []string{"mail", "shop"}}
	if got, want := next(), "event: status\ndata: {\"groups\":[\"mail\",\"shop\"]}"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	b.changes <- controller.Change{Groups: make([]string, namesMost+1)}
	if got, want := next(), "event: status\ndata: {\"groups\":[]}"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	b.changes <- controller.Change{Progress: []controller.RunProgress{{Run: store.Run{ID: "r1", Kind: "failover", Group: "shop", State: store.RunRunning}, Step: store.Step{Name: "s", Title: "copy", Done: 5, Total: 10}}}}
	if got, want := next(), `event: run
data: {"run":"r1","group":"shop","kind":"failover","state":"running","step":"s","title":"copy","done":5,"total":10}`; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// A client too many is told to come back, and a place that is left is given to the next.
func TestStreamPlaces(t *testing.T) {
	b := &feedBackend{after: make(chan int64, maxStreams+1), changes: make(chan controller.Change)}
	s := serveBackend(t, b)
	var first *http.Response
	for range maxStreams {
		resp := get(t, s.URL+"/v1/events/stream")
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("status %d", resp.StatusCode)
		}
		first = resp
	}
	resp := get(t, s.URL+"/v1/events/stream")
	var p wire.Problem
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || p.Kind != "unavailable" {
		t.Errorf("status %d, %+v, %v", resp.StatusCode, p, err)
	}
	first.Body.Close()
	for get(t, s.URL+"/v1/events/stream").StatusCode != http.StatusOK { // until the server noticed
	}
}

func TestEventPages(t *testing.T) {
	b := &feedBackend{}
	for i := int64(25); i > 0; i-- {
		b.events = append(b.events, store.Event{Sequence: i, Kind: "k", Message: fmt.Sprint(i)})
	}
	s := serveBackend(t, b)
	var seen []int64
	for next, pages := "", 0; ; pages++ {
		resp := get(t, s.URL+"/v1/events?limit=10&before="+next)
		if next == "" {
			resp = get(t, s.URL+"/v1/events?limit=10")
		}
		var list []wire.Event
		if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			seen = append(seen, e.Sequence)
		}
		if next = resp.Header.Get("X-Next"); next == "" {
			if pages != 2 {
				t.Errorf("%d pages", pages+1)
			}
			break
		}
	}
	if len(seen) != 25 || seen[0] != 25 || seen[24] != 1 {
		t.Errorf("%v", seen)
	}
}
