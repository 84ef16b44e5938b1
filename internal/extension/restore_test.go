package extension

import (
	"context"
	"strings"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/extension/collector"
)

// TestTrap is S1: an agent that survives the copy of its disks, says it runs, and is dead at the new site.
func TestTrap(t *testing.T) {
	w := newWorld(t)
	w.machine("east", "db")
	w.install("east", "db", "agent")
	had := w.inventory("east", "db", nil)
	if len(had) != 1 || had[0].Status != dr.ExtensionHealthy || had[0].Heartbeat.IsZero() || had[0].Associations[0].Rule != "rule-east" {
		t.Fatalf("at east: %+v", had)
	}
	w.failover("db", "east", "west", "db")

	dead := w.inventory("west", "db", had)
	if len(dead) != 1 || dead[0].Status != dr.ExtensionUnresponsive || !strings.Contains(dead[0].Message, "says it is running, but the collector of west does not know it") {
		t.Fatalf("at west before: %+v", dead)
	}
	if len(dead[0].Associations) != 1 || dead[0].Associations[0].Rule != "rule-east" {
		t.Fatalf("what it must be associated with is forgotten: %+v", dead)
	}

	list := w.restore(dr.Machine{Name: "db", Extensions: Inventory(had)})
	if len(list) != 1 || list[0].Outcome != dr.ExtensionRestored || list[0].Heartbeat.IsZero() {
		t.Fatalf("restored: %+v", list)
	}
	t.Log(list[0].Reason)
	if !strings.Contains(list[0].Reason, "rule rule-east -> rule-west") {
		t.Errorf("the reason names no rules: %s", list[0].Reason)
	}
	now := w.inventory("west", "db", had)
	if now[0].Status != dr.ExtensionHealthy || now[0].Associations[0].Rule != "rule-west" {
		t.Fatalf("at west after: %+v", now)
	}
	reg, err := w.sites["west"].collector.Registration("db", "agent")
	if err != nil || reg.Heartbeat == nil || reg.Heartbeat.Received.Before(reg.Registered) {
		t.Fatalf("the collector of west: %+v %v", reg, err)
	}

	// Again: it is alive and left as it is.
	installs := w.sites["west"].count("db agent install")
	list = w.restore(dr.Machine{Name: "db", Extensions: Inventory(had)})
	if list[0].Outcome != dr.ExtensionAlreadyHealthy || w.sites["west"].count("db agent install") != installs {
		t.Fatalf("again: %+v", list)
	}
}

