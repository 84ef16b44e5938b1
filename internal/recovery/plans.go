package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"understudy/internal/dr"
	act "understudy/internal/recovery/action"
	"understudy/internal/recovery/plan"
	"understudy/internal/store"
)

func decodePlan(v store.PlanVersion) (plan.Plan, error) {
	var p plan.Plan
	if err := json.Unmarshal(v.Parsed, &p); err != nil {
		return p, fmt.Errorf("read plan %s: %w", v.Plan, err)
	}
	return p, nil
}

// ApplyPlan saves a plan that fits its group. It returns the plan, whether it is a new version, and what a run of it
// would stumble over now.
func (r *Recovery) ApplyPlan(ctx context.Context, file string, text []byte, by string) (saved store.Plan, changed bool, warnings []string, err error) {
	p, warnings, err := r.CheckPlan(ctx, file, text)
	if err != nil {
		return saved, false, nil, err
	}
	parsed, err := json.Marshal(p)
	if err != nil {
		return saved, false, nil, err
	}
	saved, changed, err = r.o.Store.PutPlan(ctx, store.PlanVersion{Plan: p.Name, Group: p.Group, By: by, Text: string(text), Parsed: parsed},
		func(before store.PlanVersion) (bool, error) {
			old, err := decodePlan(before)
			return err == nil && old.Same(p), err
		})
	if err == nil && changed {
		r.event(ctx, "plan.applied", store.Run{Group: p.Group}, fmt.Sprintf("plan %s version %d was applied by %s", p.Name, saved.Version, by))
	}
	return saved, changed, warnings, err
}

// CheckPlan reads a plan and holds it against its group. An error of dr.KindInvalid wraps *plan.Problems.
func (r *Recovery) CheckPlan(ctx context.Context, file string, text []byte) (p plan.Plan, warnings []string, err error) {
	p, err = plan.Parse(file, text)
	var faults *plan.Problems
	if err != nil && (!errors.As(err, &faults) || p.Group == "") {
		return p, nil, err
	}
	g, gerr := r.o.Store.Group(ctx, p.Group)
	if gerr != nil {
		// Both are worth knowing.
		if err != nil {
			return p, nil, err
		}
		return p, nil, gerr
	}
	names := make([]string, len(g.Machines))
	for i, m := range g.Machines {
		names[i] = m.Name
	}
	if p, err = plan.Check(file, text, names); err != nil {
		return p, nil, err
	}
	for name, s := range p.Secrets {
		if _, err := act.ReadSecret(name, s.Env, s.File); err != nil {
			warnings = append(warnings, err.Error())
		}
	}
	for _, a := range p.Actions() {
		if a.Extensions != nil && r.o.Extensions == nil {
			warnings = append(warnings, fmt.Sprintf("action %q: this controller knows no extensions", a.Name))
		}
	}
	return p, warnings, nil
}

// ShowPlan returns a version of a plan and what it says; version 0 is the newest.
func (r *Recovery) ShowPlan(ctx context.Context, name string, version int) (store.Plan, store.PlanVersion, plan.Plan, error) {
	s, err := r.o.Store.Plan(ctx, name)
	if err != nil {
		return s, store.PlanVersion{}, plan.Plan{}, err
	}
	v, err := r.o.Store.PlanVersion(ctx, name, version)
	if err != nil {
		return s, v, plan.Plan{}, err
	}
	p, err := decodePlan(v)
	return s, v, p, err
}

// planVerified records that a rehearsal proved a version of its plan: it came to its end, and nothing of it is left.
func (r *Recovery) planVerified(ctx context.Context, run store.Run, p Input, of store.Run, state store.RunState, res Result) error {
	if state != store.RunSucceeded {
		return nil
	}
	switch p.Kind {
	case KindDrill:
		if res.Drill == nil || res.Drill.Cleaned.IsZero() {
			return nil
		}
	case KindCleanup:
		if of.State != store.RunSucceeded || !rehearses(of.Kind) {
			return nil
		}
		if err := json.Unmarshal(of.Input, &p); err != nil {
			return fmt.Errorf("read input of run %s: %w", of.ID, err)
		}
		if err := json.Unmarshal(of.Result, &res); err != nil {
			return fmt.Errorf("read result of run %s: %w", of.ID, err)
		}
		run = of
	default:
		return nil
	}
	if p.Plan == nil {
		return nil
	}
	if i := slices.IndexFunc(res.Actions, unproven); i >= 0 {
		a := res.Actions[i]
		r.event(ctx, "plan.unproven", run, fmt.Sprintf("plan %s version %d still needs verification: its action %q was %s", p.Plan.Name, p.Plan.Version, a.Name, a.Outcome))
		return nil
	}
	now, err := r.o.Store.PlanVersion(ctx, p.Plan.Name, p.Plan.Version)
	if dr.KindOf(err) == dr.KindNotFound {
		return nil // it was removed
	}
	if err != nil {
		return err
	}
	if is, err := decodePlan(now); err != nil || !is.Same(p.Plan.Plan) {
		return err // it was removed, and another of its name has begun to count anew
	}
	return r.o.Store.VerifyPlan(ctx, p.Plan.Name, p.Plan.Version, run.ID, r.o.Now())
}

// unproven reports whether a rehearsal says less of its plan than it seems: the action failed, or a person skipped it.
func unproven(a ActionResult) bool { return a.Outcome != ActionDone && a.Outcome != ActionUnmeant }

// Plans returns the plans of a group, or all when group is empty.
func (r *Recovery) Plans(ctx context.Context, group string) ([]store.Plan, error) {
	return r.o.Store.Plans(ctx, group)
}

// PlanHistory returns the versions of a plan and the runs that carried it out, the newest first.
func (r *Recovery) PlanHistory(ctx context.Context, name string, limit int) ([]store.PlanVersion, []store.Run, error) {
	if _, err := r.o.Store.Plan(ctx, name); err != nil {
		return nil, nil, err
	}
	versions, err := r.o.Store.PlanVersions(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	runs, err := r.o.Store.PlanRuns(ctx, name, limit)
	return versions, runs, err
}

// DeletePlan removes a plan. Runs under way go on with their copy of it.
func (r *Recovery) DeletePlan(ctx context.Context, name, by string) error {
	p, err := r.o.Store.Plan(ctx, name)
	if err != nil {
		return err
	}
	if err := r.o.Store.DeletePlan(ctx, name); err != nil {
		return err
	}
	r.event(ctx, "plan.deleted", store.Run{Group: p.Group}, fmt.Sprintf("plan %s was removed by %s", name, by))
	return nil
}

// StartPlan begins a run of a plan; q.Group is filled in.
func (r *Recovery) StartPlan(ctx context.Context, q Request) (store.Run, error) {
	p, err := r.o.Store.Plan(ctx, q.Plan)
	if err != nil {
		return store.Run{}, err
	}
	if q.Group != "" && q.Group != p.Group {
		return store.Run{}, dr.WithHint(fmt.Errorf("plan %s is of group %s, not of %s", p.Name, p.Group, q.Group), dr.KindInvalid, "understudy plan list")
	}
	q.Group = p.Group
	return r.Start(ctx, q)
}
