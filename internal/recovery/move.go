package recovery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"understudy/internal/dr"
	"understudy/internal/recovery/engine"
	"understudy/internal/site"
	"understudy/internal/store"
)

// Phases of a move.
const (
	phaseHot  = "hot"
	phaseRest = "rest"
)

// topicConfirm is what a move asks at its end. An answer with the note deleteSource does away with the source.
const (
	topicConfirm = "confirm"
	deleteSource = "delete the source"
)

func (r *Recovery) moveKind() kind {
	return kind{prepare: r.prepareMove, do: r.move, groupless: true}
}

func (r *Recovery) prepareMove(ctx context.Context, q Request, p *Input, prot store.Protection) (func(*store.Protection) error, error) {
	if q.Clone != nil && q.Clone.Site == "" {
		return nil, dr.WithHint(errors.New("a recovery point cannot be moved"), dr.KindInvalid, "understudy clone "+q.Clone.Machine+" --group "+q.Clone.Group)
	}
	// First: no other name or site would help.
	if err := r.unprotected(ctx, q.Clone); err != nil {
		return nil, err
	}
	change, err := r.prepareClone(ctx, q, p, prot)
	if err != nil {
		return change, err
	}
	if c := p.Clone; c.To == c.Site && c.As == c.Machine {
		return change, dr.WithHint(errors.New("it is there already"), dr.KindInvalid, "give another site (--to) or another name (--as)")
	}
	return change, nil
}

// unprotected refuses to take a machine from the group that protects it.
func (r *Recovery) unprotected(ctx context.Context, c *CloneSpec) error {
	groups, err := r.o.Store.Groups(ctx)
	if err != nil || c == nil {
		return err
	}
	for _, g := range groups {
		for _, m := range g.Machines {
			if g.Site == c.Site && m.Name == c.Machine {
				return dr.WithHint(fmt.Errorf("machine %s is protected with group %s, which would lose it", c.Machine, g.Name), dr.KindConflict,
					"move the whole group: understudy failover "+g.Name+" --planned")
			}
		}
	}
	return nil
}

// move copies a machine while it runs, stops it, copies what changed since, and starts the copy. The source is held until
// a person confirms; any failure before that gives it back.
func (r *Recovery) move(run *engine.Run, p Input) (*Result, error) {
	res := &Result{Clone: &CloneResult{From: p.Clone.from(), To: p.Clone.To, As: p.Clone.As}}
	touched := false
	err := r.moveSteps(run, p, res.Clone, &touched)
	if err != nil && touched && !errors.Is(err, engine.ErrInterrupted) && res.Clone.Confirmed.IsZero() {
		if back := r.giveSourceBack(run, p); back != nil {
			if errors.Is(back, engine.ErrInterrupted) {
				return res, r.endCopy(run, p, back)
			}
			// Not cancelled but failed: what is at the target stays as long as the source is not back.
			err = dr.WithHint(fmt.Errorf("give %s back: %w (which became necessary: %v)", p.Clone.about(), back, err), dr.KindOf(back),
				"see to site "+p.Clone.Site+", then: understudy run resume "+p.Run)
		} else {
			res.Clone.GaveBack = true
		}
	}
	return res, r.endCopy(run, p, err)
}

func (r *Recovery) moveSteps(run *engine.Run, p Input, res *CloneResult, touched *bool) error {
	c := p.Clone
	m, err := r.make(run, p, func(m dr.Machine) dr.Machine { return m })
	if err != nil {
		return err
	}
	res.Made = &m
	if c.Ran {
		_, total, err := r.rounds(run, p, m, phaseHot)
		if err != nil {
			return err
		}
		res.Bytes = total.Read
	}
	*touched = true
	if res.Stopped, err = r.stopMoved(run, p); err != nil {
		return err
	}
	if err := r.copyDisks(run, p, m, phaseRest, res); err != nil {
		return err
	}
	if c.Ran || c.Start {
		if err := r.startCopy(run, p, res); err != nil {
			return err
		}
		res.Downtime = seconds(res.Started.Sub(res.Stopped))
	}
	return r.confirm(run, p, res)
}

// stopMoved shuts the source down and holds it. What was captured before it is read no more.
func (r *Recovery) stopMoved(run *engine.Run, p Input) (time.Time, error) {
	c := p.Clone
	if err := r.sources.release(context.Background(), p.Run); err != nil {
		r.o.Logger.Warn("end capture", "run", p.Run, "error", err)
	}
	return engine.Do(run, engine.Step[time.Time]{Name: "stop source", Title: fmt.Sprintf("shut down %s at %s, and hold it", c.Machine, c.Site),
		Options: engine.StepOptions{Timeout: 2*r.o.ShutdownGrace + time.Minute, Retries: 1},
		Do: func(ctx context.Context, _ *engine.Progress) (time.Time, error) {
			at := r.o.Now().UTC()
			d, err := r.o.Sites(ctx, c.Site)
			if err != nil {
				return at, err
			}
			grace, stop := context.WithTimeout(ctx, r.o.ShutdownGrace)
			defer stop()
			if err := d.Power(grace, c.Machine, site.PowerShutdown); err != nil {
				return at, fmt.Errorf("shut down %s: %w", c.Machine, err)
			}
			return at, d.Fence(ctx, c.Machine, true, fmt.Sprintf("moved to %s as %s by run %s", c.To, c.As, p.Run))
		}})
}