func TestRestoreCases(t *testing.T) {
	wanted := []dr.Extension{{Name: "agent", Associations: []dr.Association{{Name: "rule-east", Rule: "rule-east"}}}}
	for name, tt := range map[string]struct {
		prepare func(*world)
		machine dr.Machine
		outcome dr.RestoreOutcome
		reason  string
	}{
		"not there": {machine: dr.Machine{Name: "db", Extensions: wanted}, outcome: dr.ExtensionRestored, reason: "it is not installed; installed, registered, rule"},
		"seen absent before": {machine: dr.Machine{Name: "db", Extensions: []dr.Extension{{Name: "agent", Status: dr.ExtensionAbsent, Associations: wanted[0].Associations}}},
			outcome: dr.ExtensionRestored},
		"stopped": {prepare: func(w *world) {
			w.install("west", "db", "agent")
			w.stop("west", "db", "agent")
		}, machine: dr.Machine{Name: "db", Extensions: wanted}, outcome: dr.ExtensionRestored, reason: "says it is stopped: on purpose; removed and installed again"},
		"dissociated": {prepare: func(w *world) {
			w.install("west", "db", "agent")
			if err := w.sites["west"].collector.Dissociate("db", "agent", "rule-west"); err != nil {
				w.t.Fatal(err)
			}
		}, machine: dr.Machine{Name: "db", Extensions: []dr.Extension{{Name: "agent", Associations: []dr.Association{{Name: "x", Rule: "rule-east"}}}}},
			outcome: dr.ExtensionRestored, reason: "associated again with rule rule-east -> rule-west"},
		"rule of the same name": {machine: dr.Machine{Name: "db", Extensions: []dr.Extension{{Name: "agent", Associations: []dr.Association{{Name: "x", Rule: "rule-west"}}}}},
			outcome: dr.ExtensionRestored, reason: "rule rule-west"},
		"rule without counterpart": {machine: dr.Machine{Name: "db", Extensions: []dr.Extension{{Name: "agent", Associations: []dr.Association{{Name: "x", Rule: "other"}}}}},
			outcome: dr.ExtensionNotRestored, reason: "rule other has no counterpart at west"},
		"no rule": {machine: dr.Machine{Name: "db", Extensions: []dr.Extension{{Name: "agent"}}}, outcome: dr.ExtensionNotRestored, reason: "associated with no rule"},
		"not in the catalogue": {machine: dr.Machine{Name: "db", Extensions: []dr.Extension{{Name: "foreign"}}}, outcome: dr.ExtensionNotRestored,
			reason: "not in the catalogue (understudy extension catalogue add FILE)"},
		"no such machine": {machine: dr.Machine{Name: "ghost", Extensions: wanted}, outcome: dr.ExtensionNotRestored, reason: "no such machine"},
		"install fails, and says the token": {prepare: func(w *world) { w.sites["west"].fail["install"] = "no space for TOKEN" },
			machine: dr.Machine{Name: "db", Extensions: wanted}, outcome: dr.ExtensionNotRestored, reason: "the handler ended with 1: no space for ***"},
		"removal fails": {prepare: func(w *world) {
			w.install("west", "db", "agent")
			w.stop("west", "db", "agent")
			w.sites["west"].fail["remove"] = "busy"
		}, machine: dr.Machine{Name: "db", Extensions: wanted}, outcome: dr.ExtensionNotRestored, reason: "the handler ended with 1: busy"},
		"no collector": {prepare: func(w *world) { w.sites["west"].config.Config = nil }, machine: dr.Machine{Name: "db", Extensions: wanted},
			outcome: dr.ExtensionNotRestored, reason: "site west has no collector"},
		"collector away": {prepare: func(w *world) { w.sites["west"].server.Close() }, machine: dr.Machine{Name: "db", Extensions: wanted},
			outcome: dr.ExtensionNotRestored, reason: "collector at http"},
		"wrong token": {prepare: func(w *world) { w.t.Setenv("TOKEN_west", "wrong") }, machine: dr.Machine{Name: "db", Extensions: wanted},
			outcome: dr.ExtensionNotRestored, reason: "its administrator's token is another"},
		"guests do not reach the collector": {prepare: func(w *world) {
			w.sites["west"].mu.Lock()
			w.sites["west"].service = &agentProxy{"http://127.0.0.1:1"}
			w.sites["west"].mu.Unlock()
			e := w.cat["agent"]
			e.Heartbeat.Within = "50ms"
			w.cat["agent"] = e
		}, machine: dr.Machine{Name: "db", Extensions: wanted}, outcome: dr.ExtensionNotRestored,
			reason: "no fresh heartbeat arrived at the collector of west in 50ms (see that guests reach http://10.0.2.100:9100"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.machine("west", "db")
			if tt.prepare != nil {
				tt.prepare(w)
			}
			list := w.restore(tt.machine)
			if len(list) != 1 || list[0].Outcome != tt.outcome || !strings.Contains(list[0].Reason, tt.reason) {
				t.Fatalf("got %+v, want %s: %s", list, tt.outcome, tt.reason)
			}
			if (list[0].Outcome == dr.ExtensionNotRestored) != list[0].Heartbeat.IsZero() {
				t.Errorf("heartbeat %s of one that is %s", list[0].Heartbeat, list[0].Outcome)
			}
		})
	}
}

// TestRoundTrip goes to west and back within the age at which a heartbeat is stale: east remembers a young heartbeat of
// the same machine, which must not be taken for a sign of life.
func TestRoundTrip(t *testing.T) {
	w := newWorld(t)
	w.machine("east", "db")
	w.install("east", "db", "agent")
	atEast := w.inventory("east", "db", nil)
	w.failover("db", "east", "west", "db")
	w.restore(dr.Machine{Name: "db", Extensions: Inventory(atEast)})
	atWest := w.inventory("west", "db", atEast)
	w.failover("db", "west", "east", "db")

	reg, err := w.sites["east"].collector.Registration("db", "agent")
	if err != nil || reg.Heartbeat == nil || time.Since(reg.Heartbeat.Received) > dr.StaleHeartbeat {
		t.Fatalf("east should remember a young heartbeat: %+v %v", reg, err)
	}
	if now := w.inventory("east", "db", atEast); now[0].Status != dr.ExtensionUnresponsive {
		t.Fatalf("taken for alive: %+v", now)
	}
	list, err := w.m.Restore(t.Context(), Request{Source: "west", Target: "east", Machines: []dr.Machine{{Name: "db", Extensions: Inventory(atWest)}}})
	if err != nil || list[0].Outcome != dr.ExtensionRestored {
		t.Fatalf("%+v %v", list, err)
	}
	if now := w.inventory("east", "db", atEast); now[0].Status != dr.ExtensionHealthy || now[0].Associations[0].Rule != "rule-east" {
		t.Fatalf("back at east: %+v", now)
	}
}

