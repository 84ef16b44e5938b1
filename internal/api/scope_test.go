package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"understudy/internal/access"
	"understudy/internal/api/wire"
	"understudy/internal/dr"
	"understudy/internal/notify"
	"understudy/internal/store"
)

// twoTowns is a world with group shop at site east and group mail at site north, both with a past. What is of mail is newer,
// and there is more of it than a page holds.
func twoTowns(t *testing.T) *world {
	w := newWorld(t, Options{FourEyes: true})
	s, err := store.Open(t.Context(), w.dir+"/state.db", store.Options{Now: w.now})
	if err != nil {
		t.Fatal(err)
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(s.PutChannel(t.Context(), notify.Channel{Name: "hook", Kind: "webhook", URL: "http://127.0.0.1:1/"}))
	for _, name := range []string{"east", "north"} {
		check(s.CreateSite(t.Context(), dr.Site{Name: name, Provider: "fake"}))
	}
	check(s.CreateVault(t.Context(), store.Vault{Name: "main", URL: "file:///nowhere"}))
	at := w.now()
	for i, group := range []string{"shop", "mail"} {
		siteName := []string{"east", "north"}[i]
		w.machine(siteName, "vm-"+group)
		check(s.CreateGroup(t.Context(), dr.Group{Name: group, Site: siteName, Home: siteName, Target: siteName, Vault: "main", Policy: "default", Machines: []dr.MachinePolicy{{Name: "vm-" + group}}}))
		_, err := s.ChangeProtection(t.Context(), group, func(p *store.Protection) error { p.State, p.Test = dr.StateProtected, dr.TestNone; return nil })
		check(err)
		check(s.PutInventories(t.Context(), []store.Inventory{{Site: siteName, Machine: "vm-" + group, Observed: at}}))
		_, err = s.ChangeFence(t.Context(), siteName, "old-"+group, func(f *store.Fence) error { f.Group = group; return nil })
		check(err)
		for n := range 7 + 40*i {
			at = at.Add(time.Second)
			id := fmt.Sprintf("%s-%02d", group, n)
			check(s.CreateRun(t.Context(), store.Run{ID: id, Kind: "drill", Group: group, State: store.RunSucceeded, Requested: at, Ended: at}, func(*store.Protection) error { return nil }))
			_, err := s.AppendEvent(t.Context(), store.Event{Time: at, Kind: "run.ended", Group: group, Run: id, Message: "ended"})
			check(err)
			check(s.Tell(t.Context(), notify.Event{ID: id, Time: at, Group: group, Topic: notify.TopicLag, Subject: id}))
		}
		// Copies are of no group, and problems of monitors of no group but a site.
		input, err := json.Marshal(map[string]any{"clone": map[string]string{"site": siteName, "to": siteName}})
		check(err)
		check(s.CreateRun(t.Context(), store.Run{ID: "copy-" + siteName, Kind: "clone", State: store.RunSucceeded, Requested: at, Ended: at, Input: input}, nil))
		check(s.Tell(t.Context(), notify.Event{ID: "site-" + siteName, Time: at, Sites: []string{siteName}, Topic: notify.TopicLag}))
	}
	check(s.Close())
	w.reopen(Options{FourEyes: true})
	return w
}

// as is the token of a viewer of a scope.
func (w *world) as(scope string) string {
	w.t.Helper()
	name := "a-" + strings.NewReplacer(":", "-", "*", "all").Replace(scope)
	v, _, err := w.c.AddToken(w.t.Context(), name, access.Grants{{Role: access.Viewer, Scope: access.Scope(scope)}}, time.Hour, access.Caller{Name: "admin", Person: "admin"})
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

// pages reads a whole list by pages, which must be full but for the last, and returns what names its elements.
func (w *world) pages(token, path string, limit int, name string) (all []string, total string) {
	w.t.Helper()
	join := map[bool]string{true: "&", false: "?"}[strings.Contains(path, "?")]
	from := "after"
	if strings.HasPrefix(path, "/v1/events") {
		from = "before"
	}
	for next := ""; ; {
		url := fmt.Sprintf("%s%slimit=%d", path, join, limit)
		if next != "" {
			url += "&" + from + "=" + next
		}
		var list []map[string]any
		resp := w.ask(http.DefaultClient, "GET", url, nil, &list, "Authorization", "Bearer "+token)
		wantStatus(w.t, resp, 200)
		for _, v := range list {
			all = append(all, fmt.Sprint(v[name]))
		}
		total, next = resp.Header.Get("X-Total"), resp.Header.Get("X-Next")
		if next == "" {
			return all, total
		}
		if len(list) != limit {
			w.t.Fatalf("%s: a page of %d of %d that is not the last", path, len(list), limit)
		}
	}
}

// Whoever sees a part sees whole pages of it, counted as such, and nothing of the rest.
func TestScopedLists(t *testing.T) {
	w := twoTowns(t)
	for _, group := range []string{"mail", "shop"} { // makes approvals
		wantStatus(t, w.ask(http.DefaultClient, "DELETE", "/v1/groups/"+group, nil, nil, "Authorization", "Bearer "+w.file("token")), 202)
	}
	ofGroup, ofSite, everywhere := w.as("group:shop"), w.as("site:east"), w.as("*")
	for _, tt := range []struct {
		path, name                  string
		ofGroup, ofSite, everywhere int
	}{
		{"/v1/runs", "id", 7, 8, 7 + 47 + 2},
		{"/v1/runs?kind=clone", "id", 0, 1, 2},
		{"/v1/runs?group=mail", "id", 0, 0, 47},
		{"/v1/events?kind=run.", "run", 7, 7, 54},
		{"/v1/notifications", "subject", 7, 8, 7 + 47 + 2},
		{"/v1/notifications?group=mail", "subject", 0, 0, 47},
		{"/v1/groups", "name", 1, 1, 2},
		{"/v1/status", "group", 1, 1, 2},
		{"/v1/machines", "name", 1, 1, 2},
		{"/v1/drills", "group", 1, 1, 2},
		{"/v1/fences", "group", 1, 1, 2},
		{"/v1/extensions", "group", 1, 1, 2},
		{"/v1/approvals", "group", 1, 1, 2},
	} {
		for who, want := range map[string]int{ofGroup: tt.ofGroup, ofSite: tt.ofSite, everywhere: tt.everywhere} {
			limit := 5
			if want < 5 {
				limit = 1
			}
			list, total := w.pages(who, tt.path, limit, tt.name)
			if len(list) != want || total != "" && total != fmt.Sprint(want) {
				t.Errorf("%s: %d of %d, total %q: %v", tt.path, len(list), want, total, list)
			}
			foreign := func(v string) bool { return strings.Contains(v, "mail") || strings.Contains(v, "north") }
			if who != everywhere && slices.ContainsFunc(list, foreign) {
				t.Errorf("%s shows %v", tt.path, list)
			}
			if who == everywhere && want > 40 && total == "" && !strings.HasPrefix(tt.path, "/v1/events") {
				t.Errorf("%s: no total", tt.path)
			}
		}
	}
}

func TestScopedOverview(t *testing.T) {
	w := twoTowns(t)
	for scope, want := range map[string]int{"group:shop": 1, "site:east": 1, "site:west": 0, "*": 2} {
		var text json.RawMessage
		wantStatus(t, w.ask(http.DefaultClient, "GET", "/v1/overview", nil, &text, "Authorization", "Bearer "+w.as(scope)), 200)
		var o wire.Overview
		if err := json.Unmarshal(text, &o); err != nil || o.Groups != want {
			t.Errorf("%s: %d groups, %v", scope, o.Groups, err)
		}
		counted := o.Health.Healthy + o.Health.Warning + o.Health.Critical + o.Health.Unknown
		if counted != want || scope != "*" && strings.Contains(string(text), "mail") {
			t.Errorf("%s: %s", scope, text)
		}
	}
}

// What happens to a foreign group does not arrive, neither what is on record nor what happens now.
func TestScopedStream(t *testing.T) {
	w := twoTowns(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", w.url+"/v1/events/stream?after=0", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.as("group:shop"))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	next := messages(t, resp)
	var all []string
	until := func(what string) {
		for {
			m := next()
			all = append(all, m)
			if strings.Contains(m, what) {
				return
			}
		}
	}
	until("shop-06")
	for _, group := range []string{"mail", "shop"} {
		if err := w.admin().Unprotect(ctx, group); dr.KindOf(err) != dr.KindApproval {
			t.Fatalf("%s: %v", group, err)
		}
	}
	until("approval.wanted")
	for _, m := range all {
		if strings.Contains(m, "mail") {
			t.Errorf("arrived: %s", m)
		}
	}
	if len(all) < 8 {
		t.Errorf("only %d messages", len(all))
	}
}
