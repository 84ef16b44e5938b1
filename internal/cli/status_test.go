package cli

import (
	"strings"
	"testing"
	"time"

	"understudy/internal/api/wire"
)

// TestStatusSaysWhatIsTrue checks what a person reads of a group in each state: no loss of seconds is claimed where
// nothing protects the group.
func TestStatusSaysWhatIsTrue(t *testing.T) {
	lose, since := 754.0, time.Now()
	base := wire.Status{Group: "shop", Site: "east", Target: "west", Run: "r1", LoseSeconds: &lose, RPOMet: true}
	for state, want := range map[string]struct {
		live          bool
		lose, at      string
		summary, hint string
	}{
		"protected":               {lose: "12 min", at: "east", summary: "fail over now: lose 12 min"},
		"paused":                  {lose: "12 min", at: "east", summary: "fail over now: lose 12 min"},
		"planned-failover":        {at: "east", summary: "is being moved from east to west", hint: "understudy run watch r1"},
		"planned-failover-failed": {at: "east", summary: "could not be moved to west, nor given back to east", hint: "--planned"},
		"failover":                {summary: "is being failed over", hint: "understudy run watch r1"},
		"failover-failed":         {summary: "may run nowhere", hint: "--unplanned"},
		"failed-over":             {live: true, lose: "NOT PROTECTED", at: "west", summary: "runs at west and is NOT PROTECTED there: if west is lost now, the last 12 min", hint: "understudy commit shop"},
		"committed":               {live: true, lose: "NOT PROTECTED", at: "west", summary: "all since the failover, are lost", hint: "understudy reprotect shop"},
		"reprotecting":            {lose: "12 min", at: "east", summary: "is being protected at east", hint: "understudy run watch r1"},
		"reprotect-failed":        {lose: "12 min", at: "east", summary: "did not come to its end", hint: "understudy reprotect shop"},
		"resolving":               {summary: "a split brain is being ended", hint: "understudy run watch r1"},
		"resolve-failed":          {summary: "may run nowhere", hint: "understudy split-brain resolve shop --keep east, or --keep west"},
	} {
		s := base
		s.State = state
		if want.live {
			s.Site, s.Target, s.LiveSince, s.RPOMet = "west", "east", &since, false
		}
		if got := loseText(s); got != want.lose {
			t.Errorf("%s: lose %q, want %q", state, got, want.lose)
		}
		if got := runsAtText(s); got != want.at {
			t.Errorf("%s: runs at %q, want %q", state, got, want.at)
		}
		text, hint := summary(s)
		if !strings.Contains(text, want.summary) || !strings.Contains(hint, want.hint) || (hint == "") != (want.hint == "") {
			t.Errorf("%s: %q, hint %q", state, text, hint)
		}
		if !onDuty(s) && (strings.Contains(text, "fail over now") || rpoText(s) != "") {
			t.Errorf("%s: %q, objective %q", state, text, rpoText(s))
		}
	}
	base.State, base.LoseSeconds = "seeding", nil
	if text, _ := summary(base); text != "nothing can be recovered yet" || loseText(base) != "EVERYTHING" {
		t.Errorf("seeding: %q, %q", text, loseText(base))
	}
}

func TestStatusOfARunThatWaits(t *testing.T) {
	s := wire.Status{Group: "shop", Site: "east", Target: "west", State: "planned-failover", Run: "r1", Waiting: "r1", WaitingFor: "approve the move"}
	text, hint := summary(s)
	if !strings.Contains(text, "WAITS FOR A PERSON: approve the move") || hint != "understudy run show r1" {
		t.Errorf("%q, hint %q", text, hint)
	}
}
