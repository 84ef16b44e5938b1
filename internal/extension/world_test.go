package extension

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/extension/collector"
	"understudy/internal/site"
	"understudy/internal/site/fake"
)

// A world is two sites with a collector each, and machines with agents that beat every few milliseconds.
type world struct {
	t     *testing.T
	m     *Manager
	sites map[string]*worldSite
	cat   Catalogue
}

type worldSite struct {
	*fake.Site
	name      string
	config    dr.Site
	collector *collector.Collector
	server    *httptest.Server
	service   *agentProxy // what guests reach: the same address at every site

	mu     sync.Mutex
	guests map[string]*guest
	fail   map[string]string // handler to what it says before it ends with 1
	calls  []string
	seen   []Call
}

// agentProxy stands for the site's service at the address that guests know.
type agentProxy struct{ url string }

// A guest is what is on a machine's disks.
type guest struct {
	installed map[string]Call
	stopped   map[string]bool
}

const entryText = `name: %s
publisher: test
version: 1.0.0
dependsOn: [%s]
settings: {level: info}
heartbeat: {from: %s, within: 2s}
handlers:
  fake: {detect: [%[1]s, detect], status: [%[1]s, status], install: [%[1]s, install], remove: [%[1]s, remove], timeout: 5s}
`

func newWorld(t *testing.T) *world {
	w := &world{t: t, sites: map[string]*worldSite{}, cat: Catalogue{}}
	w.entry("agent", "", "collector")
	for _, name := range []string{"east", "west"} {
		s := &worldSite{Site: fake.New(name), name: name, guests: map[string]*guest{}, fail: map[string]string{}}
		dir := t.TempDir()
		var err error
		if s.collector, err = collector.Open(collector.Config{Dir: dir}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.collector.Close() })
		s.server = httptest.NewServer(s.collector.Handler())
		t.Cleanup(s.server.Close)
		s.service = &agentProxy{s.server.URL}
		token, err := os.ReadFile(filepath.Join(dir, collector.TokenFile))
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv("TOKEN_"+name, strings.TrimSpace(string(token)))
		s.config = dr.Site{Name: name, Provider: "fake", Config: map[string]string{
			KeyURL: s.server.URL, KeyToken: "env:TOKEN_" + name, KeyEndpoint: "http://10.0.2.100:9100",
		}}
		if err := s.collector.PutRule(collector.Rule{Name: "rule-" + name, Seconds: 0.1}); err != nil {
			t.Fatal(err)
		}
		s.Exec = s.exec
		w.sites[name] = s
	}
	w.sites["west"].config.Config[KeyRules] = "rule-east=rule-west"
	w.sites["east"].config.Config[KeyRules] = "rule-west=rule-east"
	w.m = New(Options{
		Driver: func(_ context.Context, name string) (site.Driver, error) { return w.sites[name].Site, nil },
		Site: func(_ context.Context, name string) (dr.Site, error) {
			if s := w.sites[name]; s != nil {
				return s.config, nil
			}
			return dr.Site{}, dr.WithHint(errors.New("no such site"), dr.KindNotFound, "")
		},
		Catalogue: func(context.Context) (Catalogue, error) { return w.cat, nil },
		Poll:      2 * time.Millisecond, Patience: 50 * time.Millisecond,
	})
	ctx, stop := context.WithCancel(context.Background())
	var beating sync.WaitGroup
	beating.Go(func() {
		for ctx.Err() == nil {
			for _, s := range w.sites {
				s.beat()
			}
			time.Sleep(3 * time.Millisecond) // the agents' own time
		}
	})
	t.Cleanup(func() { stop(); beating.Wait() })
	return w
}

func (w *world) entry(name, dependsOn, from string) {
	w.t.Helper()
	e, err := Parse(name+".yaml", []byte(fmt.Sprintf(entryText, name, dependsOn, from)))
	if err != nil {
		w.t.Fatal(err)
	}
	w.cat[name] = e
}

