package recovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/recovery/engine"
	"understudy/internal/recovery/plan"
	"understudy/internal/site"
	"understudy/internal/store"
)

// PlanInput is the plan of a run as it was when the run was asked for.
type PlanInput struct {
	Name     string    `json:"name"`
	Version  int       `json:"version"`
	Plan     plan.Plan `json:"plan"`
	Failback bool      `json:"failback,omitempty"` // it leads to where the group was first protected
}

// goesLive reports whether the run moves the group, as against rehearsing that.
func (p Input) goesLive() bool { return p.Kind == KindFailover || p.Kind == KindPlanned }

// planKind is the kind of failover in the words of plans.
func (p Input) planKind() plan.Kind {
	switch p.Kind {
	case KindFailover:
		return plan.Unplanned
	case KindPlanned:
		return plan.Planned
	}
	return plan.Test
}

func (p Input) planDirection() plan.Direction {
	if p.Plan != nil && p.Plan.Failback {
		return plan.Failback
	}
	return plan.Failover
}

// before does what the plan says to do before anything is changed.
func (r *Recovery) before(run *engine.Run, p Input, res *Result) error {
	if p.Plan == nil {
		return nil
	}
	return r.perform(run, p, res, 0, p.Plan.Plan.Before)
}

// after does what the plan says to do when all machines are healthy.
func (r *Recovery) after(run *engine.Run, p Input, res *Result) error {
	if p.Plan == nil {
		return nil
	}
	err := r.perform(run, p, res, 0, p.Plan.Plan.After)
	res.Ready = res.Healthy
	for _, a := range res.Actions {
		if a.Ended.After(res.Ready) {
			res.Ready = a.Ended
		}
	}
	res.ReadyAfter = seconds(res.Ready.Sub(p.Requested))
	return err
}

// afterLive ends a failover whose machines run for good: what the plan says, then their disks. An action that fails ends
// the run as failed, and giving up the rest of the plan as cancelled, but the machines are there to stay and are made
// independent of the vault all the same.
func (r *Recovery) afterLive(run *engine.Run, p Input, res *Result) error {
	stop := r.hydrateAhead(p)
	failed := r.after(run, p, res)
	stop()
	if errors.Is(failed, engine.ErrInterrupted) {
		return failed
	}
	err := r.hydrate(run, p, res)
	if errors.Is(err, engine.ErrInterrupted) || failed == nil {
		return err
	}
	return joinErrors([]error{failed, err})
}

// hydrateAhead begins to make machines independent of the vault while the plan's last actions are done, which may wait
// for a person for days. What it comes to is for the steps of hydration, which follow, to find. stop ends it.
func (r *Recovery) hydrateAhead(p Input) (stop func()) {
	if p.Plan == nil || len(p.Plan.Plan.After) == 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, m := range p.Machines {
		all.Go(func() {
			err := r.withTarget(ctx, p, func(d site.Driver) error { return d.Hydrate(ctx, p.as(m.Name), func(int64, int64) {}) })
			if err != nil && ctx.Err() == nil {
				r.o.Logger.Warn("copy disks while a plan goes on", "run", p.Run, "machine", m.Name, "error", err)
			}
		})
	}
	return func() { cancel(); all.Wait() }
}

// perform does actions one after the other. stage is the number of their stage from 1, or 0.
func (r *Recovery) perform(run *engine.Run, p Input, res *Result, stage int, list []plan.Action) error {
	for _, a := range list {
		if !a.Applies(p.planKind(), p.planDirection()) {
			res.Actions = append(res.Actions, ActionResult{Name: a.Name, Kind: a.Kind(), Outcome: ActionUnmeant})
			continue
		}
		d := &deed{r: r, run: run, p: p, res: res, stage: stage, a: a}
		err := d.carryOut()
		if errors.Is(err, engine.ErrInterrupted) {
			return err
		}
		res.Actions = append(res.Actions, d.out)
		res.Extensions = append(res.Extensions, d.extensions...)
		if err != nil {
			return err
		}
	}
	return nil
}

// A deed is one action of a run being carried out.
type deed struct {
	r     *Recovery
	run   *engine.Run
	p     Input
	res   *Result
	stage int
	a     plan.Action

	out        ActionResult
	extensions []dr.ExtensionResult
}

// Answers to questions.
const (
	AnswerApprove = "approve"
	AnswerReject  = "reject"
	AnswerRetry   = "retry"
	AnswerSkip    = "skip"
	AnswerConfirm = "confirm" // of a move only, by Confirm

	answerCancelled = "cancelled" // by cancelling the run
)