// giveSourceBack makes the source what it was before the move, and sees that its copy does not run beside it.
func (r *Recovery) giveSourceBack(run *engine.Run, p Input) error {
	c := p.Clone
	o := engine.StepOptions{Timeout: startTimeout, Retries: 5, Cleanup: true}
	if err := action(run, "stop copy", fmt.Sprintf("stop %s at %s", c.As, c.To), o, func(ctx context.Context, _ *engine.Progress) error {
		d, err := r.o.Sites(ctx, c.To)
		if err != nil {
			return err
		}
		if err := d.Power(ctx, c.As, site.PowerKill); dr.KindOf(err) != dr.KindNotFound {
			return err
		}
		return nil
	}); err != nil {
		return err
	}
	return action(run, "give back", fmt.Sprintf("release %s at %s", c.Machine, c.Site), o, func(ctx context.Context, _ *engine.Progress) error {
		d, err := r.o.Sites(ctx, c.Site)
		if err == nil {
			err = d.Fence(ctx, c.Machine, false, "")
		}
		if err == nil && c.Ran {
			err = d.Power(ctx, c.Machine, site.PowerStart)
		}
		return err
	})
}

// confirm waits until a person says that the move is final.
func (r *Recovery) confirm(run *engine.Run, p Input, res *CloneResult) error {
	c := p.Clone
	q, err := engine.Do(run, engine.Step[store.Question]{Name: "confirm", Title: "wait until the move is confirmed",
		Do: func(ctx context.Context, say *engine.Progress) (store.Question, error) {
			if say.Replaced(ctx) {
				return store.Question{}, engine.ErrInterrupted
			}
			message := fmt.Sprintf("%s runs at %s as %s; %s is held until the move is confirmed; cancelling the run undoes it", c.Machine, c.To, c.As, c.about())
			if res.Started.IsZero() {
				message = fmt.Sprintf("%s is at %s as %s; %s is held until the move is confirmed; cancelling the run undoes it", c.Machine, c.To, c.As, c.about())
			}
			asked, err := r.o.Store.Ask(ctx, store.Question{Run: p.Run, Topic: topicConfirm, Action: "move", Message: message,
				Answers: []string{AnswerConfirm}, Asked: r.o.Now().UTC()})
			if err != nil {
				return asked, err
			}
			if asked.Answered.IsZero() {
				r.view.waits(p.Run, "confirm", asked.Text())
			}
			return r.awaitAnswer(ctx, asked)
		}})
	if err != nil {
		return err
	}
	res.Confirmed = q.Answered
	if q.Note != deleteSource {
		return nil
	}
	err = action(run, "delete source", "delete "+c.about(), engine.StepOptions{Timeout: deleteTimeout, Retries: 3, Cleanup: true},
		func(ctx context.Context, _ *engine.Progress) error {
			d, err := r.o.Sites(ctx, c.Site)
			if err != nil {
				return err
			}
			return d.Delete(ctx, c.Machine)
		})
	switch {
	case errors.Is(err, engine.ErrInterrupted):
		return err
	case err != nil:
		// The move is final all the same.
		res.NotGone = err.Error()
	default:
		res.Deleted = true
	}
	return nil
}

// Confirm makes a move final. With remove, the source is deleted, which only one that Understudy made can be.
func (r *Recovery) Confirm(ctx context.Context, id string, remove bool, by string) error {
	run, p, err := r.inputOf(ctx, id)
	if err != nil {
		return err
	}
	fail := func(err error) error { return fmt.Errorf("confirm %s: %w", run.ID, err) }
	if run.Kind != KindMove {
		return fail(dr.WithHint(fmt.Errorf("it is a %s, not a move", run.Kind), dr.KindConflict, "understudy run list"))
	}
	if remove {
		if err := r.deletable(ctx, p.Clone); err != nil {
			return fail(err)
		}
	}
	q, open, err := r.Question(ctx, run.ID)
	switch {
	case err != nil:
		return fail(err)
	case !open || q.Topic != topicConfirm:
		return fail(dr.WithHint(fmt.Errorf("the move is %s and asks nothing now", run.State), dr.KindConflict, "understudy run show "+run.ID))
	}
	note := ""
	if remove {
		note = deleteSource
	}
	if _, err := r.o.Store.Answer(ctx, run.ID, topicConfirm, func(q *store.Question) error {
		q.Answer, q.Note, q.By = AnswerConfirm, note, by
		return nil
	}); err != nil {
		return fail(err)
	}
	r.event(ctx, "run.approved", run, fmt.Sprintf("the move of %s was confirmed by %s", p.Clone.about(), by))
	return nil
}

// deletable refuses a source that Understudy did not make.
func (r *Recovery) deletable(ctx context.Context, c *CloneSpec) error {
	m, err := r.lookAt(ctx, c)
	if err != nil {
		return err
	}
	if m.Owner == "" {
		return dr.WithHint(fmt.Errorf("understudy did not make %s, and does not delete it", c.about()), dr.KindConflict,
			"confirm without --delete-source; it stays stopped and held, delete it with its own tools")
	}
	return nil
}
