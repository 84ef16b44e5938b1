package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"understudy/internal/access"
	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/dr"
	"understudy/internal/store"
)

// backend answers what the tests ask; anything else panics on the nil interface.
type backend struct {
	Backend
	groups map[string]dr.Group
	err    error
	run    []store.Run
	asked  string
}

func (b *backend) Ready(context.Context) error { return b.err }

func (b *backend) CheckToken(_ context.Context, secret string) (access.Caller, error) {
	if secret != "right" {
		return access.Caller{}, dr.WithHint(errors.New("no such token"), dr.KindNotFound, "")
	}
	return access.Caller{Name: "admin", Grants: access.Grants{{Role: access.Admin, Scope: access.Everywhere}}}, nil
}

func (b *backend) Audit(context.Context, access.Entry) (store.AuditEntry, error) {
	return store.AuditEntry{}, nil
}

func (b *backend) Sites(context.Context) ([]dr.Site, error) { return nil, b.err }

func (b *backend) Group(_ context.Context, name string) (dr.Group, error) {
	g, ok := b.groups[name]
	if !ok {
		return g, dr.WithHint(fmt.Errorf("no group named %q", name), dr.KindNotFound, "understudy status")
	}
	return g, nil
}

func (b *backend) Protect(_ context.Context, g dr.Group) (dr.Group, error) {
	b.groups[g.Name] = g
	return g, b.err
}

func (b *backend) StartRun(_ context.Context, kind, group, point, by string) (store.Run, error) {
	b.asked = strings.Join([]string{kind, group, point, by}, " ")
	return store.Run{ID: "r1", Kind: kind, Group: group, State: store.RunPending}, b.err
}

func (b *backend) Run(_ context.Context, id string) (store.Run, []store.Step, error) {
	return store.Run{ID: id, Kind: "failover", Group: "shop", Input: json.RawMessage(`{"plan":{"name":"p","version":7}}`)}, nil, nil
}

func (b *backend) WatchRun(_ context.Context, id string, fn func(store.Run, []store.Step) error) error {
	for _, r := range b.run {
		if err := fn(r, []store.Step{{Name: "s", Title: "step", State: r.State}}); err != nil {
			return err
		}
	}
	return b.err
}

func serve(t *testing.T) (*backend, *httptest.Server, huma.API) {
	t.Helper()
	b := &backend{groups: map[string]dr.Group{}}
	h, a := New(b, Options{Version: "test"})
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return b, s, a
}

// serveBackend serves the API of a backend.
func serveBackend(t *testing.T, b Backend) *httptest.Server {
	t.Helper()
	h, _ := New(b, Options{Version: "test"})
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func call(t *testing.T, s *httptest.Server, method, path, token, body string) (int, http.Header, wire.Problem) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var p wire.Problem
	if resp.StatusCode >= 400 {
		if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
			t.Fatalf("%s %s: no problem: %v", method, path, err)
		}
	}
	return resp.StatusCode, resp.Header, p
}

// operations calls fn for every operation that the API has.
func operations(a huma.API, fn func(method, path string, op *huma.Operation)) {
	for path, item := range a.OpenAPI().Paths {
		for method, op := range map[string]*huma.Operation{
			"GET": item.Get, "PUT": item.Put, "POST": item.Post, "DELETE": item.Delete, "PATCH": item.Patch, "HEAD": item.Head, "OPTIONS": item.Options,
		} {
			if op != nil {
				fn(method, path, op)
			}
		}
	}
}

// Every operation refuses a request without the right token, before it looks at anything else. The nil backend would
// panic if one did not.
func TestDefaultDeny(t *testing.T) {
	_, s, a := serve(t)
	open := map[string]bool{"livez": true, "readyz": true, "login-methods": true, "bootstrap": true, "log-in": true, "oidc-login": true, opOIDCCallback: true}
	n := 0
	operations(a, func(method, path string, op *huma.Operation) {
		if open[op.OperationID] {
			return
		}
		n++
		path = strings.NewReplacer("{name}", "x", "{machine}", "y").Replace(path)
		for _, token := range []string{"", "wrong"} {
			status, header, p := call(t, s, method, path, token, "{}")
			if status != http.StatusUnauthorized || p.Kind != "unauthorised" || p.Hint == "" || header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s %s with token %q: %d %+v", method, path, token, status, p)
			}
		}
	})
	if n < 30 {
		t.Errorf("only %d operations were tried", n)
	}
}