func TestDependencies(t *testing.T) {
	w := newWorld(t)
	w.entry("base", "", "none")
	w.entry("top", "base", "none")
	w.machine("west", "db")
	order := func() (names []string) {
		for _, c := range w.sites["west"].calls {
			if name, ok := strings.CutSuffix(strings.TrimPrefix(c, "db "), " install"); ok {
				names = append(names, name)
			}
		}
		return names
	}
	m := dr.Machine{Name: "db", Extensions: []dr.Extension{{Name: "top", DependsOn: []string{"base"}}, {Name: "base"}}}
	list := w.restore(m)
	if len(list) != 2 || list[0].Extension != "base" || list[1].Outcome != dr.ExtensionRestored {
		t.Fatalf("%+v", list)
	}
	if got := order(); strings.Join(got, " ") != "base top" {
		t.Fatalf("installed in the order %v", got)
	}
	w.machine("west", "db") // anew
	w.sites["west"].fail["install"] = "no"
	list = w.restore(m)
	if list[1].Extension != "top" || list[1].Outcome != dr.ExtensionNotRestored || list[1].Reason != "it depends on base, which is not healthy" {
		t.Fatalf("%+v", list)
	}
}

// TestRehearsal changes nothing, neither in the machine nor at the collector, and finds what is missing.
func TestRehearsal(t *testing.T) {
	w := newWorld(t)
	w.machine("east", "db")
	w.install("east", "db", "agent")
	had := Inventory(w.inventory("east", "db", nil))
	w.failover("db", "east", "west", "db-test-r1")
	rehearse := func() dr.ExtensionResult {
		t.Helper()
		list, err := w.m.Restore(t.Context(), Request{Source: "east", Target: "west", Rehearsal: true,
			Machines: []dr.Machine{{Name: "db", Extensions: had}}, As: map[string]string{"db": "db-test-r1"}})
		if err != nil || len(list) != 1 {
			t.Fatalf("%+v %v", list, err)
		}
		return list[0]
	}
	if r := rehearse(); r.Outcome != dr.ExtensionReady || r.Machine != "db" {
		t.Fatalf("%+v", r)
	}
	if n := len(w.sites["west"].collector.Registrations()); n != 0 {
		t.Fatalf("a rehearsal registered %d agents", n)
	}
	if n := w.sites["west"].count("db-test-r1 agent remove"); n != 0 {
		t.Fatal("a rehearsal removed an extension")
	}
	w.sites["west"].config.Config[KeyRules] = ""
	if r := rehearse(); r.Outcome != dr.ExtensionNotRestored || !strings.Contains(r.Reason, "no counterpart") {
		t.Fatalf("a missing rule was not found: %+v", r)
	}
}

// TestInterrupted ends a restoration at every call of a handler; the next one heals what is left.
func TestInterrupted(t *testing.T) {
	for cut := 1; cut <= 5; cut++ {
		w := newWorld(t)
		w.machine("east", "db")
		w.install("east", "db", "agent")
		had := Inventory(w.inventory("east", "db", nil))
		w.failover("db", "east", "west", "db")
		ctx, stop := context.WithCancel(t.Context())
		calls := 0
		var hook func()
		hook = func() {
			if calls++; calls == cut {
				stop()
				return
			}
			w.sites["west"].OnNext("command", hook)
		}
		w.sites["west"].OnNext("command", hook)
		if list, err := w.m.Restore(ctx, Request{Source: "east", Target: "west", Machines: []dr.Machine{{Name: "db", Extensions: had}}}); err == nil && calls == cut {
			t.Fatalf("cut %d: no error: %+v", cut, list)
		}
		stop()
		if list := w.restore(dr.Machine{Name: "db", Extensions: had}); list[0].Outcome == dr.ExtensionNotRestored {
			t.Fatalf("cut %d: %+v", cut, list)
		}
		if now := w.inventory("west", "db", had); now[0].Status != dr.ExtensionHealthy {
			t.Fatalf("cut %d: %+v", cut, now)
		}
	}
}

