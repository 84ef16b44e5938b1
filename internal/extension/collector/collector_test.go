package collector

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"understudy/internal/dr"
)

func open(t *testing.T, dir string) *Collector {
	t.Helper()
	c, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func serve(t *testing.T, c *Collector) *Client {
	t.Helper()
	s := httptest.NewServer(c.Handler())
	t.Cleanup(s.Close)
	return NewClient(s.URL, func() (string, error) { return c.admin, nil })
}

func beat(t *testing.T, base, token, machine string) int {
	t.Helper()
	req, err := http.NewRequest("POST", base+"/v1/heartbeats", strings.NewReader(fmt.Sprintf(`{"machine":%q,"extension":"agent","metrics":{"load1":0.5}}`, machine)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// TestOnlyTheKnown: heartbeats count from agents that are registered here and associated, and from no others.
func TestOnlyTheKnown(t *testing.T) {
	c := serve(t, open(t, t.TempDir()))
	ctx := t.Context()
	if err := c.PutRule(ctx, Rule{Name: "web", Seconds: 60}); err != nil {
		t.Fatal(err)
	}
	if got := beat(t, c.base, "stranger", "db"); got != 401 {
		t.Fatalf("a stranger: %d", got)
	}
	if all, err := c.Registrations(ctx); err != nil || len(all.Refused) != 1 || all.Refused[0].Machine != "db" || all.Refused[0].Count != 1 {
		t.Fatalf("refused: %+v %v", all.Refused, err)
	}
	first, err := c.Register(ctx, "db", "agent")
	if err != nil || first.Token == "" || first.ID == "" {
		t.Fatalf("%+v %v", first, err)
	}
	if got := beat(t, c.base, first.Token, "db"); got != 403 {
		t.Fatalf("registered, not associated: %d", got)
	}
	if err := c.Associate(ctx, "db", "agent", dr.Association{Name: "a", Rule: "none"}); dr.KindOf(err) != dr.KindNotFound {
		t.Fatalf("a rule that does not exist: %v", err)
	}
	if err := c.Associate(ctx, "web", "agent", dr.Association{Name: "a", Rule: "web"}); dr.KindOf(err) != dr.KindNotFound {
		t.Fatalf("a machine that is not registered cannot be associated: %v", err)
	}
	if err := c.Associate(ctx, "db", "agent", dr.Association{Name: "a", Rule: "web"}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := beat(t, c.base, first.Token, "whoever it says"); got != 200 {
			t.Fatalf("known: %d", got)
		}
	}
	all, err := c.Registrations(ctx)
	if err != nil || len(all.Registrations) != 1 || all.Now.IsZero() {
		t.Fatalf("%+v %v", all, err)
	}
	r := all.Registrations[0]
	if r.Heartbeat == nil || r.Heartbeat.Count != 2 || r.Token != "" || r.Heartbeat.Metrics["load1"] != 0.5 {
		t.Fatalf("%+v", r)
	}
	if len(all.Refused) != 0 {
		t.Fatalf("refused, although it is accepted now: %+v", all.Refused)
	}
	if err := c.DeleteRule(ctx, "web"); dr.KindOf(err) != dr.KindConflict {
		t.Fatalf("a rule in use was removed: %v", err)
	}

	second, err := c.Register(ctx, "db", "agent")
	if err != nil || second.ID == first.ID || second.Token == first.Token || len(second.Associations) != 1 || second.Heartbeat != nil {
		t.Fatalf("registered anew: %+v %v", second, err)
	}
	if got := beat(t, c.base, first.Token, "db"); got != 401 {
		t.Fatalf("the former token: %d", got)
	}
	if got := beat(t, c.base, second.Token, "db"); got != 200 {
		t.Fatalf("the new token: %d", got)
	}
	if err := errors.Join(c.Dissociate(ctx, "db", "agent", "a"), c.Unregister(ctx, "db", "agent"), c.Unregister(ctx, "db", "agent"), c.DeleteRule(ctx, "web")); err != nil {
		t.Fatal(err)
	}
	if got := beat(t, c.base, second.Token, "db"); got != 401 {
		t.Fatalf("unregistered: %d", got)
	}
}

func TestAdministrators(t *testing.T) {
	c := serve(t, open(t, t.TempDir()))
	agent, err := c.Register(t.Context(), "db", "agent")
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{"", "wrong", agent.Token} {
		other := NewClient(c.base, func() (string, error) { return token, nil })
		if _, err := other.Registrations(t.Context()); err == nil || dr.KindOf(err) != dr.KindInvalid {
			t.Errorf("token %q: %v", token, err)
		}
	}
	for _, name := range []string{"", "a b", "../x", strings.Repeat("x", 64)} {
		if _, err := c.Register(t.Context(), name, "agent"); err == nil {
			t.Errorf("machine %q was registered", name)
		}
	}
	if err := c.PutRule(t.Context(), Rule{Name: "r", Seconds: 0}); dr.KindOf(err) != dr.KindInvalid {
		t.Errorf("an interval of nothing: %v", err)
	}
	if _, err := NewClient("http://127.0.0.1:1", func() (string, error) { return "x", nil }).Rules(t.Context()); dr.KindOf(err) != dr.KindUnavailable || dr.Hint(err) == "" {
		t.Errorf("nothing listens: %v", err)
	}
	resp, err := http.Post(c.base+"/v1/heartbeats", "application/json", bytes.NewReader(make([]byte, maxBody+1)))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 422 {
		t.Errorf("a large heartbeat: %d", resp.StatusCode)
	}
}

// TestCrash: what was answered is there after a crash, without an end in order.
func TestCrash(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir)
	if err := c.PutRule(Rule{Name: "web", Seconds: 1}); err != nil {
		t.Fatal(err)
	}
	r, err := c.Register("db", "agent")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Associate("db", "agent", dr.Association{Name: "a", Rule: "web"}); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: dir}); dr.KindOf(err) != dr.KindConflict {
		t.Fatalf("two on one folder: %v", err)
	}
	if err := c.held.Close(); err != nil { // what a crash does
		t.Fatal(err)
	}
	again := open(t, dir)
	if again.admin != c.admin {
		t.Error("another administrator's token")
	}
	rules, err := again.Receive(r.Token, Beat{Machine: "db", Extension: "agent"})
	if err != nil || len(rules) != 1 || rules[0].Name != "web" {
		t.Fatalf("%+v %v", rules, err)
	}
	if err := again.Close(); err != nil { // in order: heartbeats are saved
		t.Fatal(err)
	}
	third := open(t, dir)
	if got, err := third.Registration("db", "agent"); err != nil || got.Heartbeat == nil || got.Heartbeat.Count != 1 {
		t.Fatalf("%+v %v", got, err)
	}
	data, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil || bytes.Contains(data, []byte(r.Token)) {
		t.Fatalf("the token is on the disk: %v", err)
	}
	if st, err := os.Stat(filepath.Join(dir, stateFile)); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", st.Mode(), err)
	}
}