// carryOut does the action until it is done, given up or a person decides. It decides by the results of steps only.
func (d *deed) carryOut() error {
	d.out = ActionResult{Name: d.a.Name, Kind: d.a.Kind(), Outcome: ActionFailed}
	for round := 1; ; round++ {
		err := d.once(round)
		switch {
		case err == nil:
			d.out.Outcome, d.out.Error = ActionDone, ""
			return nil
		case errors.Is(err, engine.ErrInterrupted) || errors.Is(err, engine.ErrAborted):
			d.out.Error = err.Error()
			return err
		}
		d.out.Error = err.Error()
		decided := d.a.OnFailure()
		if decided == plan.Ask && d.out.Outcome != ActionRejected {
			answer, asked := d.ask(store.Question{
				Topic: fmt.Sprintf("decide %s %d", d.a.Name, round), Answers: []string{AnswerRetry, AnswerSkip},
				Message: fmt.Sprintf("action %q failed: %v", d.a.Name, err),
			}, 0)
			if asked != nil {
				return asked
			}
			if answer.Answer == AnswerRetry {
				continue
			}
			d.out.Outcome, d.out.By, d.out.Note = ActionSkipped, answer.By, answer.Note
			return nil
		}
		if decided == plan.Continue && d.out.Outcome != ActionRejected { // a person's no is more than a failure
			return nil
		}
		return dr.WithHint(fmt.Errorf("action %q: %w", d.a.Name, err), dr.KindOf(err), cmp.Or(dr.Hint(err), "understudy run show "+d.p.Run))
	}
}

// actionPrefix is how the names of steps that do actions begin.
const actionPrefix = "action "

// once is one round: an approval, or attempts until one succeeds or there are no more.
func (d *deed) once(round int) error {
	if d.a.Approval != nil {
		return d.approval(round)
	}
	name := actionPrefix + d.a.Name
	if round > 1 {
		name = fmt.Sprintf("%s again %d", name, round)
	}
	done, err := engine.Do(d.run, engine.Step[store.Attempt]{Name: name, Title: d.a.Name + ": " + d.a.Summary(),
		Do: func(ctx context.Context, say *engine.Progress) (store.Attempt, error) {
			return d.attempts(ctx, say, round)
		}})
	if errors.Is(err, engine.ErrInterrupted) {
		return err
	}
	d.out.Attempts, d.out.Ended, d.out.Output = cmp.Or(done.Attempt, d.out.Attempts), done.Ended, done.Output
	if d.out.Started.IsZero() {
		d.out.Started = done.Begun
	}
	d.extensions = done.Extensions
	return err
}

func (d *deed) approval(round int) error {
	message := d.a.Approval.Message
	if text, err := plan.Expand(message, func(scope, name string) (string, error) { return d.plainValue(scope, name), nil }); err == nil {
		message = text
	}
	answer, err := d.ask(store.Question{
		Topic: fmt.Sprintf("approve %s %d", d.a.Name, round), Answers: []string{AnswerApprove, AnswerReject},
		Message: cmp.Or(message, d.a.Name),
	}, d.a.Limit())
	if err != nil {
		return err
	}
	d.out.Attempts++
	d.out.Started, d.out.Ended, d.out.By, d.out.Note = answer.Asked, answer.Answered, answer.By, answer.Note
	switch answer.Answer {
	case AnswerApprove:
		return nil
	case AnswerReject:
		d.out.Outcome = ActionRejected
		return dr.WithHint(fmt.Errorf("rejected by %s: %s", answer.By, answer.Note), dr.KindConflict, "")
	}
	return dr.WithHint(fmt.Errorf("nobody approved within %s: %w", dr.FormatDuration(d.a.Limit()), engine.ErrTimeout), dr.KindUnavailable, "")
}

// attempts tries the action. What was tried before a restart is known: nothing that was completed is done again.
func (d *deed) attempts(ctx context.Context, say *engine.Progress, round int) (store.Attempt, error) {
	r := d.r
	list, err := r.o.Store.Attempts(ctx, d.p.Run, d.a.Name)
	if err != nil {
		return store.Attempt{}, err
	}
	// What is open may be of an earlier round: a script that a person was told to end.
	if n := len(list) - 1; n >= 0 && list[n].Ended.IsZero() {
		if list[n], err = d.interrupted(ctx, say, list[n]); err != nil {
			return list[n], err
		}
	}
	var last store.Attempt
	tried, backoff := 0, cmp.Or(time.Duration(d.a.Backoff), time.Second)
	for _, t := range list {
		if t.Round == round {
			last = t
			if !t.Unknown || !d.a.Harmless() { // a controller that died is not the action's fault
				tried++
			}
		}
	}
	for ; ; tried++ {
		if tried > 0 {
			switch {
			case last.Done:
				return last, nil
			case last.Unknown && !d.a.Harmless(), !last.Unknown && tried > d.a.Retries:
				return last, last.Err()
			case !last.Unknown:
				delay := backoff
				for range tried - 1 {
					delay = max(backoff, min(2*delay, time.Minute))
				}
				say.Say("attempt %d of %d failed, next in %s: %s", tried, d.a.Retries+1, dr.FormatDuration(delay), last.Error)
				if err := sleep(ctx, delay); err != nil {
					return last, err
				}
			}
		}
		if say.Replaced(ctx) {
			return last, engine.ErrInterrupted
		}
		next := store.Attempt{Run: d.p.Run, Action: d.a.Name, Attempt: len(list) + 1, Round: round, Begun: r.o.Now().UTC()}
		if d.a.Wait != 0 {
			next.Until = next.Begun.Add(time.Duration(d.a.Wait))
		}
		if err := r.o.Store.BeginAttempt(ctx, next); err != nil {
			return last, err
		}
		if last, err = d.try(ctx, say, next); err != nil {
			return last, err
		}
		list = append(list, last)
	}
}

