package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"understudy/internal/api/wire"
	"understudy/internal/controller"
	"understudy/internal/dr"
	"understudy/internal/recovery"
	"understudy/internal/recovery/plan"
	"understudy/internal/store"
)

// PlanBackend does what the API is asked for about recovery plans, and about what their runs ask.
type PlanBackend interface {
	Plans(ctx context.Context, group string) ([]store.Plan, error)
	Plan(ctx context.Context, name string, version int) (controller.PlanDetail, error)
	ApplyPlan(ctx context.Context, file, text, by string) (p store.Plan, changed bool, warnings []string, err error)
	CheckPlan(ctx context.Context, file, text string) (plan.Plan, []plan.Problem, []string, error)
	PlanHistory(ctx context.Context, name string) ([]store.PlanVersion, []store.Run, error)
	DeletePlan(ctx context.Context, name, by string) error
	StartPlan(ctx context.Context, q recovery.Request) (store.Run, error)

	AnswerRun(ctx context.Context, id string, a recovery.Answer) (store.Question, error)
	RunQuestion(ctx context.Context, id string) (store.Question, bool, error)
}

func (s *server) plans(a huma.API) {
	const tag = "plans"
	type filter struct {
		Group string `query:"group"`
	}
	huma.Register(a, op(http.MethodGet, "/v1/plans", "list-plans", tag, "List recovery plans"),
		func(ctx context.Context, in *filter) (*body[[]wire.Plan], error) {
			list, err := s.backend.Plans(ctx, in.Group)
			return &body[[]wire.Plan]{convert(list, fromPlan)}, fail(err)
		})
	huma.Register(a, op(http.MethodPut, "/v1/plans", "apply-plan", tag, "Save a plan; a change of meaning makes a new version, which needs verification"),
		func(ctx context.Context, in *request[wire.PlanText]) (*body[wire.Plan], error) {
			p, changed, warnings, err := s.backend.ApplyPlan(ctx, in.Body.File, in.Body.Text, caller(ctx))
			w := fromPlan(p)
			w.Changed, w.Warnings = changed, warnings
			return &body[wire.Plan]{w}, fail(err)
		})
	huma.Register(a, op(http.MethodPost, "/v1/plan-checks", "check-plan", tag, "Check a plan without saving it"),
		func(ctx context.Context, in *request[wire.PlanText]) (*body[wire.PlanCheck], error) {
			p, problems, warnings, err := s.backend.CheckPlan(ctx, in.Body.File, in.Body.Text)
			return &body[wire.PlanCheck]{wire.PlanCheck{Name: p.Name, Group: p.Group, Warnings: orEmpty(warnings), Blocks: convert(p.Blocks(), fromBlock),
				Problems: convert(problems, func(p plan.Problem) wire.PlanProblem {
					return wire.PlanProblem{Line: p.Line, Column: p.Column, Field: p.Field, What: p.What, Hint: p.Hint, Text: p.Text(in.Body.File)}
				})}}, fail(err)
		})
	type version struct {
		Named
		Version int `query:"version" minimum:"0" doc:"By default the newest"`
	}
	huma.Register(a, op(http.MethodGet, "/v1/plans/{name}", "show-plan", tag, "Show a plan"),
		func(ctx context.Context, in *version) (*body[wire.PlanDetail], error) {
			d, err := s.backend.Plan(ctx, in.Name, in.Version)
			return &body[wire.PlanDetail]{wire.PlanDetail{Plan: fromPlan(d.Plan), ShownVersion: d.Shown.Version, By: d.Shown.By, Text: d.Shown.Text,
				Outline: d.Parsed.Outline(), Mermaid: d.Parsed.Mermaid(), Dot: d.Parsed.Dot(), Blocks: convert(d.Parsed.Blocks(), fromBlock)}}, fail(err)
		})
	huma.Register(a, op(http.MethodGet, "/v1/plans/{name}/history", "plan-history", tag, "Show the versions of a plan and its runs"),
		func(ctx context.Context, in *Named) (*body[wire.PlanHistory], error) {
			versions, runs, err := s.backend.PlanHistory(ctx, in.Name)
			return &body[wire.PlanHistory]{wire.PlanHistory{
				Versions: convert(versions, func(v store.PlanVersion) wire.PlanVersion {
					return wire.PlanVersion{Version: v.Version, Created: v.Created.UTC(), By: v.By}
				}),
				Runs: convert(runs, fromPlanRun),
			}}, fail(err)
		})
	huma.Register(a, op(http.MethodDelete, "/v1/plans/{name}", "delete-plan", tag, "Remove a plan; runs under way go on with their copy of it"),
		func(ctx context.Context, in *Named) (*nothing, error) {
			return nil, fail(s.backend.DeletePlan(ctx, in.Name, caller(ctx)))
		})
	type run struct {
		Named
		Body wire.RunPlan
	}
	start := op(http.MethodPost, "/v1/plans/{name}/run", "run-plan", tag, "Begin a failover, or a rehearsal of one, by a plan")
	start.DefaultStatus = http.StatusAccepted
	huma.Register(a, start, func(ctx context.Context, in *run) (*body[wire.Run], error) {
		r, err := s.backend.StartPlan(ctx, recovery.Request{Kind: runKinds[in.Body.Kind], Plan: in.Name, Point: in.Body.Point, By: caller(ctx)})
		return &body[wire.Run]{fromRun(r, nil)}, fail(err)
	})
	s.questions(a)
}

