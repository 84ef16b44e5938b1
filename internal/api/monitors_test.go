package api

import (
	"context"
	"errors"
	"testing"
	"time"

	"understudy/internal/access"
	"understudy/internal/api/client"
	"understudy/internal/dr"
	"understudy/internal/monitor"
	"understudy/internal/site"
	"understudy/internal/store"
)

// monitors is a backend with one monitor. Who asks with token "east" may look at site east only.
type monitors struct {
	backend
	m    store.Monitor
	look monitor.Look
}

func (b *monitors) CheckToken(ctx context.Context, secret string) (access.Caller, error) {
	if secret == "east" {
		return access.Caller{Name: "east", Grants: access.Grants{{Role: access.Viewer, Scope: access.Site("east")}}}, nil
	}
	return b.backend.CheckToken(ctx, secret)
}

func (b *monitors) Groups(context.Context) ([]dr.Group, error) { return nil, nil }

func (b *monitors) Monitors(context.Context) ([]store.Monitor, error) {
	return []store.Monitor{b.m}, nil
}

func (b *monitors) Monitor(_ context.Context, name string) (store.Monitor, error) {
	if name != b.m.Name {
		return store.Monitor{}, dr.WithHint(errors.New("no monitor"), dr.KindNotFound, "understudy monitor list")
	}
	return b.m, nil
}

func (b *monitors) TestMonitor(context.Context, string) (monitor.Look, error) { return b.look, b.err }

// TestMonitors: steps are told of one monitor and not in lists, to those who may look at its site.
func TestMonitors(t *testing.T) {
	began := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	run := site.Operation{ID: "run/1", Title: "Run", State: "InProgress", Outcome: site.OutcomeRunning, Steps: []site.Step{
		{Name: "Prepare", Status: "Success", Started: began, Ended: began.Add(time.Minute), Steps: []site.Step{{Name: "Host 1", Status: "Error", Message: "it is gone"}}}}}
	b := &monitors{m: store.Monitor{Name: "stack", Site: "west", State: monitor.State{Way: "privileged endpoint at 10.0.0.1", Failures: 4, Operations: map[string]site.Operation{run.ID: run}}}}
	b.look = monitor.Look{Answer: site.Answer{Way: "privileged endpoint at 10.0.0.1", Operations: []site.Operation{run}}, Err: errors.New("503")}
	s := serveBackend(t, b)
	ctx := t.Context()
	api := client.New(s.URL, "right")
	m, err := api.ShowMonitor(ctx, "stack")
	if err != nil || m.Way != "privileged endpoint at 10.0.0.1" || len(m.Operations) != 1 || len(m.Operations[0].Steps) != 1 {
		t.Fatalf("%+v %v", m, err)
	}
	step := m.Operations[0].Steps[0]
	if !step.Started.Equal(began) || step.Ended.Sub(began) != time.Minute || len(step.Steps) != 1 || step.Steps[0].Message != "it is gone" || step.Steps[0].Ended != nil {
		t.Errorf("%+v", step)
	}
	if list, err := api.ListMonitors(ctx); err != nil || len(list) != 1 || len(list[0].Operations) != 1 || list[0].Operations[0].Steps != nil {
		t.Errorf("%+v %v", list, err)
	}
	if len(b.m.State.Operations["run/1"].Steps) != 1 {
		t.Error("the list took the steps from the monitor")
	}
	if l, err := api.TestMonitor(ctx, "stack"); err != nil || l.Way != b.look.Answer.Way || l.Problem != "503" || len(l.Operations[0].Steps) != 1 {
		t.Errorf("%+v %v", l, err)
	}
	if _, err := api.ShowMonitor(ctx, "other"); dr.KindOf(err) != dr.KindNotFound {
		t.Error(err)
	}
	east := client.New(s.URL, "east")
	for _, name := range []string{"stack", "other"} { // whether there is one is not for everybody
		if _, err := east.ShowMonitor(ctx, name); err == nil || dr.KindOf(err) == dr.KindNotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
	b.m.Site = "east"
	if _, err := east.ShowMonitor(ctx, "stack"); err != nil {
		t.Error(err)
	}
}
