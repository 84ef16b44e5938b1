//go:build unix

package recovery_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"understudy/internal/dr"
	"understudy/internal/recovery"
	"understudy/internal/recovery/action"
	"understudy/internal/store"
)

// TestPlanProof keeps plans unverified that no rehearsal proved: an action failed, or the plan was removed and another
// of its name written.
func TestPlanProof(t *testing.T) {
	w := newPlanWorld(t)
	defer w.close()
	unproven := func(why string) {
		t.Helper()
		w.run(recovery.KindCleanup, store.RunSucceeded)
		if p, err := w.store.Plan(t.Context(), "p"); err != nil || !p.NeedsVerification() {
			t.Errorf("%s: %+v, %v", why, p, err)
		}
	}
	w.apply("after: [{name: a, script: {text: 'exit 1'}, onError: continue}]\n")
	w.wait(w.begin(recovery.KindTest).ID, store.RunSucceeded)
	unproven("an action failed")
	events, err := w.store.Events(t.Context(), store.EventFilter{Group: "shop"})
	must(t, err)
	told := false
	for _, e := range events {
		told = told || e.Kind == "plan.unproven" && strings.Contains(e.Message, `action "a" was failed`)
	}
	if !told {
		t.Error("nobody is told why")
	}

	w.apply("after: [{name: a, wait: 1ms}]\n")
	must(t, w.rec.DeletePlan(t.Context(), "p", "tester"))
	w.apply("after: [{name: a, wait: 1ms}]\n")
	w.wait(w.begin(recovery.KindTest).ID, store.RunSucceeded)
	must(t, w.rec.DeletePlan(t.Context(), "p", "tester"))
	w.apply("after: [{name: b, script: {text: 'exit 1'}}]\n")
	unproven("another plan was rehearsed")
}

// TestPlanAnswers refuses an answer that was meant for what the run asked before, and goes on after no rejection.
func TestPlanAnswers(t *testing.T) {
	w := newPlanWorld(t)
	defer w.close()
	w.apply("before: [{name: one, approval: {}}, {name: two, approval: {}, onError: continue}, {name: move, script: {text: 'echo moved >> SAID'}}]\n")
	run := w.begin(recovery.KindFailover)
	w.asked(run.ID)
	approve := recovery.Answer{Answer: recovery.AnswerApprove, Action: "one", By: "ann"}
	_, err := w.rec.Answer(t.Context(), run.ID, approve)
	must(t, err)
	until(t, func() bool {
		q, open, err := w.rec.Question(t.Context(), run.ID)
		return err == nil && open && q.Action == "two"
	})
	if _, err := w.rec.Answer(t.Context(), run.ID, approve); dr.KindOf(err) != dr.KindConflict || !strings.Contains(err.Error(), `asks about action "two" now`) || dr.Hint(err) == "" {
		t.Errorf("a stale answer: %v", err)
	}
	w.answer(run.ID, recovery.AnswerReject, "no")
	if ended := w.wait(run.ID, store.RunFailed); !strings.Contains(ended.Error, "rejected by ann: no") || len(w.lines()) > 0 {
		t.Errorf("%s; scripts said %v", ended.Error, w.lines())
	}
}

// TestPlanOutlived does nothing beside a script that an earlier controller began, whatever a person answers.
func TestPlanOutlived(t *testing.T) {
	w := newPlanWorld(t)
	defer w.close()
	w.apply("after: [{name: go, approval: {}}, {name: a, script: {text: 'echo ran >> SAID'}, timeout: 300ms, onError: ask}]\n")
	run := w.begin(recovery.KindTest)
	w.asked(run.ID)
	must(t, w.store.BeginAttempt(t.Context(), store.Attempt{Run: run.ID, Action: "a", Attempt: 1, Round: 1, Begun: time.Now()}))
	dir := filepath.Join(w.dir, "run", "action-"+action.Key(run.ID, "a"))
	must(t, os.Mkdir(dir, 0o700))
	held, err := os.Create(filepath.Join(dir, "lock"))
	must(t, err)
	defer held.Close()
	must(t, unix.Flock(int(held.Fd()), syscall.LOCK_EX))
	w.answer(run.ID, recovery.AnswerApprove, "")
	for range 2 {
		until(t, func() bool {
			q, open, err := w.rec.Question(t.Context(), run.ID)
			return err == nil && open && strings.Contains(q.Message, "still runs after")
		})
		if len(w.lines()) > 0 {
			t.Fatalf("scripts said %v beside it", w.lines())
		}
		w.answer(run.ID, recovery.AnswerRetry, "")
	}
	must(t, held.Close())
	until(t, func() bool { // it may have asked once more before the end was seen
		if q, open, err := w.rec.Question(t.Context(), run.ID); err == nil && open {
			_, err = w.rec.Answer(t.Context(), run.ID, recovery.Answer{Answer: recovery.AnswerRetry, Action: q.Action, By: "ann"})
			must(t, err)
		}
		r, err := w.store.Run(t.Context(), run.ID)
		return err == nil && r.State.Ended()
	})
	w.wait(run.ID, store.RunSucceeded)
	if got := strings.Join(w.lines(), " "); got != "ran" {
		t.Errorf("scripts said %q", got)
	}
}

// TestPlanCancelScript gives up the rest of a plan, in which a script takes long, after the group has moved.
func TestPlanCancelScript(t *testing.T) {
	w := newPlanWorld(t)
	defer w.close()
	t.Setenv("PLAN_TEST_LEFT", "left-behind-s3cr3t")
	w.apply(`secrets: {t: {env: PLAN_TEST_LEFT}}
after:
  - {name: b, guest: {machine: db, command: [left-behind-s3cr3t]}}
  - {name: a, script: {text: 'echo begun >> SAID; sleep 60 & wait'}}
`)
	run := w.begin(recovery.KindFailover)
	until(t, func() bool { return len(w.lines()) > 0 })
	must(t, w.rec.Cancel(t.Context(), run.ID, "enough"))
	res := result(t, w.wait(run.ID, store.RunCancelled))
	if p := w.protection(); p.State != dr.StateFailedOver {
		t.Errorf("group %s", p.State)
	}
	// What the guest says of a secret that its own action does not name is hidden, too.
	if res.Actions[0].Output != "out of ***" {
		t.Errorf("%+v", res.Actions[0])
	}
}
