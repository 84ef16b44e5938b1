package monitor

import (
	"errors"
	"strings"
	"testing"
	"time"

	"understudy/internal/notify"
	"understudy/internal/site"
)

func look(err error, list ...site.Operation) Look {
	return Look{Monitor: "stack", At: time.Unix(1700000000, 0), Err: err, Answer: site.Answer{Way: "API", Operations: list}}
}

func run(state string, outcome site.Outcome) site.Operation {
	return site.Operation{ID: "run/1", Title: "Run of 1.2309", Version: "1.2309", State: state, Outcome: outcome, Duration: 132 * time.Minute}
}

// TestNext is each change of an update, told once: success included.
func TestNext(t *testing.T) {
	failed := run("Failed", site.OutcomeFailed)
	failed.Step, failed.Message = "Update > Host 3 > Reboot", "the host did not come back"
	alert := site.Operation{ID: "alert/1", Title: "Warning alert: Update needs attention.", State: "Active", Outcome: site.OutcomeAttention}
	down := errors.New("connection refused")
	var s State
	for i, step := range []struct {
		look Look
		want []notify.Kind
		text string
	}{
		{look(nil, run("InProgress", site.OutcomeRunning)), nil, ""}, // the first look is no news
		{look(nil, run("InProgress", site.OutcomeRunning)), nil, ""},
		{look(nil, run("Succeeded", site.OutcomeSucceeded)), []notify.Kind{notify.Success}, "Took: 2h12m0s"},
		{look(nil, run("Succeeded", site.OutcomeSucceeded)), nil, ""},
		{look(down), nil, ""},
		{look(down), nil, ""},
		{look(down), []notify.Kind{notify.Problem}, "3 looks in a row failed: connection refused"},
		{look(down), nil, ""},
		{look(nil, failed), []notify.Kind{notify.Resolved, notify.Failure}, "Host 3 > Reboot\nthe host did not come back"},
		{look(down), nil, ""},
		{look(nil, failed, alert), []notify.Kind{notify.Problem}, "State: Active"}, // one failure is no alarm, and has no end
		{look(nil, failed), []notify.Kind{notify.Resolved}, "no longer listed"},
		{look(nil), nil, ""}, // an old run is forgotten
	} {
		next, events := s.Next(step.look)
		again, same := s.Next(step.look) // a look that is repeated after a crash
		if len(events) != len(step.want) || len(same) != len(events) || again.News != next.News {
			t.Fatalf("step %d: %+v, want %v", i, events, step.want)
		}
		for k, e := range events {
			if e.Kind != step.want[k] || e.ID != same[k].ID || e.Subject == "" {
				t.Errorf("step %d: %+v, want %s", i, e, step.want[k])
			}
		}
		if n := len(events); n > 0 && !strings.Contains(events[n-1].Text, step.text) {
			t.Errorf("step %d: text %q, want %q", i, events[n-1].Text, step.text)
		}
		s = next
	}
}

// partly is a look at which another way told of some operations.
func partly(list ...site.Operation) Look {
	l := look(errors.New("503"), list...)
	l.Answer.Way = "privileged endpoint at 10.0.0.1"
	return l
}

