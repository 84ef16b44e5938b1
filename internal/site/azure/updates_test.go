package azure_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/monitor"
	"understudy/internal/notify"
	"understudy/internal/site"
	"understudy/internal/site/azure"
	"understudy/internal/site/azure/pep"
	"understudy/test/azsim/sim"
	"understudy/test/pepsim"
)

const update = "Microsoft1.2309.0.42"

// stack starts an Azure Stack Hub with an update that is installed.
func stack(t *testing.T, hosts ...string) (*sim.Sim, *azure.Site) {
	t.Helper()
	s := sim.Start(t, sim.Options{Regions: []string{"redmond"}})
	for k, v := range s.Env() {
		t.Setenv(k, v)
	}
	for _, err := range []error{s.Stack("redmond"), s.Update("redmond", "Microsoft1.2301.2.58", "1.2301.2.58", "Installed"), s.Update("redmond", update, "1.2309.0.42", "Installing")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	c := s.Config("redmond", "System.redmond")
	cfg := azure.Config{Name: "stack", Dir: t.TempDir(), Subscription: c["subscription"], Tenant: c["tenant"], Group: "System.redmond", Cloud: "custom",
		Endpoint: c["endpoint"], Authority: c["authority"], CA: c["ca"], Updates: "redmond"}
	if len(hosts) > 0 {
		cfg.PEP = &pep.Config{Hosts: hosts, User: cloudAdmin.Domain + `\` + cloudAdmin.User, Secret: func() (string, error) { return cloudAdmin.Password, nil }}
	}
	d, err := azure.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s, d
}

func by(list []site.Operation) map[string]site.Operation {
	out := map[string]site.Operation{}
	for _, o := range list {
		out[o.ID] = o
	}
	return out
}

func TestOperations(t *testing.T) {
	s, d := stack(t)
	steps := map[string]any{"name": "", "status": "InProgress", "steps": []any{
		map[string]any{"name": "Prepare", "status": "Success", "startTimeUtc": "2026-11-22T10:00:00Z", "endTimeUtc": "2026-11-22T10:30:00Z"},
		map[string]any{"name": "Update hosts", "status": "InProgress", "steps": []any{
			map[string]any{"name": "Host 3", "status": "Error", "errorMessage": "it did not come back", "steps": []any{}}}}}}
	if err := s.UpdateRun("redmond", update, "run-1", "Failed", "PT2H12M5.45S", steps); err != nil {
		t.Fatal(err)
	}
	if err := s.Alert("redmond", "a1", "Update needs attention.", "Active"); err != nil {
		t.Fatal(err)
	}
	states := map[string]site.Outcome{"Ready": site.OutcomeWaiting, "NotApplicableBecauseAnotherUpdateIsInProgress": site.OutcomeWaiting, "HealthChecking": site.OutcomeRunning,
		"DownloadFailed": site.OutcomeFailed, "InstallationFailed": site.OutcomeFailed}
	for state := range states {
		if err := s.Update("redmond", state, "1.0", state); err != nil {
			t.Fatal(err)
		}
	}
	answer, err := d.Operations(t.Context(), nil)
	if err != nil || len(answer.Operations) != 5+len(states) || answer.Way != "administrator's API" {
		t.Fatalf("%+v %v", answer, err)
	}
	by := by(answer.Operations)
	for state, want := range states {
		if o := by["update/"+state]; o.Outcome != want || o.Summary {
			t.Errorf("%s: %+v", state, o)
		}
	}
	o := by["run/run-1"]
	if o.Outcome != site.OutcomeFailed || o.Step != "Update hosts > Host 3" || o.Message != "it did not come back" || o.Duration.Round(time.Second) != 2*time.Hour+12*time.Minute+5*time.Second || o.Started.IsZero() {
		t.Errorf("run: %+v", o)
	}
	if len(o.Steps) != 2 || o.Steps[0].Ended.Sub(o.Steps[0].Started) != 30*time.Minute || o.Steps[1].Steps[0].Message != o.Message {
		t.Errorf("steps: %+v", o.Steps)
	}
	if o := by["update/Microsoft1.2301.2.58"]; o.Outcome != site.OutcomeSucceeded || o.Version != "1.2301.2.58" {
		t.Errorf("installed: %+v", o)
	}
	if o := by["update/"+update]; o.Outcome != site.OutcomeRunning || !o.Summary {
		t.Errorf("installing: %+v", o)
	}
	if o := by["location/redmond"]; o.State != "UpdateAvailable" || o.Version != "1.2301.2.58" || !o.Summary {
		t.Errorf("location: %+v", o)
	}
	if o := by["alert/a1"]; o.Outcome != site.OutcomeAttention {
		t.Errorf("alert: %+v", o)
	}
	s.Fault(sim.Fault{Path: "updateLocations", Status: http.StatusServiceUnavailable, Code: "ServiceUnavailable"})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if answer, err := d.Operations(ctx, nil); dr.KindOf(err) != dr.KindUnavailable || dr.Hint(err) == "" || answer.Way != "" {
		t.Errorf("while it is down: %+v %v", answer, err)
	}
}

// down has the API fail, in a way that no client asks again after at once.
func down(s *sim.Sim) {
	s.Fault(sim.Fault{Path: "updateLocations", Status: http.StatusForbidden, Code: "AuthorizationFailed"})
}

var cloudAdmin = pepsim.Options{User: "cloudadmin", Domain: "azurestack", Password: "secret"}

// document is what the privileged endpoint tells of the run that began at 10:05, whose last step ends as is said.
func document(status, ended string) string {
	if ended != "" {
		ended = ` EndTimeUtc="` + ended + `"`
	}
	return `<Action Status="` + status + `"><Steps><Step FullStepIndex="1" Name="Prepare" Status="Success" StartTimeUtc="2026-11-22T10:05:00Z" EndTimeUtc="2026-11-22T10:30:00Z"/>` +
		`<Step FullStepIndex="2" Name="Cloud Update" Status="` + status + `" StartTimeUtc="2026-11-22T10:30:00Z"` + ended + `><Task><Action><Steps>` +
		`<Step FullStepIndex="2.9" Name="Restart Storage Hosts" Status="` + status + `" StartTimeUtc="2026-11-22T11:00:00Z"` + ended + `><Task><Exception><Message>host 3 is gone</Message></Exception></Task></Step>` +
		`</Steps></Action></Task></Step></Steps></Action>`
}

// A watch looks at a site as a monitor does.
type watch struct {
	t     *testing.T
	d     *azure.Site
	state monitor.State
}

func (w *watch) look(want ...notify.Kind) []notify.Event {
	w.t.Helper()
	l := monitor.Look{Monitor: "stack", At: time.Now()}
	var known []site.Operation
	for _, o := range w.state.Operations {
		known = append(known, o)
	}
	l.Answer, l.Err = w.d.Operations(w.t.Context(), known)
	next, events := w.state.Next(l)
	var kinds []notify.Kind
	for _, e := range events {
		kinds = append(kinds, e.Kind)
	}
	if !slices.Equal(kinds, want) {
		w.t.Fatalf("told %+v, want %v (%v)", events, want, l.Err)
	}
	w.state = next
	return events
}

// TestPrivilegedEndpoint: while the API is down the endpoint tells of the run that the API told of, and each change is
// told once, whoever told it.
func TestPrivilegedEndpoint(t *testing.T) {
	host := pepsim.Start(t, cloudAdmin, pepsim.Play{Status: "Running", Document: document("InProgress", "")})
	for _, tt := range []struct {
		name, pep, document string // what the endpoint tells in the end
		run, update         string // what the API tells after that
		kind                notify.Kind
		text                string
	}{
		{"success", "Completed", document("Success", "2026-11-22T12:12:05Z"), "Succeeded", "Installed", notify.Success, "Took: 2h12m5s"},
		{"failure", "Failed", document("Error", "2026-11-22T12:12:05Z"), "Failed", "InstallationFailed", notify.Failure, "Step: Cloud Update > Restart Storage Hosts\nhost 3 is gone"},
		{"cancel", "Canceled", document("Error", ""), "Failed", "InstallationFailed", notify.Failure, "It was canceled.\nhost 3 is gone"},
		{"status only", "Completed", "", "Succeeded", "Installed", notify.Success, "InProgress -> Succeeded"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			play := func(status, document string) {
				host.Set(func(p *pepsim.Play) { p.Status, p.Document = status, document })
			}
			play("Running", document("InProgress", ""))
			s, d := stack(t, "127.0.0.1:1", host.Address)
			run := func(state string) {
				if err := s.UpdateRun("redmond", update, "run-1", state, "PT2H12M5S", map[string]any{"name": "Update", "status": state}); err != nil {
					t.Fatal(err)
				}
			}
			run("InProgress")
			w := &watch{t: t, d: d}
			w.look()
			down(s)
			w.look()
			o := w.state.Operations["run/run-1"]
			if w.state.Way != "privileged endpoint at "+host.Address || o.Step != "Cloud Update > Restart Storage Hosts" || o.Version != "1.2309.0.42" || len(o.Steps) != 2 || w.state.Failures != 1 {
				t.Fatalf("%+v", w.state)
			}
			play(tt.pep, tt.document)
			told := w.look(tt.kind)
			if e := told[0]; !strings.Contains(e.Subject, "AzS Update - 1.2309.0.42") || !strings.Contains(e.Text, tt.text) {
				t.Errorf("%+v, want %q", e, tt.text)
			}
			if e := w.look(notify.Problem)[0]; !strings.Contains(e.Text, "In its place the privileged endpoint at "+host.Address) {
				t.Errorf("the alarm: %+v", e)
			}
			run(tt.run)
			if err := s.Update("redmond", update, "1.2309.0.42", tt.update); err != nil {
				t.Fatal(err)
			}
			s.NoFaults()
			w.look(notify.Resolved)
			w.look()
			if w.state.Way != "administrator's API" || w.state.Operations["run/run-1"].State != tt.run {
				t.Errorf("%+v", w.state)
			}
		})
	}
}

// TestUnknownRun: a run that begins while the API is down is told of once, and is the one that the API lists later.
func TestUnknownRun(t *testing.T) {
	host := pepsim.Start(t, cloudAdmin, pepsim.Play{Status: "Completed", Document: strings.ReplaceAll(document("Success", "2026-11-21T12:00:00Z"), "2026-11-22", "2026-11-21")})
	s, d := stack(t, host.Address)
	w := &watch{t: t, d: d}
	if err := s.Update("redmond", update, "1.2309.0.42", "Ready"); err != nil {
		t.Fatal(err)
	}
	w.look()
	down(s)
	w.look(notify.Success) // of an earlier run that the API told nothing of
	host.Set(func(p *pepsim.Play) { p.Status, p.Document = "Running", document("InProgress", "") })
	if e := w.look(notify.Information)[0]; e.Subject != "Run of an update: running" {
		t.Errorf("%+v", e)
	}
	w.look(notify.Problem)
	s.NoFaults()
	if err := s.Update("redmond", update, "1.2309.0.42", "Installing"); err != nil {
		t.Fatal(err)
	}
	if err := s.UpdateRun("redmond", update, "run-9", "InProgress", "PT1H", map[string]any{"name": "Update", "status": "InProgress"}); err != nil {
		t.Fatal(err)
	}
	w.look(notify.Resolved)
	if len(w.state.Operations) != 4 {
		t.Errorf("%+v", w.state.Operations)
	}
}

// TestEarlierRun: a run that prepares is not taken for the one before it, of which the endpoint tells until the other
// reaches the machines.
func TestEarlierRun(t *testing.T) {
	host := pepsim.Start(t, cloudAdmin, pepsim.Play{Status: "Completed", Document: strings.ReplaceAll(document("Success", "2026-11-21T12:00:00Z"), "2026-11-22", "2026-11-21")})
	s, d := stack(t, host.Address)
	if err := s.UpdateRun("redmond", update, "run-1", "InProgress", "PT1M", map[string]any{"name": "Downloading", "status": "InProgress"}); err != nil {
		t.Fatal(err)
	}
	w := &watch{t: t, d: d}
	w.look()
	down(s)
	w.look()
	if o := w.state.Operations["run/run-1"]; o.State != "InProgress" || o.Step != "Downloading" {
		t.Errorf("%+v", o)
	}
}

// TestExamineEndpoint: a doctor finds out before it is needed.
func TestExamineEndpoint(t *testing.T) {
	host := pepsim.Start(t, cloudAdmin, pepsim.Play{Status: "Completed"})
	_, d := stack(t, host.Address)
	found := func() site.Finding {
		all := d.Examine(t.Context())
		i := slices.IndexFunc(all, func(f site.Finding) bool { return f.Check == "privileged endpoint" })
		if i < 0 {
			t.Fatalf("%+v", all)
		}
		return all[i]
	}
	if f := found(); f.Status != site.FindingOK || f.Message != host.Address+" answers: the update is Completed" {
		t.Errorf("%+v", f)
	}
	host.Set(func(p *pepsim.Play) { p.Deny = true })
	if f := found(); f.Status != site.FindingFail || f.Remedy == "" || !strings.Contains(f.Message, "Access is denied.") {
		t.Errorf("%+v", f)
	}
}

// TestNobodyAnswers says what both ways answered.
func TestNobodyAnswers(t *testing.T) {
	host := pepsim.Start(t, cloudAdmin, pepsim.Play{Complain: "the ECE service does not answer"})
	s, d := stack(t, host.Address)
	down(s)
	answer, err := d.Operations(t.Context(), nil)
	if err == nil || answer.Way != "" || !strings.Contains(err.Error(), "AuthorizationFailed") || !strings.Contains(err.Error(), "ECE service does not answer") || dr.Hint(err) == "" {
		t.Errorf("%+v %v", answer, err)
	}
}
