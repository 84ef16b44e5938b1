package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/controller"
	"understudy/internal/dr"
	"understudy/internal/recovery"
	"understudy/internal/recovery/plan"
	"understudy/internal/store"
)

func (b *backend) Plan(_ context.Context, name string, version int) (controller.PlanDetail, error) {
	if name != "p" {
		return controller.PlanDetail{}, dr.WithHint(errors.New("no such plan"), dr.KindNotFound, "understudy plan list")
	}
	p := plan.Plan{Name: "p", Group: "shop", Before: []plan.Action{{Name: "ask", Approval: &plan.Approval{}, OnError: plan.Ask}}, Stages: []plan.Stage{{Name: "one", Machines: []string{"db"}}}}
	return controller.PlanDetail{Plan: store.Plan{Name: "p", Group: "shop", Version: 3, Verified: 2, VerifiedAt: time.Unix(5, 0)},
		Shown: store.PlanVersion{Version: max(version, 1), Text: "name: p"}, Parsed: p}, b.err
}

func (b *backend) CheckPlan(_ context.Context, file, text string) (plan.Plan, []plan.Problem, []string, error) {
	_, err := plan.Parse(file, []byte(text))
	var faults *plan.Problems
	if errors.As(err, &faults) {
		return plan.Plan{}, faults.List, nil, b.err
	}
	return plan.Plan{Name: "p"}, nil, []string{"careful"}, b.err
}

func (b *backend) StartPlan(_ context.Context, q recovery.Request) (store.Run, error) {
	b.asked = strings.Join([]string{q.Kind, q.Group, q.Plan, q.Point, q.By}, " ")
	return store.Run{ID: "r1", Kind: q.Kind, State: store.RunPending}, b.err
}

func (b *backend) AnswerRun(_ context.Context, id string, a recovery.Answer) (store.Question, error) {
	b.asked = strings.Join([]string{id, a.Answer, a.Note, a.By}, " ")
	return store.Question{Run: id, Action: "x", Answer: a.Answer, Answered: time.Unix(5, 0)}, b.err
}

func (b *backend) RunQuestion(_ context.Context, id string) (store.Question, bool, error) {
	return store.Question{Run: id, Answers: []string{"retry", "skip"}}, id == "r1", b.err
}

func (b *backend) PlanHistory(context.Context, string) ([]store.PlanVersion, []store.Run, error) {
	return []store.PlanVersion{{Version: 1}}, []store.Run{{ID: "r1", Input: json.RawMessage(`{"plan":{"version":7}}`)}}, b.err
}

func TestPlans(t *testing.T) {
	b, s, _ := serve(t)
	c := client.New(s.URL, "right")
	ctx := t.Context()
	p, err := c.ShowPlan(ctx, "p", client.ShowPlanQuery{Version: 2})
	if err != nil || p.Version != 3 || p.ShownVersion != 2 || !p.NeedsVerification || p.VerifiedVersion != 2 || p.VerifiedAt == nil || !strings.Contains(p.Outline, "start db") || !strings.Contains(p.Mermaid, "flowchart") {
		t.Errorf("%+v %v", p, err)
	}
	blocks := []wire.PlanBlock{
		{Kind: "before", Machines: []string{}, Before: []wire.PlanAction{{Name: "ask", Kind: "approval", Summary: "wait for approval", Conditions: "asks when it fails"}}, After: []wire.PlanAction{}},
		{Kind: "stage", Stage: "one", Machines: []string{"db"}, Before: []wire.PlanAction{}, After: []wire.PlanAction{}},
	}
	if !reflect.DeepEqual(p.Blocks, blocks) {
		t.Errorf("%+v", p.Blocks)
	}
	if _, err := c.ShowPlan(ctx, "q", client.ShowPlanQuery{}); dr.KindOf(err) != dr.KindNotFound || dr.Hint(err) == "" {
		t.Errorf("%v", err)
	}
	check, err := c.CheckPlan(ctx, wire.PlanText{File: "f.yaml", Text: "name: p\nstages: 5\n"})
	if err != nil || len(check.Problems) != 1 || check.Problems[0].Line != 2 || !strings.HasPrefix(check.Problems[0].Text, "f.yaml:2:9: stages: ") {
		t.Errorf("%+v %v", check, err)
	}
	if h, err := c.PlanHistory(ctx, "p"); err != nil || len(h.Versions) != 1 || h.Runs[0].PlanVersion != 7 {
		t.Errorf("%+v %v", h, err)
	}
	if run, err := c.ShowRun(ctx, "r1"); err != nil || run.Plan != "p" {
		t.Errorf("%+v %v", run, err)
	}
	for want, begin := range map[string]func() (wire.Run, error){
		"planned-failover  p 1-2 admin": func() (wire.Run, error) { return c.RunPlan(ctx, "p", wire.RunPlan{Kind: "planned", Point: "1-2"}) },
		"test-failover shop p  admin":   func() (wire.Run, error) { return c.Failover(ctx, "shop", wire.Failover{Kind: "test", Plan: "p"}) },
	} {
		if run, err := begin(); err != nil || run.ID != "r1" || b.asked != want {
			t.Errorf("%+v %v: asked %q, want %q", run, err, b.asked, want)
		}
	}
	if _, err := c.RunPlan(ctx, "p", wire.RunPlan{Kind: "never"}); dr.KindOf(err) != dr.KindInvalid {
		t.Errorf("%v", err)
	}
	if q, err := c.AnswerRun(ctx, "r1", wire.Answer{Answer: "skip", Note: "why"}); err != nil || q.Answer != "skip" || q.Answered == nil || b.asked != "r1 skip why admin" {
		t.Errorf("%+v %v %q", q, err, b.asked)
	}
	if _, err := c.AnswerRun(ctx, "r1", wire.Answer{Answer: "perhaps"}); dr.KindOf(err) != dr.KindInvalid {
		t.Errorf("%v", err)
	}
	if q, err := c.RunQuestion(ctx, "r1"); err != nil || !strings.Contains(q.Ways, "understudy run retry r1") {
		t.Errorf("%+v %v", q, err)
	}
	if _, err := c.RunQuestion(ctx, "r2"); dr.KindOf(err) != dr.KindNotFound {
		t.Errorf("%v", err)
	}
	b.err = dr.WithHint(errors.New("under way"), dr.KindConflict, "wait")
	if status, _, p := call(t, s, "POST", "/v1/plans/p/run", "right", `{"kind":"test"}`); status != http.StatusConflict || p.Hint != "wait" {
		t.Errorf("%d %+v", status, p)
	}
}
