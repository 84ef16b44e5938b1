package metrics

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/extension/collector"
)

// TestMain is the agent itself when a test started it.
func TestMain(m *testing.M) {
	if dir := os.Getenv("METRICS_AGENT_TEST_DIR"); dir != "" && len(os.Args) > 1 && os.Args[1] == Name {
		fmt.Fprintln(os.Stderr, testAgent(dir).Run(context.Background()))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func testAgent(dir string) Agent {
	return Agent{Dir: filepath.Join(dir, "data"), PIDFile: filepath.Join(dir, "pid"), Program: []string{os.Args[0], Name}}
}

func site(t *testing.T) (*collector.Collector, string) {
	t.Helper()
	c, err := collector.Open(collector.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.PutRule(collector.Rule{Name: "all", Seconds: 0.1}); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(c.Handler())
	t.Cleanup(s.Close)
	return c, s.URL
}

// register returns what an install handler gets.
func register(t *testing.T, c *collector.Collector, url string) string {
	t.Helper()
	r, err := c.Register("db", Name)
	if err == nil {
		err = c.Associate("db", Name, dr.Association{Name: "a", Rule: "all"})
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(map[string]any{"extension": Name, "machine": "db", "settings": map[string]string{"interval": "50ms"},
		"collector": map[string]string{"endpoint": url, "registration": r.ID, "token": r.Token}})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestLife installs the agent, moves it to a site that does not know it, and installs it again there.
func TestLife(t *testing.T) {
	if _, err := os.Stat("/proc/self/cmdline"); err != nil {
		t.Skip("the agent is for Linux guests")
	}
	dir := t.TempDir()
	t.Setenv("METRICS_AGENT_TEST_DIR", dir)
	a := testAgent(dir)
	t.Cleanup(func() {
		if err := a.stop(); err != nil {
			t.Error(err)
		}
	})
	handle := func(what, in string) map[string]any {
		t.Helper()
		var out bytes.Buffer
		if err := a.Handle(what, strings.NewReader(in), &out); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		var answer map[string]any
		if out.Len() > 0 {
			if err := json.Unmarshal(out.Bytes(), &answer); err != nil {
				t.Fatalf("%s: %q: %v", what, out.Bytes(), err)
			}
		}
		return answer
	}
	if d := handle("detect", "{}"); d["installed"] != false {
		t.Fatalf("%v", d)
	}
	handle("remove", "{}")

	east, url := site(t)
	handle("install", register(t, east, url))
	first := waitBeats(t, east, 2)
	if len(first.Metrics) != 3 || first.Version != Version {
		t.Fatalf("%+v", first)
	}
	d := handle("detect", "{}")
	if reg, _ := east.Registration("db", Name); d["installed"] != true || d["registration"] != reg.ID || d["version"] != Version {
		t.Fatalf("%v", d)
	}
	if s := handle("status", "{}"); s["status"] != "running" {
		t.Fatalf("%v", s)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "data", "settings.json")); err != nil || bytes.Contains(b, []byte("\n\n")) {
		t.Fatal(err)
	}

	// The site no longer knows it, as another site would not: it is refused, and says that it runs.
	if _, err := east.Register("db", Name); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); len(east.Refusals()) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not go on trying")
		}
	}
	if s := handle("status", "{}"); s["status"] != "running" {
		t.Fatalf("%v", s)
	}

	handle("remove", "{}")
	if s := handle("status", "{}"); s["status"] != "stopped" {
		t.Fatalf("%v", s)
	}
	handle("install", register(t, east, url))
	waitBeats(t, east, 2)
	handle("install", register(t, east, url)) // over itself
	waitBeats(t, east, 2)
	for _, bad := range []string{"", "{}", `{"collector":{"endpoint":"x","token":"y"},"settings":{"interval":"soon"}}`} {
		if err := a.Handle("install", strings.NewReader(bad), &bytes.Buffer{}); err == nil {
			t.Errorf("install took %q", bad)
		}
	}
}

func waitBeats(t *testing.T, c *collector.Collector, n uint64) collector.Heartbeat {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		r, err := c.Registration("db", Name)
		if err == nil && r.Heartbeat != nil && r.Heartbeat.Count >= n {
			return *r.Heartbeat
		}
		if time.Now().After(end) {
			t.Fatalf("no %d heartbeats: %+v, refused %+v", n, r, c.Refusals())
		}
	}
}