// machine adds a machine that runs at a site.
func (w *world) machine(s, name string) *guest {
	ws := w.sites[s]
	ws.AddMachine(dr.Machine{Name: name, Agent: true, Power: dr.PowerOn})
	g := &guest{installed: map[string]Call{}, stopped: map[string]bool{}}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.guests[name] = g
	return g
}

// stop ends an agent in a machine.
func (w *world) stop(s, machine, name string) {
	w.sites[s].mu.Lock()
	defer w.sites[s].mu.Unlock()
	w.sites[s].guests[machine].stopped[name] = true
}

// failover copies the disks of a machine to the other site and starts it there.
func (w *world) failover(name, from, to, as string) *guest {
	old := w.sites[from].guests[name]
	g := w.machine(to, as)
	w.sites[to].mu.Lock()
	g.installed = maps.Clone(old.installed)
	w.sites[to].mu.Unlock()
	w.sites[from].mu.Lock()
	delete(w.sites[from].guests, name)
	w.sites[from].mu.Unlock()
	return g
}

// beat has every agent of the site's machines send a heartbeat to whatever the site has at the guests' address.
func (s *worldSite) beat() {
	type one struct {
		call Call
		name string
	}
	s.mu.Lock()
	var all []one
	for _, g := range s.guests {
		for name, call := range g.installed {
			if call.Collector != nil && !g.stopped[name] {
				all = append(all, one{call, name})
			}
		}
	}
	url := s.service.url
	s.mu.Unlock()
	for _, b := range all {
		body, _ := json.Marshal(collector.Beat{Machine: b.call.Machine, Extension: b.name, Version: b.call.Version})
		req, _ := http.NewRequest("POST", url+"/v1/heartbeats", bytes.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+b.call.Collector.Token)
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
		}
	}
}

// exec is the guest's side of the handlers.
func (s *worldSite) exec(_ context.Context, machine string, c site.Command) (site.CommandResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, what := c.Argv[0], c.Argv[1]
	s.calls = append(s.calls, machine+" "+name+" "+what)
	var call Call
	if err := json.Unmarshal(c.Stdin, &call); err != nil {
		return site.CommandResult{}, err
	}
	s.seen = append(s.seen, call)
	if text, ok := s.fail[what]; ok {
		if call.Collector != nil {
			text = strings.ReplaceAll(text, "TOKEN", call.Collector.Token)
		}
		return site.CommandResult{ExitCode: 1, Stderr: []byte(text)}, nil
	}
	g := s.guests[machine]
	var answer any
	switch what {
	case "detect":
		have, ok := g.installed[name]
		d := Detected{Installed: ok, Version: have.Version, Settings: have.Settings}
		if have.Collector != nil {
			d.Registration = have.Collector.Registration
		}
		answer = d
	case "status":
		answer = Said{Status: "running"}
		if g.stopped[name] {
			answer = Said{Status: "stopped", Message: "on purpose"}
		}
	case "install":
		g.installed[name] = call
		delete(g.stopped, name)
	case "remove":
		delete(g.installed, name)
	}
	out, err := json.Marshal(answer)
	return site.CommandResult{Stdout: out}, err
}

// count is how often a handler ran.
func (s *worldSite) count(call string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		if c == call {
			n++
		}
	}
	return n
}

// inventory observes a machine.
func (w *world) inventory(s, machine string, before []dr.Extension) []dr.Extension {
	w.t.Helper()
	found, err := w.m.Observe(w.t.Context(), s, []string{machine}, map[string][]dr.Extension{machine: before})
	if err != nil {
		w.t.Fatal(err)
	}
	return found[machine]
}

// restore restores machines of east at west.
func (w *world) restore(machines ...dr.Machine) []dr.ExtensionResult {
	w.t.Helper()
	list, err := w.m.Restore(w.t.Context(), Request{Source: "east", Target: "west", Machines: machines, Say: w.t.Logf})
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// install installs an extension at a site.
func (w *world) install(s, machine, name string) {
	w.t.Helper()
	if _, err := w.m.Install(w.t.Context(), Install{Site: s, Machine: machine, Extension: name, Rules: []string{"rule-" + s}}); err != nil {
		w.t.Fatal(err)
	}
}