// TestPartly: what another way tells is news once, whoever tells it, while the site counts as one that does not answer.
func TestPartly(t *testing.T) {
	alert := site.Operation{ID: "alert/1", Title: "Warning alert", State: "Active", Outcome: site.OutcomeAttention}
	running, done := run("InProgress", site.OutcomeRunning), run("Succeeded", site.OutcomeSucceeded)
	update := func(state string, outcome site.Outcome) site.Operation {
		return site.Operation{ID: "update/1", Title: "1.2309", State: state, Outcome: outcome, Summary: true}
	}
	other := func(id, formerly, state string, outcome site.Outcome) site.Operation {
		return site.Operation{ID: id, Formerly: formerly, Title: "Run of an update", State: state, Outcome: outcome}
	}
	for name, steps := range map[string][]struct {
		look Look
		want []notify.Kind
		text string
	}{
		"joined": {
			{look(nil, running, alert, update("Installing", site.OutcomeRunning)), nil, ""},
			{partly(running), nil, ""}, // the alert that is not listed is not over
			{partly(done), []notify.Kind{notify.Success}, "Took: 2h12m0s"},
			{partly(done), []notify.Kind{notify.Problem}, "In its place the privileged endpoint at 10.0.0.1 tells"},
			{partly(done), nil, ""},
			{look(errors.New("503")), nil, ""}, // nobody tells anything
			{look(nil, done, alert, update("Installed", site.OutcomeSucceeded)), []notify.Kind{notify.Resolved}, "after 5 looks"}, // no second success
			{look(nil, done), []notify.Kind{notify.Resolved}, "no longer listed"},
		},
		"begun meanwhile": {
			{look(nil, update("Ready", site.OutcomeWaiting)), nil, ""},
			{partly(other("run/at-1", "", "InProgress", site.OutcomeRunning)), []notify.Kind{notify.Information}, "InProgress"},
			{look(nil, other("run/7", "run/at-1", "InProgress", site.OutcomeRunning)), nil, ""},
			{look(nil, other("run/7", "", "Failed", site.OutcomeFailed)), []notify.Kind{notify.Failure}, "InProgress -> Failed"},
		},
		"changed meanwhile": {
			{look(nil), nil, ""},
			{partly(other("run/at-1", "", "InProgress", site.OutcomeRunning)), []notify.Kind{notify.Information}, ""},
			{look(nil, other("run/7", "run/at-1", "Succeeded", site.OutcomeSucceeded)), []notify.Kind{notify.Success}, "InProgress -> Succeeded"},
		},
		"before the first answer": {
			{partly(other("run/at-1", "", "InProgress", site.OutcomeRunning)), nil, ""},
			{partly(other("run/at-1", "", "Failed", site.OutcomeFailed)), []notify.Kind{notify.Failure}, ""},
			{look(nil, other("run/7", "run/at-1", "Failed", site.OutcomeFailed), other("run/6", "", "Succeeded", site.OutcomeSucceeded), alert), nil, ""},
			{look(nil, other("run/7", "", "Failed", site.OutcomeFailed), other("run/6", "", "Succeeded", site.OutcomeSucceeded)), []notify.Kind{notify.Resolved}, ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var s State
			for i, step := range steps {
				next, events := s.Next(step.look)
				if len(events) != len(step.want) {
					t.Fatalf("step %d: %+v, want %v", i, events, step.want)
				}
				for k, e := range events {
					if e.Kind != step.want[k] || !strings.Contains(e.Text, step.text) {
						t.Errorf("step %d: %+v, want %s %q", i, e, step.want[k], step.text)
					}
				}
				if next.Way != step.look.Answer.Way || step.look.Err == nil && (next.Failures != 0 || next.Looked.IsZero()) || step.look.Err != nil && next.Failures != s.Failures+1 {
					t.Errorf("step %d: %+v", i, next)
				}
				s = next
			}
		})
	}
}

// TestSteps: the steps of what runs and of the newest that ended are kept, and no more.
func TestSteps(t *testing.T) {
	var list []site.Operation
	for i := range 6 {
		o := run("Succeeded", site.OutcomeSucceeded)
		o.ID, o.Started, o.Steps = string(rune('a'+i)), time.Unix(int64(1000+i), 0), []site.Step{{Name: "x"}}
		list = append(list, o)
	}
	list[0].State, list[0].Outcome = "InProgress", site.OutcomeRunning
	s, _ := State{}.Next(look(nil, list...))
	kept := ""
	for _, o := range list {
		if len(s.Operations[o.ID].Steps) > 0 {
			kept += o.ID
		}
		if len(o.Steps) == 0 {
			t.Error("what was looked at is changed")
		}
	}
	if kept != "adef" {
		t.Errorf("kept %s", kept)
	}
}
