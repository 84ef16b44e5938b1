package dr

import (
	"slices"
	"strings"
	"testing"
)

var operations = []Operation{OpEnable, OpDisable, OpBeginSeed, OpSeeded, OpPause, OpResume, OpPlannedFailover, OpFailover, OpFinish, OpFail,
	OpRetry, OpCancel, OpChangePoint, OpCommit, OpReprotect, OpKeepOwner, OpKeepFormer}

// The whole table once more: what follows in each state from each operation that is not refused.
var protectionTable = map[State]map[Operation]State{
	StateDisabled:       {OpEnable: StateEnabling},
	StateEnabling:       {OpBeginSeed: StateSeeding, OpFail: StateEnablingFailed},
	StateEnablingFailed: {OpRetry: StateEnabling, OpDisable: StateDisabled},
	StateSeeding:        {OpSeeded: StateProtected, OpPause: StateSeedingPaused, OpFail: StateSeedingFailed, OpDisable: StateDisabled},
	StateSeedingPaused:  {OpResume: StateSeeding, OpDisable: StateDisabled},
	StateSeedingFailed:  {OpRetry: StateSeeding, OpDisable: StateDisabled},
	StateProtected: {OpPause: StatePaused, OpPlannedFailover: StatePlannedFailover, OpFailover: StateFailover, OpDisable: StateDisabled,
		OpKeepOwner: StateProtected, OpKeepFormer: StateResolving},
	StatePaused: {OpResume: StateProtected, OpPlannedFailover: StatePlannedFailover, OpFailover: StateFailover, OpDisable: StateDisabled,
		OpKeepOwner: StatePaused, OpKeepFormer: StateResolving},
	StatePlannedFailover:       {OpFinish: StateFailedOver, OpFail: StatePlannedFailoverFailed, OpCancel: StateProtected},
	StatePlannedFailoverFailed: {OpPlannedFailover: StatePlannedFailover, OpFailover: StateFailover, OpCancel: StateProtected},
	StateFailover:              {OpFinish: StateFailedOver, OpFail: StateFailoverFailed},
	StateFailoverFailed:        {OpFailover: StateFailover, OpKeepOwner: StateFailoverFailed, OpKeepFormer: StateResolving},
	StateFailedOver:            {OpChangePoint: StateFailover, OpCommit: StateCommitted, OpKeepOwner: StateFailedOver, OpKeepFormer: StateResolving},
	StateCommitted: {OpReprotect: StateReprotecting, OpFailover: StateFailover, OpDisable: StateDisabled,
		OpKeepOwner: StateCommitted, OpKeepFormer: StateResolving},
	StateReprotecting: {OpFinish: StateProtected, OpFail: StateReprotectFailed, OpCancel: StateCommitted},
	StateReprotectFailed: {OpReprotect: StateReprotecting, OpFailover: StateFailover, OpDisable: StateDisabled,
		OpKeepOwner: StateReprotectFailed, OpKeepFormer: StateResolving},
	StateResolving:     {OpFinish: StateProtected, OpFail: StateResolveFailed},
	StateResolveFailed: {OpKeepFormer: StateResolving, OpKeepOwner: StateResolving},
}

func TestNextIsTheWholeTable(t *testing.T) {
	rows := 0
	if len(States()) != len(protectionTable) {
		t.Fatalf("%d states, test knows %d", len(States()), len(protectionTable))
	}
	for _, state := range States() {
		for _, op := range operations {
			next, err := Next(state, op)
			if want := protectionTable[state][op]; want != "" {
				rows++
				if err != nil || next != want {
					t.Errorf("%s, %s: %s %v, want %s", state, op, next, err, want)
				}
				continue
			}
			if err == nil || next != state {
				t.Errorf("%s, %s: %s, want a refusal", state, op, next)
				continue
			}
			checkRefusal(t, state, op, err)
		}
	}
	if n := len(Transitions()); n != rows {
		t.Errorf("table has %d rows, test knows %d", n, rows)
	}
}

