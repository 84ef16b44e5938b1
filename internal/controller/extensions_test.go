package controller

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/extension"
	"understudy/internal/extension/collector"
	"understudy/internal/recovery"
	"understudy/internal/site"
	"understudy/internal/site/fake"
	"understudy/internal/store"
)

const agentText = `name: agent
version: 1.0.0
heartbeat: {within: 5s}
handlers:
  fake: {detect: [agent, detect], status: [agent, status], install: [agent, install], remove: [agent, remove]}
`

// guests are the machines of both sites: what is installed on their disks, and their agents' heartbeats.
type guests struct {
	mu        sync.Mutex
	installed map[string]extension.Call // by site/machine
	collector map[string]*collector.Collector
}

// exec handles programs in the machines of a site.
func (g *guests) exec(s string) func(context.Context, string, site.Command) (site.CommandResult, error) {
	return func(_ context.Context, machine string, c site.Command) (site.CommandResult, error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		var call extension.Call
		if err := json.Unmarshal(c.Stdin, &call); err != nil {
			return site.CommandResult{}, err
		}
		at := s + "/" + machine
		have, ok := g.installed[at]
		var answer any
		switch c.Argv[1] {
		case "detect":
			d := extension.Detected{Installed: ok, Version: have.Version}
			if ok {
				d.Registration = have.Collector.Registration
			}
			answer = d
		case "status":
			answer = extension.Said{Status: "running"}
		case "install":
			g.installed[at] = call
		case "remove":
			delete(g.installed, at)
		}
		out, err := json.Marshal(answer)
		return site.CommandResult{Stdout: out}, err
	}
}

// beat sends the heartbeats of all machines to the collectors of their sites until ctx ends.
func (g *guests) beat(ctx context.Context) {
	for ; ctx.Err() == nil; time.Sleep(5 * time.Millisecond) { // the agents' own time
		g.mu.Lock()
		for at, call := range g.installed {
			s, machine, _ := strings.Cut(at, "/")
			_, _ = g.collector[s].Receive(call.Collector.Token, collector.Beat{Machine: machine, Extension: "agent"}) // agents are silent
		}
		g.mu.Unlock()
	}
}