func TestObserve(t *testing.T) {
	w := newWorld(t)
	w.machine("east", "db")
	if got := w.inventory("east", "db", nil); len(got) != 0 {
		t.Fatalf("nothing is installed: %+v", got)
	}
	w.install("east", "db", "agent")
	had := w.inventory("east", "db", nil)

	t.Run("a machine that does not answer keeps its inventory", func(t *testing.T) {
		w.sites["east"].fail["detect"] = "broken"
		defer delete(w.sites["east"].fail, "detect")
		got := w.inventory("east", "db", had)
		if len(got) != 1 || got[0].Status != dr.ExtensionUnknown || len(got[0].Associations) != 1 {
			t.Fatalf("%+v", got)
		}
	})
	t.Run("one that somebody removed is missed", func(t *testing.T) {
		w.machine("west", "bare")
		got := w.inventory("west", "bare", had)
		if len(got) != 1 || got[0].Status != dr.ExtensionAbsent || len(got[0].Associations) != 1 {
			t.Fatalf("%+v", got)
		}
	})
	t.Run("an old heartbeat", func(t *testing.T) {
		s := seen{Detected: Detected{Installed: true, Registration: "1"}, said: Said{Status: "running"}, now: time.Now(),
			registration: &collector.Registration{ID: "1", Associations: had[0].Associations, Heartbeat: &collector.Heartbeat{Received: time.Now().Add(-11 * time.Minute)}}}
		status, text := s.health(job{entry: w.cat["agent"]})
		if status != dr.ExtensionUnresponsive || text != "says it is running, but its last heartbeat arrived 11m0s ago" {
			t.Fatalf("%s %q", status, text)
		}
	})
	t.Run("inventories hold nothing that changes by itself", func(t *testing.T) {
		e := Inventory(had)[0]
		if e.Status != "" || e.Message != "" || !e.Heartbeat.IsZero() || e.Version != "1.0.0" {
			t.Fatalf("%+v", e)
		}
	})
	t.Run("removed for good", func(t *testing.T) {
		if err := w.m.Remove(t.Context(), "east", "db", "agent"); err != nil {
			t.Fatal(err)
		}
		if n := len(w.sites["east"].collector.Registrations()); n != 0 {
			t.Fatalf("%d registrations are left", n)
		}
	})
}

func TestProtectedSettings(t *testing.T) {
	w := newWorld(t)
	t.Setenv("API_KEY", "s3cret")
	e := w.cat["agent"]
	e.Protected = map[string]string{"key": "env:API_KEY"}
	w.cat["agent"] = e
	w.machine("west", "db")
	w.install("west", "db", "agent")
	var got Call
	for _, c := range w.sites["west"].seen {
		if c.Collector != nil {
			got = c
		} else if len(c.Protected) > 0 {
			t.Errorf("a handler that needs no secret got one: %+v", c)
		}
	}
	if got.Protected["key"] != "s3cret" || got.Settings["level"] != "info" {
		t.Fatalf("install got %+v", got)
	}
	for _, x := range w.inventory("west", "db", nil) {
		if x.Protected["key"] != "env:API_KEY" || x.Settings["key"] != "" {
			t.Fatalf("the inventory holds a secret: %+v", x)
		}
	}
	w.sites["west"].fail["install"] = "bad key s3cret"
	_, err := w.m.Install(t.Context(), Install{Site: "west", Machine: "db", Extension: "agent", Rules: []string{"rule-west"}})
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Fatalf("the error tells the secret: %v", err)
	}
	// Nor does an error that is cut within it, or that has it as the handler got it.
	t.Setenv("API_KEY", `sec"ret&value`)
	for _, said := range []string{"sec\"ret&value" + strings.Repeat("x", maxOutput-5), `{"key":"sec\"ret\u0026value"}`} {
		w.sites["west"].fail["install"] = said
		_, err := w.m.Install(t.Context(), Install{Site: "west", Machine: "db", Extension: "agent", Rules: []string{"rule-west"}})
		if err == nil || strings.Contains(err.Error(), "value") {
			t.Fatalf("the error tells the secret: %v", err)
		}
	}
}