// interrupted decides about an attempt that was under way when a controller died.
func (d *deed) interrupted(ctx context.Context, say *engine.Progress, a store.Attempt) (store.Attempt, error) {
	if d.a.Wait != 0 {
		return d.try(ctx, say, a)
	}
	if err := d.outlive(ctx, say); err != nil {
		return a, err
	}
	a.Unknown, a.Ended, a.Kind = true, d.r.o.Now().UTC(), dr.KindConflict
	a.Error = "the controller ended while it was under way: whether it was done is not known"
	a.Hint = "find out what it did; in the plan, `onError: ask` lets a person decide, `repeatable: true` lets it be done again"
	if d.a.OnFailure() == plan.Ask {
		a.Hint = "find out what it did, then retry or skip it"
	}
	return a, d.r.o.Store.EndAttempt(ctx, a)
}

// try carries one attempt out and records its end. The error is of the record, or of a run that ends.
func (d *deed) try(ctx context.Context, say *engine.Progress, a store.Attempt) (store.Attempt, error) {
	bounded, stop := ctx, context.CancelFunc(func() {})
	if limit := d.a.Limit(); limit > 0 {
		bounded, stop = context.WithTimeoutCause(ctx, limit, dr.WithHint(fmt.Errorf("%w (more than %s)", engine.ErrTimeout, dr.FormatDuration(limit)), dr.KindUnavailable, ""))
	}
	defer stop()
	failed := d.effect(bounded, say, &a)
	if failed != nil && ctx.Err() == nil && bounded.Err() != nil && !errors.Is(failed, engine.ErrTimeout) {
		failed = dr.WithHint(fmt.Errorf("%w: %w", context.Cause(bounded), failed), dr.KindUnavailable, dr.Hint(failed))
	}
	if failed != nil && ctx.Err() != nil && !errors.Is(context.Cause(ctx), engine.ErrAborted) {
		return a, engine.ErrInterrupted // the controller ends: the next one sees an attempt without an end
	}
	a.Ended, a.Done = d.r.o.Now().UTC(), failed == nil
	if failed != nil {
		a.Error, a.Kind, a.Hint = failed.Error(), dr.KindOf(failed), dr.Hint(failed)
	}
	if err := d.r.o.Store.EndAttempt(context.WithoutCancel(ctx), a); err != nil {
		return a, err
	}
	if ctx.Err() != nil && failed != nil {
		return a, context.Cause(ctx)
	}
	if failed != nil {
		d.r.event(ctx, "run.action-failed", store.Run{ID: d.p.Run, Group: d.p.Group}, fmt.Sprintf("action %q, attempt %d: %v", a.Action, a.Attempt, failed))
	}
	return a, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// planFor takes the plan that a request names as it is now.
func (r *Recovery) planFor(ctx context.Context, q Request) (*PlanInput, error) {
	v, err := r.o.Store.PlanVersion(ctx, q.Plan, 0)
	if err != nil {
		return nil, err
	}
	if v.Group != q.Group {
		return nil, dr.WithHint(fmt.Errorf("plan %s is of group %s", q.Plan, v.Group), dr.KindInvalid, "understudy plan list")
	}
	g, err := r.o.Store.Group(ctx, q.Group)
	if err != nil {
		return nil, err
	}
	parsed, err := decodePlan(v)
	return &PlanInput{Name: v.Plan, Version: v.Version, Plan: parsed, Failback: g.Home != "" && g.Target == g.Home && g.Site != g.Home}, err
}

// checkPlan refuses a plan that does not fit the machines of the run.
func (p Input) checkPlan() error {
	if p.Plan == nil {
		return nil
	}
	planned := map[string]bool{}
	for _, s := range p.Plan.Plan.Stages {
		for _, m := range s.Machines {
			planned[m] = true
			if !slices.ContainsFunc(p.Machines, func(o dr.MachinePolicy) bool { return o.Name == m }) {
				return dr.WithHint(fmt.Errorf("plan %s starts machine %s, which is not in group %s any more", p.Plan.Name, m, p.Group), dr.KindConflict,
					"mend the plan and apply it: understudy plan show "+p.Plan.Name+" --text")
			}
		}
	}
	for _, m := range p.Machines {
		if !planned[m.Name] {
			return dr.WithHint(fmt.Errorf("plan %s does not start machine %s, which joined group %s", p.Plan.Name, m.Name, p.Group), dr.KindConflict,
				"add it to a stage and apply the plan: understudy plan show "+p.Plan.Name+" --text")
		}
	}
	return nil
}