func TestPublic(t *testing.T) {
	b, s, _ := serve(t)
	if status, _, _ := call(t, s, "GET", "/livez", "", ""); status != 200 {
		t.Errorf("livez: %d", status)
	}
	if status, _, _ := call(t, s, "GET", "/readyz", "", ""); status != 200 {
		t.Errorf("readyz: %d", status)
	}
	b.err = errors.New("disk gone")
	if status, _, p := call(t, s, "GET", "/readyz", "", ""); status != 503 || p.Detail != "disk gone" {
		t.Errorf("readyz: %d %+v", status, p)
	}
}

func TestProblems(t *testing.T) {
	b, s, _ := serve(t)
	for _, tt := range []struct {
		name, method, path, body string
		err                      error
		status                   int
		kind, location           string
	}{
		{"unknown path", "GET", "/nothing", "", nil, 404, "not-found", ""},
		{"unknown group", "GET", "/v1/groups/none", "", nil, 404, "not-found", ""},
		{"missing field", "POST", "/v1/groups/g/failover", `{}`, nil, 422, "invalid", "body"},
		{"wrong value", "POST", "/v1/groups/g/failover", `{"kind":"sudden"}`, nil, 422, "invalid", "body.kind"},
		{"unknown field", "POST", "/v1/groups/g/failover", `{"kind":"test","now":true}`, nil, 422, "invalid", "body.now"},
		{"no JSON", "POST", "/v1/groups/g/failover", `{`, nil, 400, "invalid", "body"},
		{"bad duration", "PUT", "/v1/policies", `{"name":"a","rpo":"soon","keep":"all for 1h"}`, nil, 422, "invalid", "body"},
		{"nested field", "POST", "/v1/groups", `{"name":"g","site":"s","vault":"v","machines":[{"order":1}]}`, nil, 422, "invalid", "body.machines[0]"},
		{"fenced", "GET", "/v1/sites", "", dr.WithHint(errors.New("e"), dr.KindFenced, "h"), 409, "fenced", ""},
		{"corrupt", "GET", "/v1/sites", "", dr.WithHint(errors.New("e"), dr.KindCorrupt, "h"), 500, "corrupt", ""},
		{"plain", "GET", "/v1/sites", "", errors.New("e"), 500, "internal", ""},
		{"gone", "GET", "/v1/sites", "", context.DeadlineExceeded, 503, "unavailable", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b.err = tt.err
			status, header, p := call(t, s, tt.method, tt.path, "right", tt.body)
			if status != tt.status || p.Status != tt.status || p.Kind != tt.kind || p.Title == "" || p.Detail == "" {
				t.Fatalf("%d %+v", status, p)
			}
			if ct := header.Get("Content-Type"); ct != "application/problem+json" {
				t.Errorf("content type %q", ct)
			}
			if tt.location == "" {
				return
			}
			if len(p.Errors) == 0 || p.Errors[0].Location != tt.location || p.Errors[0].Message == "" {
				t.Errorf("fields: %+v", p.Errors)
			}
		})
	}
}

// A page of another origin cannot use the API of a person's own machine.
func TestCrossOrigin(t *testing.T) {
	_, s, _ := serve(t)
	req, err := http.NewRequestWithContext(t.Context(), "POST", s.URL+"/v1/groups/g/pause", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer right")
	req.Header.Set("Origin", "https://elsewhere.example")
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("status %d", resp.StatusCode)
	}
}

// The document describes each operation once, with a security scheme, and every reference in it leads somewhere.
func TestOpenAPI(t *testing.T) {
	_, s, a := serve(t)
	resp, err := http.Get(s.URL + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var doc map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	if v, _ := doc["openapi"].(string); !strings.HasPrefix(v, "3.1") {
		t.Errorf("openapi %q", v)
	}
	ids := map[string]bool{}
	operations(a, func(method, path string, op *huma.Operation) {
		if op.OperationID == "" || ids[op.OperationID] || op.Summary == "" || len(op.Tags) != 1 {
			t.Errorf("%s %s: id %q, summary %q, tags %v", method, path, op.OperationID, op.Summary, op.Tags)
		}
		ids[op.OperationID] = true
		if op.Responses["default"] == nil || op.Responses["default"].Content["application/problem+json"] == nil {
			t.Errorf("%s %s describes no problem", method, path)
		}
	})
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok && !leads(doc, ref) {
				t.Errorf("reference %s leads nowhere", ref)
			}
			if v["type"] != nil {
				if types, ok := v["type"].([]any); ok {
					t.Errorf("a field has several types: %v", types)
				}
			}
			for _, x := range v {
				walk(x)
			}
		case []any:
			for _, x := range v {
				walk(x)
			}
		}
	}
	walk(doc)
}

