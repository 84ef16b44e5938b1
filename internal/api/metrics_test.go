package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"understudy/internal/dr"
	"understudy/internal/store"
)

// families are what /metrics of a controller tells.
func (w *world) families() map[string][]string {
	w.t.Helper()
	resp := w.get("/metrics")
	if resp.StatusCode != http.StatusOK {
		data, _ := io.ReadAll(resp.Body)
		w.t.Fatalf("status %d: %s", resp.StatusCode, data)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	list, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	all := map[string][]string{}
	for name, f := range list {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			slices.Sort(labels)
			value := m.GetGauge().GetValue() + m.GetCounter().GetValue()
			all[name] = append(all[name], fmt.Sprintf("%s %g", strings.Join(labels, " "), value))
		}
	}
	return all
}

func TestMetrics(t *testing.T) {
	w := newWorld(t, Options{})
	ctx := t.Context()
	for _, name := range []string{"east", "west"} {
		if err := w.c.AddSite(ctx, dr.Site{Name: name, Provider: "fake"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, _, err := w.c.AddVault(ctx, store.Vault{Name: "main", URL: t.TempDir() + "/vault"}, nil); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(ctx, w.dir+"/state.db", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.CreateGroup(ctx, dr.Group{Name: "shop", Site: "east", Target: "west", Vault: "main", Policy: "default", Machines: []dr.MachinePolicy{{Name: "db"}}}); err != nil {
		t.Fatal(err)
	}
	if err := s.PutStatuses(ctx, []store.GroupStatus{{Group: "shop", KnownGood: w.now().Add(-90 * time.Second), Updated: w.now()}}); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateRun(ctx, store.Run{ID: "r1", Kind: "drill", Group: "shop", State: store.RunRunning, Requested: w.now()}, func(p *store.Protection) error {
		p.State, p.ProvenAt, p.ProvenRTO = dr.StateProtected, w.now().Add(-time.Hour), 14*time.Second
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.c.VaultUsage(ctx, "main"); err != nil {
		t.Fatal(err)
	}
	// Another connection wrote, of which the controller does not know: something of its own makes it look again.
	if err := w.c.PutPolicy(ctx, dr.DefaultPolicy()); err != nil {
		t.Fatal(err)
	}
	got := w.families()
	for name, want := range map[string]string{
		"understudy_group_lag_seconds":        "group=shop 90",
		"understudy_group_rpo_seconds":        "group=shop 60",
		"understudy_group_rpo_met":            "group=shop 0",
		"understudy_group_proven_rto_seconds": "group=shop 14",
		"understudy_runs_active":              "kind=drill state=running 1",
		"understudy_group_info":               "group=shop policy=default site=east state=protected target=west vault=main 1",
		"understudy_groups":                   "health=warning 1",
		"understudy_group_health":             "group=shop health=warning 1",
		"understudy_vault_objects":            "vault=main 1",
	} {
		if !slices.Contains(got[name], want) {
			t.Errorf("%s: %v, not %s", name, got[name], want)
		}
	}
	// What has ended is counted for good, also when it is forgotten.
	for _, state := range []store.RunState{store.RunSucceeded, store.RunFailed} {
		if _, err := s.ChangeRun(ctx, "r1", func(r *store.Run) error { r.State, r.Ended = state, w.now(); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if removed, err := s.PruneRuns(ctx, w.now().Add(time.Hour), 0); err != nil || len(removed) != 1 {
		t.Fatalf("%v %v", removed, err)
	}
	if got := w.families()["understudy_runs_ended_total"]; !slices.Equal(got, []string{"kind=drill state=succeeded 1"}) {
		t.Errorf("runs that ended: %v", got)
	}
	problems, err := promlint.New(w.get("/metrics").Body).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%+v %v", problems, err)
	}
}

func TestLabelsAreEscaped(t *testing.T) {
	p, want := page{}, "a\\b\"c\nd \uFFFD é"
	p.put(vaultBytes, 1e21, "a\\b\"c\nd \xff é")
	var out bytes.Buffer
	p.write(&out)
	parser := expfmt.NewTextParser(model.LegacyValidation)
	list, err := parser.TextToMetricFamilies(&out)
	if err != nil {
		t.Fatal(err)
	}
	m := list[vaultBytes.name].GetMetric()[0]
	if m.GetLabel()[0].GetValue() != want || m.GetGauge().GetValue() != 1e21 {
		t.Errorf("%v", m)
	}
}

// metricTable is docs/metrics.md's list.
func metricTable() string {
	var b strings.Builder
	b.WriteString("| metric | kind | labels | |\n|---|---|---|---|\n")
	for _, m := range metricList {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.name, m.kind, strings.Join(m.labels, ", "), m.help)
	}
	return b.String()
}

func TestMetricsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	if table := metricTable(); !strings.Contains(string(doc), table) {
		t.Errorf("docs/metrics.md does not have this table:\n%s", table)
	}
}

// Every panel of the dashboard asks for metrics that exist, by labels that they have.
func TestDashboard(t *testing.T) {
	data, err := os.ReadFile("../../docs/grafana/understudy.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Templating struct{ List []struct{ Definition string } }
	}
	if err := json.Unmarshal(data, &board); err != nil {
		t.Fatal(err)
	}
	known := map[string]*metric{}
	for _, m := range metricList {
		known[m.name] = m
	}
	used := regexp.MustCompile(`(understudy_[a-z_]+)(?:\{([a-z]+)[=!])?`)
	check := func(where, expr string) {
		found := used.FindAllStringSubmatch(expr, -1)
		if len(found) == 0 {
			t.Errorf("%s: %q asks for nothing of ours", where, expr)
		}
		for _, f := range found {
			if m := known[f[1]]; m == nil {
				t.Errorf("%s: there is no %s", where, f[1])
			} else if f[2] != "" && !slices.Contains(m.labels, f[2]) {
				t.Errorf("%s: %s has no label %s", where, f[1], f[2])
			}
			if strings.Contains(expr, "rate("+f[1]) != strings.HasSuffix(f[1], "_total") && !strings.Contains(expr, "increase("+f[1]) {
				t.Errorf("%s: a rate is for what is counted: %s", where, expr)
			}
		}
	}
	if len(board.Panels) < 15 {
		t.Errorf("%d panels", len(board.Panels))
	}
	for _, p := range board.Panels {
		if len(p.Targets) == 0 {
			t.Errorf("%s is empty", p.Title)
		}
		for _, target := range p.Targets {
			check(p.Title, target.Expr)
		}
	}
	for _, v := range board.Templating.List {
		if v.Definition != "" {
			check("variable", v.Definition)
		}
	}
}
