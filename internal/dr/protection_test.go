package dr

import (
	"slices"
	"strings"
	"testing"
)

var states = []State{StateDisabled, StateEnabling, StateEnablingFailed, StateSeeding, StateSeedingPaused, StateSeedingFailed, StateProtected,
	StatePaused, StatePlannedFailover, StatePlannedFailoverFailed, StateFailover, StateFailoverFailed, StateFailedOver, StateCommitted}

var operations = []Operation{OpEnable, OpDisable, OpBeginSeed, OpSeeded, OpPause, OpResume, OpPlannedFailover, OpFailover, OpFinish, OpFail,
	OpRetry, OpCancel, OpChangePoint, OpCommit}

// The whole table once more, a row per state, in the order of operations: the state that follows, or a dash.
var protectionTable = map[State]string{
	//                          enable   disable  begin   seeded    pause          resume   planned          failover finish      fail                    retry    cancel    change   commit
	StateDisabled:              "enabling -        -       -         -              -        -                -        -           -                       -        -         -        -",
	StateEnabling:              "-        -        seeding -         -              -        -                -        -           enabling-failed         -        -         -        -",
	StateEnablingFailed:        "-        disabled -       -         -              -        -                -        -           -                       enabling -         -        -",
	StateSeeding:               "-        disabled -       protected seeding-paused -        -                -        -           seeding-failed          -        -         -        -",
	StateSeedingPaused:         "-        disabled -       -         -              seeding  -                -        -           -                       -        -         -        -",
	StateSeedingFailed:         "-        disabled -       -         -              -        -                -        -           -                       seeding  -         -        -",
	StateProtected:             "-        disabled -       -         paused         -        planned-failover failover -           -                       -        -         -        -",
	StatePaused:                "-        disabled -       -         -              protected planned-failover failover -          -                       -        -         -        -",
	StatePlannedFailover:       "-        -        -       -         -              -        -                -        failed-over planned-failover-failed -        protected -        -",
	StatePlannedFailoverFailed: "-        -        -       -         -              -        planned-failover failover -           -                       -        protected -        -",
	StateFailover:              "-        -        -       -         -              -        -                -        failed-over failover-failed         -        -         -        -",
	StateFailoverFailed:        "-        -        -       -         -              -        -                failover -           -                       -        -         -        -",
	StateFailedOver:            "-        -        -       -         -              -        -                -        -           -                       -        -         failover committed",
	StateCommitted:             "-        disabled -       -         -              -        -                -        -           -                       -        -         -        -",
}

func TestNextIsTheWholeTable(t *testing.T) {
	rows := 0
	for _, state := range states {
		row := strings.Fields(protectionTable[state])
		if len(row) != len(operations) {
			t.Fatalf("%s: %d columns", state, len(row))
		}
		for i, op := range operations {
			next, err := Next(state, op)
			if row[i] != "-" {
				rows++
				if err != nil || string(next) != row[i] {
					t.Errorf("%s, %s: %s %v, want %s", state, op, next, err, row[i])
				}
				continue
			}
			if err == nil || next != state {
				t.Errorf("%s, %s: %s, want a refusal", state, op, next)
				continue
			}
			if KindOf(err) != KindConflict || !strings.Contains(err.Error(), string(state)) || !strings.HasPrefix(err.Error(), string(op)+" refused") {
				t.Errorf("%s, %s: %v", state, op, err)
			}
			for _, a := range Allowed(state) {
				if a.Command() != "" && !strings.Contains(err.Error(), string(a)) {
					t.Errorf("%s, %s: %v does not say that %s is allowed", state, op, err, a)
				}
			}
		}
	}
	if n := len(Transitions()); n != rows {
		t.Errorf("table has %d rows, test knows %d", n, rows)
	}
}