func leads(doc map[string]any, ref string) bool {
	var at any = doc
	for part := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		m, ok := at.(map[string]any)
		if !ok {
			return false
		}
		at = m[part]
	}
	return at != nil
}

// What the client sends arrives, and what the backend says comes back with kind and hint.
func TestClient(t *testing.T) {
	b, s, _ := serve(t)
	ctx := t.Context()
	c := client.New(s.URL, "right")
	want := wire.Group{Name: "shop", Site: "east", Target: "west", Vault: "main", Policy: "gold", Machines: []wire.GroupMachine{
		{Name: "db", Order: 1, Probe: &wire.Probe{Kind: "tcp", Port: 7000, Timeout: wire.Duration(90e9)}}, {Name: "web"},
	}}
	if _, err := c.Protect(ctx, want); err != nil {
		t.Fatal(err)
	}
	got, err := c.ShowGroup(ctx, "shop")
	if err != nil || got.Machines[0].Probe == nil || *got.Machines[0].Probe != *want.Machines[0].Probe || got.Machines[1].Probe != nil {
		t.Errorf("%+v %v", got, err)
	}
	_, err = c.ShowGroup(ctx, "none")
	if dr.KindOf(err) != dr.KindNotFound || dr.Hint(err) != "understudy status" || err.Error() != `no group named "none"` {
		t.Errorf("%v, hint %q", err, dr.Hint(err))
	}
	if list, err := c.ListSites(ctx); err != nil || list == nil {
		t.Errorf("an empty list is %v, %v", list, err)
	}
	for kind, want := range map[string]string{"test": "test-failover", "planned": "planned-failover", "unplanned": "failover"} {
		if _, err := c.Failover(ctx, "shop", wire.Failover{Kind: kind, Point: "1-2"}); err != nil || b.asked != want+" shop 1-2 admin" {
			t.Errorf("%s: asked %q, %v", kind, b.asked, err)
		}
	}
	if _, err := client.New(s.URL, "wrong").ListSites(ctx); dr.KindOf(err) != dr.KindInvalid {
		t.Errorf("wrong token: %v", err)
	}
	s.Close()
	if _, err := c.ListSites(ctx); dr.KindOf(err) != dr.KindUnavailable || dr.Hint(err) == "" {
		t.Errorf("no server: %v", err)
	}
}

func TestWatch(t *testing.T) {
	b, s, _ := serve(t)
	c := client.New(s.URL, "right")
	b.run = []store.Run{{ID: "r1", State: store.RunRunning}, {ID: "r1", State: store.RunRunning}, {ID: "r1", State: store.RunSucceeded}}
	var seen []string
	err := c.Watch(t.Context(), "r1", func(r wire.Run) error {
		seen = append(seen, r.State+"/"+r.Steps[0].State)
		return nil
	})
	if got := strings.Join(seen, " "); err != nil || got != "running/running succeeded/succeeded" {
		t.Errorf("%s, %v", got, err)
	}
	// A stream that ends before the run does is an error that says how to come back.
	b.run = b.run[:1]
	err = c.Watch(t.Context(), "r1", func(wire.Run) error { return nil })
	if dr.KindOf(err) != dr.KindUnavailable || !strings.Contains(dr.Hint(err), "run watch r1") {
		t.Errorf("%v, hint %q", err, dr.Hint(err))
	}
	b.err = dr.WithHint(errors.New("no such run"), dr.KindNotFound, "understudy run list")
	b.run = nil
	err = c.Watch(t.Context(), "r2", func(wire.Run) error { return nil })
	if dr.KindOf(err) != dr.KindNotFound || dr.Hint(err) != "understudy run list" {
		t.Errorf("%v, hint %q", err, dr.Hint(err))
	}
}

// A path with dots or empty parts is none of an operation's: whoever was led to the path without them would have something else done.
func TestUncleanPaths(t *testing.T) {
	_, s, _ := serve(t)
	for _, at := range []string{"/v1/groups/shop/point-names/..", "/v1/groups/shop/.", "/v1//groups/shop", "/v1/groups/shop/"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, s.URL+at, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer right")
		resp, err := http.DefaultClient.Do(req) // which follows where it is led
		if err != nil {
			t.Errorf("%s: %v", at, err)
			continue
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", at, resp.Status)
		}
	}
}
