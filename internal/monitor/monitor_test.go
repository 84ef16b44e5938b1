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
	return Look{Monitor: "stack", At: time.Unix(1700000000, 0), Err: err, Operations: list}
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