// Every state but the first is reached, and left.
func TestNoDeadEnds(t *testing.T) {
	for _, state := range states {
		if len(Allowed(state)) == 0 {
			t.Errorf("%s has no way out", state)
		}
		if !slices.ContainsFunc(Transitions(), func(tr Transition) bool { return tr.To == state }) {
			t.Errorf("%s is never reached", state)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		state State
		op    Operation
		err   string
		hint  string
	}{
		{StateSeeding, OpFailover, "failover refused: group is seeding; allowed now: pause, disable",
			"wait until the first copy is complete (understudy status GROUP)"},
		{StateProtected, OpCommit, "commit refused: group is protected; allowed now: pause, planned-failover, failover, disable",
			"understudy failover GROUP --planned, then wait until the failover is done (understudy run watch RUN)"},
		{StateFailedOver, OpPause, "pause refused: group is failed-over; allowed now: change-point, commit", ""},
		{StateProtected, OpResume, "resume refused: group is protected; allowed now: pause, planned-failover, failover, disable", ""},
		{StateDisabled, OpPause, "pause refused: group is disabled; allowed now: enable",
			"understudy protect --group GROUP, then wait until it is enabled"},
		{StateFailover, OpCommit, "commit refused: group is failover; nothing can be asked of it until that is over",
			"wait until the failover is done (understudy run watch RUN)"},
	} {
		_, err := Next(c.state, c.op)
		if err == nil || err.Error() != c.err || Hint(err) != c.hint {
			t.Errorf("%v (%s)\nwant %s (%s)", err, Hint(err), c.err, c.hint)
		}
	}
}

func TestNextTest(t *testing.T) {
	all := []TestState{TestNone, TestStarting, TestRunning, TestCleaningUp, TestFailed}
	ops := []Operation{OpTestFailover, OpTestRunning, OpTestFail, OpCleanup, OpCleaned}
	want := map[TestState]string{
		TestNone:       "starting - - - -",
		TestStarting:   "- running failed cleaning-up -",
		TestRunning:    "- - failed cleaning-up -",
		TestCleaningUp: "- - failed - none",
		TestFailed:     "- - - cleaning-up -",
	}
	for _, state := range all {
		for i, op := range ops {
			next, err := NextTest(state, op)
			if w := strings.Fields(want[state])[i]; w == "-" {
				if KindOf(err) != KindConflict || next != state {
					t.Errorf("%s, %s: %s %v", state, op, next, err)
				}
			} else if err != nil || string(next) != w {
				t.Errorf("%s, %s: %s %v, want %s", state, op, next, err, w)
			}
		}
	}
	_, err := NextTest(TestRunning, OpTestFailover)
	if want := "understudy cleanup GROUP, then wait until it is cleaned up"; Hint(err) != want {
		t.Errorf("%v (%s)", err, Hint(err))
	}
}

func TestProtection(t *testing.T) {
	protected := Protection{State: StateProtected, Test: TestNone}
	for _, c := range []struct {
		name string
		from Protection
		ops  []Operation
		want Protection
		err  string
		hint string
	}{
		{"test beside protection", protected, []Operation{OpTestFailover, OpTestRunning, OpPause, OpResume, OpCleanup, OpCleaned}, protected, "", ""},
		{"zero test state", Protection{State: StateProtected}, []Operation{OpPause}, Protection{State: StatePaused, Test: TestNone}, "", ""},
		{"disaster during a test", protected, []Operation{OpTestFailover, OpFailover}, Protection{State: StateFailover, Test: TestStarting}, "", ""},
		{"test before the seed", Protection{State: StateSeeding}, []Operation{OpTestFailover}, Protection{State: StateSeeding, Test: TestNone},
			"test-failover refused: group is seeding, and a test needs it protected or paused", "wait until the first copy is complete (understudy status GROUP)"},
		{"planned during a test", protected, []Operation{OpTestFailover, OpPlannedFailover}, Protection{State: StateProtected, Test: TestStarting},
			"planned-failover refused: a test failover is starting; clean it up first", "understudy cleanup GROUP"},
		{"source returns", Protection{State: StateFailedOver}, []Operation{OpSourceReturned, OpCommit, OpResolve, OpDisable},
			Protection{State: StateDisabled, Test: TestNone}, "", ""},
		{"disable in split brain", Protection{State: StateCommitted}, []Operation{OpSourceReturned, OpDisable},
			Protection{State: StateCommitted, Test: TestNone, SplitBrain: true},
			"disable refused: the former owner came back (split brain)", "stop the machines that came back at the former site for good, then release them"},
		{"source never left", protected, []Operation{OpSourceReturned}, protected, "source-returned refused: group is protected, so its source has not been left", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := c.from, error(nil)
			for _, op := range c.ops {
				if err != nil {
					t.Fatal(err)
				}
				p, err = p.Next(op)
			}
			if p != c.want {
				t.Errorf("got %+v, want %+v", p, c.want)
			}
			if c.err == "" && err != nil || c.err != "" && (err == nil || err.Error() != c.err || Hint(err) != c.hint || KindOf(err) != KindConflict) {
				t.Errorf("%v (%s)", err, Hint(err))
			}
		})
	}
}