// checkRefusal: what is asked, the state, what is allowed, and the command that gets to where it would be, whenever a
// person can get there.
func checkRefusal(t *testing.T, state State, op Operation, err error) {
	t.Helper()
	if KindOf(err) != KindConflict || !strings.Contains(err.Error(), string(state)) || !strings.HasPrefix(err.Error(), string(op)+" refused") {
		t.Errorf("%s, %s: %v", state, op, err)
	}
	for _, a := range Allowed(state) {
		if a.Command() != "" && a != OpKeepOwner && a != OpKeepFormer && !strings.Contains(err.Error(), string(a)) {
			t.Errorf("%s, %s: %v does not say that %s is allowed", state, op, err, a)
		}
	}
	already := slices.ContainsFunc(Transitions(), func(tr Transition) bool { return tr.Op == op && tr.To == state })
	if op.Command() != "" && Hint(err) == "" && !already && op != OpEnable && op != OpRetry {
		t.Errorf("%s, %s: no hint", state, op)
	}
}

// Every state but the first is reached, and left by something that a person can ask for.
func TestNoDeadEnds(t *testing.T) {
	for _, state := range States() {
		if len(Allowed(state)) == 0 {
			t.Errorf("%s has no way out", state)
		}
		if !slices.ContainsFunc(Transitions(), func(tr Transition) bool { return tr.To == state }) {
			t.Errorf("%s is never reached", state)
		}
		if strings.HasSuffix(string(state), "-failed") && !slices.ContainsFunc(Allowed(state), func(o Operation) bool { return o.Command() != "" }) {
			t.Errorf("nobody can lead out of %s", state)
		}
	}
}