// withCollectors gives both sites a collector with a rule of its own, and their machines agents that beat.
func withCollectors(t *testing.T, s *stage) *guests {
	t.Helper()
	g := &guests{installed: map[string]extension.Call{}, collector: map[string]*collector.Collector{}}
	for name, f := range map[string]*fake.Site{"east": s.east, "west": s.west} {
		dir := t.TempDir()
		c, err := collector.Open(collector.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		server := httptest.NewServer(c.Handler())
		t.Cleanup(server.Close)
		if err := c.PutRule(collector.Rule{Name: "rule-" + name, Seconds: 0.1}); err != nil {
			t.Fatal(err)
		}
		g.collector[name] = c
		f.Exec = g.exec(name)
		settings := map[string]string{extension.KeyURL: server.URL, extension.KeyToken: "file:" + filepath.Join(dir, collector.TokenFile)}
		if name == "west" {
			settings[extension.KeyRules] = "rule-east=rule-west"
		}
		if _, err := s.SetCollector(t.Context(), name, settings); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); g.beat(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	if _, err := s.AddExtensionEntry(t.Context(), "agent.yaml", agentText, "test"); err != nil {
		t.Fatal(err)
	}
	return g
}

// TestExtensionsSurviveFailover is S1 through the controller: recorded with the points, warned of, restored by a run.
func TestExtensionsSurviveFailover(t *testing.T) {
	s := setUp(t)
	ctx := t.Context()
	g := withCollectors(t, s)
	addMachine(t, s.east, "db")
	if at, err := s.InstallExtension(ctx, extension.Install{Site: "east", Machine: "db", Extension: "agent", Rules: []string{"rule-east"}}); err != nil || at == nil {
		t.Fatalf("%v %v", at, err)
	}
	if _, err := s.Protect(ctx, shop); err != nil {
		t.Fatal(err)
	}
	if err := s.ObserveExtensions(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sync(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	named, err := s.PointExtensions(ctx, "shop", "latest")
	if err != nil || len(named) != 1 || len(named[0].Extensions) != 1 || named[0].Extensions[0].Associations[0].Rule != "rule-east" || !named[0].Extensions[0].Heartbeat.IsZero() {
		t.Fatalf("%+v %v", named, err)
	}
	// A heartbeat makes no recovery point.
	points, err := s.Points(ctx, "shop")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ObserveExtensions(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	if res, err := s.Sync(ctx, "shop"); err != nil || res.Point != nil {
		t.Fatalf("after %d points, another one of nothing: %+v %v", len(points), res, err)
	}

	// The disks are copied with the agent on them, and the controller forgets nothing when it starts again.
	g.mu.Lock()
	g.installed["west/db"] = g.installed["east/db"]
	delete(g.installed, "east/db")
	g.mu.Unlock()
	run, err := s.StartRun(ctx, "failover", "shop", "", "test")
	if err != nil {
		t.Fatal(err)
	}
	s.reach(t, run, store.RunSucceeded)
	s.end()
	open(t, s)
	if err := s.ObserveExtensions(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	if st := status(t, s); !strings.Contains(st.Warning, "agent on db is unresponsive: says it is running, but the collector of west does not know it") || st.WarningHint != "understudy extension restore shop" {
		t.Fatalf("no warning: %q %q", st.Warning, st.WarningHint)
	}

	for _, rehearsal := range []bool{true, false} {
		run, err = s.RestoreExtensions(ctx, "shop", rehearsal, "test")
		if err != nil {
			t.Fatal(err)
		}
		run = s.reach(t, run, store.RunSucceeded)
		want := dr.ExtensionRestored
		if rehearsal {
			want = dr.ExtensionReady
		}
		var res struct{ Extensions []dr.ExtensionResult }
		if err := json.Unmarshal(run.Result, &res); err != nil || len(res.Extensions) != 1 || res.Extensions[0].Outcome != want {
			t.Fatalf("%s %v", run.Result, err)
		}
	}
	reg, err := g.collector["west"].Registration("db", "agent")
	if err != nil || reg.Heartbeat == nil || reg.Associations[0].Rule != "rule-west" {
		t.Fatalf("%+v %v", reg, err)
	}
	if st := status(t, s); st.Warning != "" {
		t.Fatalf("still warned: %q", st.Warning)
	}
	list, err := s.Extensions(ctx, "")
	if err != nil || len(list) != 1 || list[0].Site != "west" || list[0].Extensions[0].Status != dr.ExtensionHealthy {
		t.Fatalf("%+v %v", list, err)
	}

	// A rule that is gone makes the restoration fail, with the reason.
	g.mu.Lock()
	delete(g.installed, "west/db")
	g.mu.Unlock()
	if _, err := s.SetCollector(ctx, "west", map[string]string{extension.KeyURL: "", extension.KeyToken: "", extension.KeyRules: ""}); err != nil {
		t.Fatal(err)
	}
	if run, err = s.RestoreExtensions(ctx, "shop", false, "test"); err != nil {
		t.Fatal(err)
	}
	if run = s.reach(t, run, store.RunFailed); !strings.Contains(run.Error, "agent on db: site west has no collector") || run.Hint == "" {
		t.Fatalf("%q %q", run.Error, run.Hint)
	}
}

func TestRemovedExtensionIsForgotten(t *testing.T) {
	s := setUp(t)
	ctx := t.Context()
	g := withCollectors(t, s)
	addMachine(t, s.east, "db")
	if _, err := s.Protect(ctx, shop); err != nil {
		t.Fatal(err)
	}
	if _, err := s.InstallExtension(ctx, extension.Install{Site: "east", Machine: "db", Extension: "agent", Rules: []string{"rule-east"}}); err != nil {
		t.Fatal(err)
	}
	// Somebody takes it away in the machine: it is missed.
	g.mu.Lock()
	delete(g.installed, "east/db")
	g.mu.Unlock()
	if err := s.ObserveExtensions(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	list, err := s.Extensions(ctx, "shop")
	if err != nil || list[0].Extensions[0].Status != dr.ExtensionAbsent || len(list[0].Extensions[0].Associations) != 1 {
		t.Fatalf("%+v %v", list, err)
	}
	if err := s.RemoveExtension(ctx, "east", "db", "agent"); err != nil {
		t.Fatal(err)
	}
	if list, err = s.Extensions(ctx, "shop"); err != nil || len(list) != 1 || len(list[0].Extensions) != 0 {
		t.Fatalf("%+v %v", list, err)
	} // A recovery point still names it: a person who restores extensions does not get it back.
	was := []dr.Machine{{Name: "db", Extensions: []dr.Extension{{Name: "agent", Associations: []dr.Association{{Name: "rule-east", Rule: "rule-east"}}}}}}
	done, err := s.extensions.Restore(ctx, recovery.ExtensionRequest{Group: "shop", Source: "west", Target: "east", Machines: was, LastSeen: true})
	if err != nil || len(done) != 0 {
		t.Errorf("%+v %v", done, err)
	}
}

func TestCatalogue(t *testing.T) {
	s := setUp(t)
	ctx := t.Context()
	names := func() (list []string) {
		t.Helper()
		entries, err := s.ExtensionCatalogue(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			list = append(list, e.Name)
		}
		return list
	}
	if got := names(); len(got) != 1 || got[0] != "metrics-agent" {
		t.Fatalf("%v", got)
	}
	if _, err := s.AddExtensionEntry(ctx, "a.yaml", agentText+"dependsOn: [nothing]\n", "test"); dr.KindOf(err) != dr.KindInvalid {
		t.Fatal(err)
	}
	if e, err := s.AddExtensionEntry(ctx, "a.yaml", agentText, "test"); err != nil || e.Builtin || e.Text != agentText {
		t.Fatalf("%+v %v", e, err)
	}
	s.end()
	open(t, s)
	if got := names(); len(got) != 2 || got[0] != "agent" {
		t.Fatalf("after a restart: %v", got)
	}
	if err := s.RemoveExtensionEntry(ctx, "agent"); err != nil {
		t.Fatal(err)
	}
	for name, kind := range map[string]dr.Kind{"agent": dr.KindNotFound, "metrics-agent": dr.KindConflict} {
		if err := s.RemoveExtensionEntry(ctx, name); dr.KindOf(err) != kind {
			t.Errorf("remove %s: %v", name, err)
		}
	}
	if _, err := s.SetCollector(ctx, "west", map[string]string{extension.KeyURL: "nonsense"}); dr.KindOf(err) != dr.KindInvalid {
		t.Error(err)
	}
}