// errNoQuestion says that nobody is asked.
var errNoQuestion = errors.New("the run asks nothing now")

// questions are what runs ask people, and the answers.
func (s *server) questions(a huma.API) {
	const tag = "recovery"
	huma.Register(a, op(http.MethodGet, "/v1/runs/{name}/question", "run-question", tag, "What a run asks now"),
		func(ctx context.Context, in *Named) (*body[wire.Question], error) {
			q, open, err := s.backend.RunQuestion(ctx, in.Name)
			if err == nil && !open {
				err = dr.WithHint(errNoQuestion, dr.KindNotFound, "understudy run show "+in.Name)
			}
			return &body[wire.Question]{fromQuestion(q)}, fail(err)
		})
	type answer struct {
		Named
		Body wire.Answer
	}
	huma.Register(a, op(http.MethodPost, "/v1/runs/{name}/answer", "answer-run", tag, "Approve or reject, retry or skip what a run asks about"),
		func(ctx context.Context, in *answer) (*body[wire.Question], error) {
			q, err := s.backend.AnswerRun(ctx, in.Name, recovery.Answer{Answer: in.Body.Answer, Action: in.Body.Action, Note: in.Body.Note, By: caller(ctx)})
			return &body[wire.Question]{fromQuestion(q)}, fail(err)
		})
}

func fromPlan(p store.Plan) wire.Plan {
	return wire.Plan{Name: p.Name, Group: p.Group, Version: p.Version, Updated: p.Updated.UTC(), NeedsVerification: p.NeedsVerification(),
		VerifiedVersion: p.Verified, VerifiedAt: wire.At(p.VerifiedAt), VerifiedRun: p.VerifiedRun}
}

func fromPlanRun(r store.Run) wire.PlanRun {
	_, version := planOf(r)
	return wire.PlanRun{Run: fromRun(r, nil), PlanVersion: version}
}

// planOf is the recovery plan that a run carries out; none when name is empty.
func planOf(r store.Run) (name string, version int) {
	var in struct {
		Plan struct {
			Name    string `json:"name"`
			Version int    `json:"version"`
		} `json:"plan"`
	}
	_ = json.Unmarshal(r.Input, &in) // it is ours; a run without input has none
	return in.Plan.Name, in.Plan.Version
}

func fromQuestion(q store.Question) wire.Question {
	return wire.Question{Run: q.Run, Action: q.Action, Message: q.Message, Answers: orEmpty(q.Answers), Asked: q.Asked.UTC(), Until: wire.At(q.Until),
		Answered: wire.At(q.Answered), Answer: q.Answer, By: q.By, Note: q.Note, Ways: q.Ways()}
}

// fromBlock converts a box of a drawn plan.
func fromBlock(b plan.Block) wire.PlanBlock {
	return wire.PlanBlock{Kind: b.Kind, Stage: b.Stage, Machines: orEmpty(b.Machines), Before: convert(b.Before, fromAction), After: convert(b.After, fromAction)}
}

// fromAction converts an action of a drawn plan.
func fromAction(a plan.Action) wire.PlanAction {
	return wire.PlanAction{Name: a.Name, Kind: a.Kind(), Summary: a.Summary(), Conditions: a.Conditions()}
}