// Every state of protection, of a test failover and of a split brain, with every operation: either there is a next
// state, or a refusal changes nothing and says what it is about.
func TestProtectionIsTotal(t *testing.T) {
	tests := []TestState{TestNone, TestStarting, TestRunning, TestCleaningUp, TestFailed}
	all := append(slices.Clone(operations), OpSourceReturned, OpTestFailover, OpTestRunning, OpTestFail, OpCleanup, OpCleaned)
	allowed := 0
	for _, state := range States() {
		for _, test := range tests {
			for _, split := range []bool{false, true} {
				for _, op := range all {
					p := Protection{State: state, Test: test, SplitBrain: split}
					next, err := p.Next(op)
					if err == nil {
						allowed++
						if next.State == "" || next.Test == "" {
							t.Errorf("%+v, %s: %+v", p, op, next)
						}
						if split && !next.SplitBrain && op != OpKeepOwner && !(op == OpFinish && state == StateResolving) {
							t.Errorf("%+v, %s: the split brain was forgotten", p, op)
						}
						continue
					}
					if next != p || KindOf(err) != KindConflict || !strings.HasPrefix(err.Error(), string(op)+" refused") {
						t.Errorf("%+v, %s: %+v %v", p, op, next, err)
					}
				}
			}
		}
	}
	t.Logf("%d of %d allowed", allowed, len(States())*len(tests)*2*len(all))
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
			"understudy failover GROUP --planned, then wait until that is done (understudy run watch RUN)"},
		{StateFailedOver, OpPause, "pause refused: group is failed-over; allowed now: change-point, commit",
			"understudy commit GROUP, then understudy reprotect GROUP, then wait until that is done (understudy run watch RUN)"},
		{StateProtected, OpResume, "resume refused: group is protected; allowed now: pause, planned-failover, failover, disable", ""},
		{StateDisabled, OpPause, "pause refused: group is disabled; allowed now: enable",
			"understudy protect --group GROUP, then wait until it is enabled"},
		{StateFailover, OpCommit, "commit refused: group is failover; nothing can be asked of it until that is over",
			"wait until that is done (understudy run watch RUN)"},
		{StateCommitted, OpPlannedFailover, "planned-failover refused: group is committed; allowed now: reprotect, failover, disable",
			"understudy reprotect GROUP, then wait until that is done (understudy run watch RUN)"},
		{StateReprotecting, OpDisable, "disable refused: group is reprotecting; allowed now: cancel",
			"wait until that is done (understudy run watch RUN)"},
		{StateResolveFailed, OpCommit, "commit refused: group is resolve-failed; allowed now: keep-former, keep-owner",
			"understudy split-brain resolve GROUP --keep SITE, then wait until that is done (understudy run watch RUN), then understudy failover GROUP --planned, then wait until that is done (understudy run watch RUN)"},
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
		{"source returns", Protection{State: StateFailedOver}, []Operation{OpSourceReturned, OpCommit, OpKeepOwner, OpDisable},
			Protection{State: StateDisabled, Test: TestNone}, "", ""},
		{"disable in split brain", Protection{State: StateCommitted}, []Operation{OpSourceReturned, OpDisable},
			Protection{State: StateCommitted, Test: TestNone, SplitBrain: true},
			"disable refused: the former owner came back (split brain); say first which site is kept", "understudy split-brain resolve GROUP --keep SITE"},
		{"reprotect in split brain", Protection{State: StateCommitted}, []Operation{OpSourceReturned, OpReprotect},
			Protection{State: StateCommitted, Test: TestNone, SplitBrain: true},
			"reprotect refused: the former owner came back (split brain); say first which site is kept", "understudy split-brain resolve GROUP --keep SITE"},
		{"former owner is kept", Protection{State: StateCommitted}, []Operation{OpSourceReturned, OpKeepFormer, OpFail, OpKeepFormer, OpFinish}, protected, "", ""},
		{"owner is kept after all", Protection{State: StateFailedOver}, []Operation{OpSourceReturned, OpKeepFormer, OpFail, OpKeepOwner, OpFinish}, protected, "", ""},
		{"nothing to resolve", protected, []Operation{OpKeepFormer}, protected, "keep-former refused: no former owner came back, so there is no split brain", ""},
		{"round trip", protected, []Operation{OpPlannedFailover, OpFinish, OpCommit, OpReprotect, OpFail, OpReprotect, OpFinish, OpPlannedFailover, OpFinish, OpCommit,
			OpReprotect, OpFinish}, protected, "", ""},
		{"former owner returns after reprotection", protected, []Operation{OpSourceReturned, OpPlannedFailover},
			Protection{State: StateProtected, Test: TestNone, SplitBrain: true},
			"planned-failover refused: the former owner came back (split brain); say first which site is kept", "understudy split-brain resolve GROUP --keep SITE"},
		{"source never left", Protection{State: StateSeeding}, []Operation{OpSourceReturned}, Protection{State: StateSeeding, Test: TestNone},
			"source-returned refused: group is seeding, so its source has not been left", ""},
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

func TestProtectionAllowed(t *testing.T) {
	for _, c := range []struct {
		p    Protection
		want []Operation
	}{
		{Protection{State: StateProtected}, []Operation{OpDisable, OpPause, OpPlannedFailover, OpFailover, OpTestFailover}},
		{Protection{State: StateProtected, Test: TestRunning}, []Operation{OpPause, OpFailover, OpCleanup}},
		{Protection{State: StateFailedOver}, []Operation{OpChangePoint, OpCommit}},
		{Protection{State: StateCommitted}, []Operation{OpDisable, OpFailover, OpReprotect}},
		{Protection{State: StateCommitted, SplitBrain: true}, []Operation{OpKeepOwner, OpKeepFormer}},
	} {
		got := c.p.Allowed()
		slices.Sort(got)
		want := slices.Sorted(slices.Values(c.want))
		if !slices.Equal(got, want) {
			t.Errorf("%+v: %v, want %v", c.p, got, want)
		}
	}
}
