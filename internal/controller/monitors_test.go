package controller

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/notify"
	"understudy/internal/site"
	"understudy/internal/site/fake"
	"understudy/internal/store"
)

// updates is a site that is updated.
type updates struct {
	*fake.Site
	mu   sync.Mutex
	list []site.Operation
	err  error

	way   string // that tells although there is an error
	known []site.Operation
}

func (u *updates) Operations(_ context.Context, known []site.Operation) (site.Answer, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.known = known
	switch {
	case u.err != nil && u.way == "":
		return site.Answer{}, u.err
	case u.err != nil:
		return site.Answer{Way: u.way, Operations: u.list}, u.err
	}
	return site.Answer{Way: "API", Operations: u.list}, nil
}

func (u *updates) set(state string, outcome site.Outcome, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.list, u.err = []site.Operation{{ID: "run/1", Title: "Run", State: state, Outcome: outcome}}, err
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

// TestMonitor: each change of an update arrives, and is told once, although the receiver is down and the controller is
// started again.
func TestMonitor(t *testing.T) {
	var mu sync.Mutex
	down, got := true, map[string]notify.Event{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if down {
			http.Error(w, "down", http.StatusBadGateway)
			return
		}
		var e notify.Event
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
			t.Error(err)
		}
		got[e.ID] = e
	}))
	defer server.Close()
	s := setUp(t)
	s.end()
	u := &updates{Site: fake.New("stack")}
	u.set("InProgress", site.OutcomeRunning, nil)
	usual := s.cfg.OpenSite
	s.cfg.OpenSite = func(v dr.Site) (site.Driver, error) {
		if v.Name == "stack" {
			return u, nil
		}
		return usual(v)
	}
	open(t, s)
	ctx := t.Context()
	if err := s.AddSite(ctx, dr.Site{Name: "stack", Provider: "fake"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddMonitor(ctx, store.Monitor{Name: "east", Site: "east"}); dr.KindOf(err) != dr.KindInvalid || dr.Hint(err) == "" {
		t.Errorf("a site without operations: %v", err)
	}
	if err := s.PutChannel(ctx, notify.Channel{Name: "ops", Kind: notify.Webhook, URL: server.URL}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddMonitor(ctx, store.Monitor{Name: "stack", Site: "stack", Every: time.Second, Patience: 2}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddMonitor(ctx, store.Monitor{Name: "stack", Site: "stack"}); dr.KindOf(err) != dr.KindConflict {
		t.Errorf("twice: %v", err)
	}
	state := func() store.Monitor {
		list, err := s.Monitors(ctx)
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		return list[0]
	}
	eventually(t, "the first look", func() bool { return state().State.Known })
	u.set("Succeeded", site.OutcomeSucceeded, nil)
	eventually(t, "the attempt to tell of the success", func() bool {
		list, err := s.Notifications(ctx, store.NotificationFilter{State: store.NotificationWaiting})
		return err == nil && len(list) == 1 && list[0].Attempts > 0 && strings.Contains(list[0].Problem, "502")
	})
	u.set("Succeeded", site.OutcomeSucceeded, errors.New("the fabric is down"))
	if _, err := s.TestMonitor(ctx, "stack"); err == nil || !strings.Contains(err.Error(), "the fabric is down") {
		t.Errorf("nobody tells anything: %v", err)
	}
	u.mu.Lock()
	u.way = "another way"
	u.mu.Unlock()
	if l, err := s.TestMonitor(ctx, "stack"); err != nil || l.Err == nil || l.Answer.Way != "another way" || len(l.Answer.Operations) != 1 {
		t.Errorf("another way: %+v %v", l, err)
	}
	eventually(t, "what another way told", func() bool { return state().State.Way == "another way" })
	u.mu.Lock()
	if len(u.known) != 1 || u.known[0].ID != "run/1" {
		t.Errorf("the site is told of %+v", u.known)
	}
	u.mu.Unlock()
	eventually(t, "the alarm", func() bool { return state().State.Alarm })

	s.end()
	mu.Lock()
	down = false
	mu.Unlock()
	u.set("Failed", site.OutcomeFailed, nil)
	s.cfg.Now = func() time.Time { return time.Now().Add(2 * time.Hour) } // what waits for its next attempt is due
	open(t, s)
	eventually(t, "everything to arrive", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(got) == 4
	})
	mu.Lock()
	defer mu.Unlock()
	for id, kind := range map[string]notify.Kind{"stack-1": notify.Success, "stack-2": notify.Problem, "stack-3": notify.Resolved, "stack-4": notify.Failure} {
		if got[id].Kind != kind {
			t.Errorf("%s: %+v, want %s", id, got[id], kind)
		}
	}
	if list, err := s.Notifications(ctx, store.NotificationFilter{}); err != nil || len(list) != 4 {
		t.Errorf("%d notifications, want 4: %v", len(list), err)
	}
}
