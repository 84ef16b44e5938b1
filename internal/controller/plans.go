package controller

import (
	"context"
	"errors"

	"understudy/internal/recovery"
	"understudy/internal/recovery/plan"
	"understudy/internal/store"
)

// A PlanDetail is a version of a plan with what it says.
type PlanDetail struct {
	store.Plan
	Shown  store.PlanVersion
	Parsed plan.Plan
}

// Plans lists the plans of a group, or all when group is empty.
func (c *Controller) Plans(ctx context.Context, group string) ([]store.Plan, error) {
	return c.recovery.Plans(ctx, group)
}

// Plan shows a version of a plan; version 0 is the newest.
func (c *Controller) Plan(ctx context.Context, name string, version int) (PlanDetail, error) {
	p, v, parsed, err := c.recovery.ShowPlan(ctx, name, version)
	return PlanDetail{p, v, parsed}, err
}

// ApplyPlan saves a plan. changed says that it is a new version, which needs verification.
func (c *Controller) ApplyPlan(ctx context.Context, file, text, by string) (p store.Plan, changed bool, warnings []string, err error) {
	return c.recovery.ApplyPlan(ctx, file, []byte(text), by)
}

// CheckPlan holds a plan against its group without saving it. Faults of the plan are no error.
func (c *Controller) CheckPlan(ctx context.Context, file, text string) (plan.Plan, []plan.Problem, []string, error) {
	p, warnings, err := c.recovery.CheckPlan(ctx, file, []byte(text))
	var faults *plan.Problems
	if errors.As(err, &faults) {
		return p, faults.List, nil, nil
	}
	return p, nil, warnings, err
}

// PlanHistory returns the versions of a plan and the runs that carried it out, the newest first.
func (c *Controller) PlanHistory(ctx context.Context, name string) ([]store.PlanVersion, []store.Run, error) {
	return c.recovery.PlanHistory(ctx, name, 100)
}

// DeletePlan removes a plan.
func (c *Controller) DeletePlan(ctx context.Context, name, by string) error {
	return c.recovery.DeletePlan(ctx, name, by)
}

// StartPlan begins a run of a plan; q.Group may be empty.
func (c *Controller) StartPlan(ctx context.Context, q recovery.Request) (store.Run, error) {
	return c.recovery.StartPlan(ctx, q)
}

// AnswerRun answers what a run asks.
func (c *Controller) AnswerRun(ctx context.Context, id string, a recovery.Answer) (store.Question, error) {
	return c.recovery.Answer(ctx, id, a)
}

// RunQuestion returns what a run asks now, and whether it asks anything.
func (c *Controller) RunQuestion(ctx context.Context, id string) (store.Question, bool, error) {
	return c.recovery.Question(ctx, id)
}
