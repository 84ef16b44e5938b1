package azure_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
	"understudy/internal/site/azure"
	"understudy/test/azsim/sim"
)

// stack starts an Azure Stack Hub with an update that is installed.
func stack(t *testing.T) (*sim.Sim, *azure.Site) {
	t.Helper()
	s := sim.Start(t, sim.Options{Regions: []string{"redmond"}})
	for k, v := range s.Env() {
		t.Setenv(k, v)
	}
	for _, err := range []error{s.Stack("redmond"), s.Update("redmond", "Microsoft1.2301.2.58", "1.2301.2.58", "Installed"), s.Update("redmond", "Microsoft1.2309.0.42", "1.2309.0.42", "Installing")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	c := s.Config("redmond", "System.redmond")
	d, err := azure.New(azure.Config{Name: "stack", Dir: t.TempDir(), Subscription: c["subscription"], Tenant: c["tenant"], Group: "System.redmond", Cloud: "custom",
		Endpoint: c["endpoint"], Authority: c["authority"], CA: c["ca"], Updates: "redmond"})
	if err != nil {
		t.Fatal(err)
	}
	return s, d
}

func TestOperations(t *testing.T) {
	s, d := stack(t)
	steps := map[string]any{"name": "", "status": "InProgress", "steps": []any{
		map[string]any{"name": "Prepare", "status": "Success"},
		map[string]any{"name": "Update hosts", "status": "InProgress", "steps": []any{
			map[string]any{"name": "Host 3", "status": "Error", "errorMessage": "it did not come back", "steps": []any{}}}}}}
	if err := s.UpdateRun("redmond", "Microsoft1.2309.0.42", "run-1", "Failed", "PT2H12M5.45S", steps); err != nil {
		t.Fatal(err)
	}
	if err := s.Alert("redmond", "a1", "Update needs attention.", "Active"); err != nil {
		t.Fatal(err)
	}
	list, err := d.Operations(t.Context())
	if err != nil || len(list) != 4 {
		t.Fatalf("%+v %v", list, err)
	}
	by := map[string]site.Operation{}
	for _, o := range list {
		by[o.ID] = o
	}
	if o := by["run/run-1"]; o.Outcome != site.OutcomeFailed || o.Step != "Update hosts > Host 3" || o.Message != "it did not come back" || o.Duration.Round(time.Second) != 2*time.Hour+12*time.Minute+5*time.Second || o.Started.IsZero() {
		t.Errorf("run: %+v", o)
	}
	if o := by["update/Microsoft1.2301.2.58"]; o.Outcome != site.OutcomeSucceeded || o.Version != "1.2301.2.58" {
		t.Errorf("installed: %+v", o)
	}
	if o := by["update/Microsoft1.2309.0.42"]; o.Outcome != site.OutcomeRunning {
		t.Errorf("installing: %+v", o)
	}
	if o := by["alert/a1"]; o.Outcome != site.OutcomeAttention {
		t.Errorf("alert: %+v", o)
	}
	s.Fault(sim.Fault{Path: "updateLocations", Status: http.StatusServiceUnavailable, Code: "ServiceUnavailable"})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := d.Operations(ctx); dr.KindOf(err) != dr.KindUnavailable || dr.Hint(err) == "" {
		t.Errorf("while it is down: %v", err)
	}
}
