package recovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"understudy/internal/dr"
	"understudy/internal/recovery/engine"
	"understudy/internal/store"
)

// lookAgain is how often a wait looks at the store and at the clock on the wall: the answer may have been given by
// another process, and the clock may have been set.
const lookAgain = time.Second

// ask waits for a person's answer. The question and its answer are in the store: both survive a restart. limit 0 waits
// for ever; an answer that is empty says that the time passed.
func (d *deed) ask(q store.Question, limit time.Duration) (store.Question, error) {
	q.Run, q.Action = d.p.Run, d.a.Name
	return engine.Do(d.run, engine.Step[store.Question]{Name: "ask: " + q.Topic, Title: d.a.Name + ": wait for a person",
		Do: func(ctx context.Context, say *engine.Progress) (store.Question, error) {
			if say.Replaced(ctx) {
				return q, engine.ErrInterrupted
			}
			q.Asked = d.r.o.Now().UTC()
			if limit > 0 {
				q.Until = q.Asked.Add(limit)
			}
			first := q.Asked
			asked, err := d.r.o.Store.Ask(ctx, q)
			if err != nil {
				return q, err
			}
			if asked.Asked.Equal(first) {
				d.r.event(ctx, "run.waiting", store.Run{ID: q.Run, Group: d.p.Group}, asked.Message)
			}
			if asked.Answered.IsZero() {
				say.Say("%s", asked.Text())
				d.r.view.waits(d.run.ID, "ask: "+q.Topic, asked.Text())
			}
			given, err := d.r.awaitAnswer(ctx, asked)
			if err == nil {
				say.Say("%s", given.Reply())
			}
			return given, err
		}})
}

func (r *Recovery) awaitAnswer(ctx context.Context, q store.Question) (store.Question, error) {
	for {
		changed := r.view.changes()
		now, err := r.o.Store.Question(ctx, q.Run, q.Topic)
		if err == nil && !now.Answered.IsZero() {
			return now, nil
		}
		if err != nil && ctx.Err() == nil {
			if dr.KindOf(err) == dr.KindNotFound {
				return q, err
			}
			// A wait of days does not end because of one moment in which the store could not be read.
			r.o.Logger.Warn("read the answer", "run", q.Run, "topic", q.Topic, "error", err)
		}
		wait := lookAgain
		if !q.Until.IsZero() {
			left := q.Until.Sub(r.o.Now())
			if left <= 0 && ctx.Err() == nil {
				if now, err := r.o.Store.Answer(ctx, q.Run, q.Topic, func(*store.Question) error { return nil }); dr.KindOf(err) != dr.KindConflict {
					return now, err
				}
				continue // somebody answered at the last moment
			}
			wait = min(wait, left)
		}
		if err := wakeable(ctx, changed, wait); err != nil {
			if errors.Is(err, engine.ErrAborted) {
				// Nobody is asked any more.
				_, closed := r.o.Store.Answer(context.WithoutCancel(ctx), q.Run, q.Topic, func(a *store.Question) error { a.Answer = answerCancelled; return nil })
				if closed != nil && dr.KindOf(closed) != dr.KindConflict {
					err = errors.Join(err, closed)
				}
			}
			return q, err
		}
	}
}

// wakeable waits for a change, but not for ever.
func wakeable(ctx context.Context, changed <-chan struct{}, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-changed:
	case <-t.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// waits shows that a step, and with it its run, waits for a person.
func (v *view) waits(run, step, message string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if s := v.of(run)[step]; s != nil {
		s.State, s.Message = store.RunWaiting, message
		if err := v.o.Store.PutStep(context.Background(), s.Step); err != nil {
			v.o.Logger.Error("save step", "run", run, "step", step, "error", err)
		}
	}
	_, err := v.o.Store.ChangeRun(context.Background(), run, func(r *store.Run) error {
		if !r.State.Ended() {
			r.State, r.Message = store.RunWaiting, message
		}
		return nil
	})
	if err != nil {
		v.o.Logger.Error("save run", "run", run, "error", err)
	}
	v.notifyLocked()
}

// answered are the kinds of event of answers.
var answered = map[string]string{AnswerApprove: "approved", AnswerReject: "rejected", AnswerRetry: "retried", AnswerSkip: "skipped"}

// An Answer is a person's answer to what a run asks.
type Answer struct {
	Answer string // one of the Answer constants
	Action string // that is meant; an answer to what is asked about another is refused. Any when empty
	Note   string // why; needed to skip and to reject
	By     string
}

// Answer answers what a run asks. A run that asks nothing, or something else, is dr.KindConflict.
func (r *Recovery) Answer(ctx context.Context, id string, a Answer) (store.Question, error) {
	fail := func(err error) (store.Question, error) {
		return store.Question{}, fmt.Errorf("%s %s: %w", a.Answer, id, err)
	}
	if answered[a.Answer] == "" {
		return fail(dr.WithHint(errors.New("no such answer"), dr.KindInvalid, "approve, reject, retry or skip"))
	}
	run, err := r.o.Store.Run(ctx, id)
	if err != nil {
		return fail(err)
	}
	q, open, err := r.o.Store.OpenQuestion(ctx, run.ID)
	switch {
	case err != nil:
		return fail(err)
	case run.State.Ended():
		return fail(dr.WithHint(fmt.Errorf("the run has %s", run.State), dr.KindConflict, "understudy run show "+run.ID))
	case !open:
		return fail(dr.WithHint(errors.New("the run asks nothing now"), dr.KindConflict, "understudy run watch "+run.ID))
	case a.Action != "" && a.Action != q.Action:
		return fail(dr.WithHint(fmt.Errorf("it asks about action %q now: %s", q.Action, q.Message), dr.KindConflict, q.Ways()))
	case q.Topic == topicConfirm || !slices.Contains(q.Answers, a.Answer): // to confirm a move takes more than an answer: see Confirm
		return fail(dr.WithHint(fmt.Errorf("that is not what is asked: %s", q.Message), dr.KindConflict, q.Ways()))
	case a.Note == "" && a.Answer == AnswerSkip:
		return fail(dr.WithHint(errors.New("a reason is needed"), dr.KindInvalid, "understudy run skip "+run.ID+" --reason TEXT"))
	}
	q, err = r.o.Store.Answer(ctx, run.ID, q.Topic, func(q *store.Question) error {
		q.Answer, q.Note, q.By = a.Answer, a.Note, a.By
		return nil
	})
	if err != nil {
		return fail(err)
	}
	r.event(ctx, "run."+answered[a.Answer], run, fmt.Sprintf("action %q: %s", q.Action, q.Reply()))
	return q, nil
}

// Question returns what a run asks now, and whether it asks anything.
func (r *Recovery) Question(ctx context.Context, id string) (store.Question, bool, error) {
	run, err := r.o.Store.Run(ctx, id)
	if err != nil || run.State.Ended() {
		return store.Question{}, false, err
	}
	return r.o.Store.OpenQuestion(ctx, run.ID)
}