// TestFullDisk: what cannot be saved is not done.
func TestFullDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	c := open(t, dir)
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Register("db", "agent"); dr.KindOf(err) != dr.KindUnavailable {
		t.Fatalf("%v", err)
	}
	if len(c.Registrations()) != 0 {
		t.Fatal("it is registered all the same")
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
}

func TestDamage(t *testing.T) {
	for text, kind := range map[string]dr.Kind{
		"{": dr.KindCorrupt, `{"version":2}`: dr.KindConflict, `{"version":1,"registrations":[{"machine":"a","extension":"b"}]}`: dr.KindCorrupt,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, stateFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Config{Dir: dir}); dr.KindOf(err) != kind || dr.Hint(err) == "" {
			t.Errorf("%s: %v", text, err)
		}
		// Nothing holds the folder after a refusal.
		if held, err := lock(filepath.Join(dir, lockFile)); err != nil {
			t.Error(err)
		} else {
			held.Close()
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	c := open(t, t.TempDir())
	if err := c.PutRule(Rule{Name: "web", Seconds: 1}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var saving, wg sync.WaitGroup
	saving.Go(func() { c.Run(ctx) })
	for i := range 8 {
		wg.Go(func() {
			name := fmt.Sprintf("m%d", i%3)
			for range 10 {
				r, err := c.Register(name, "agent")
				if err != nil {
					t.Error(err)
					return
				}
				if err := c.Associate(name, "agent", dr.Association{Name: "a", Rule: "web"}); err != nil {
					t.Error(err)
				}
				_, err = c.Receive(r.Token, Beat{})
				if err != nil && !errors.Is(err, errUnknown) && !errors.Is(err, errUnassociated) {
					t.Error(err)
				}
				c.Refusals()
			}
		})
	}
	wg.Wait()
	stop()
	saving.Wait()
	if n := len(c.Registrations()); n != 3 {
		t.Errorf("%d registrations", n)
	}
}

// TestRefusalsAreBounded: strangers do not fill the memory.
func TestRefusalsAreBounded(t *testing.T) {
	c := open(t, t.TempDir())
	for i := range maxRefusals + 10 {
		if _, err := c.Receive("x", Beat{Machine: fmt.Sprintf("m%d", i), Extension: "agent"}); !errors.Is(err, errUnknown) {
			t.Fatal(err)
		}
	}
	if n := len(c.Refusals()); n != maxRefusals {
		t.Errorf("%d refusals are remembered", n)
	}
	if _, err := c.Receive("x", Beat{Machine: "bad name\n", Extension: "agent"}); !errors.Is(err, errUnknown) {
		t.Fatal(err)
	}
	if c.Refusals()[0].Last.After(time.Now()) {
		t.Error("from the future")
	}
}
