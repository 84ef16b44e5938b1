package dr

import (
	"fmt"
	"slices"
	"strings"
)

// State is where a group stands in its protection.
type State string

// States of protection.
const (
	StateDisabled              State = "disabled" // not protected
	StateEnabling              State = "enabling" // site, vault and policy are being checked and prepared
	StateEnablingFailed        State = "enabling-failed"
	StateSeeding               State = "seeding" // the first full copy is under way: nothing to fail over to yet
	StateSeedingPaused         State = "seeding-paused"
	StateSeedingFailed         State = "seeding-failed"
	StateProtected             State = "protected" // recovery points are being made
	StatePaused                State = "paused"    // recovery points exist, none are being made
	StatePlannedFailover       State = "planned-failover"
	StatePlannedFailoverFailed State = "planned-failover-failed"
	StateFailover              State = "failover" // the epoch is raised: there is no way back to the source
	StateFailoverFailed        State = "failover-failed"
	StateFailedOver            State = "failed-over" // running at the target; another recovery point may still be chosen
	StateCommitted             State = "committed"   // the target is the owner for good
)

// Operation is what is asked of a group, or what has happened to it.
type Operation string

// Operations. Those that have a Command are a person's; the others happen.
const (
	OpEnable          Operation = "enable"
	OpDisable         Operation = "disable"
	OpBeginSeed       Operation = "begin-seed"
	OpSeeded          Operation = "seeded"
	OpPause           Operation = "pause"
	OpResume          Operation = "resume"
	OpPlannedFailover Operation = "planned-failover"
	OpFailover        Operation = "failover"
	OpFinish          Operation = "finish" // the failover under way is done
	OpFail            Operation = "fail"   // what was under way failed
	OpRetry           Operation = "retry"
	OpCancel          Operation = "cancel"
	OpChangePoint     Operation = "change-point"
	OpCommit          Operation = "commit"

	OpSourceReturned Operation = "source-returned" // an old owner came back after a failover: sets SplitBrain
	OpResolve        Operation = "resolve"         // the old owner's machines are given up: clears SplitBrain

	OpTestFailover Operation = "test-failover"
	OpTestRunning  Operation = "test-running"
	OpTestFail     Operation = "test-fail"
	OpCleanup      Operation = "cleanup"
	OpCleaned      Operation = "cleaned"
)

// Command is what a person types for the operation, or empty when it is not a person's to ask for.
func (o Operation) Command() string {
	switch o {
	case OpEnable, OpRetry: // a group that is known is protected again as it was described
		return "understudy protect --group GROUP"
	case OpDisable:
		return "understudy unprotect GROUP"
	case OpPause:
		return "understudy pause GROUP"
	case OpResume:
		return "understudy resume GROUP"
	case OpPlannedFailover:
		return "understudy failover GROUP --planned"
	case OpFailover:
		return "understudy failover GROUP --unplanned"
	case OpChangePoint:
		return "understudy failover GROUP --unplanned --point POINT"
	case OpTestFailover:
		return "understudy failover GROUP --test"
	case OpCancel:
		return "understudy run cancel RUN"
	case OpCommit:
		return "understudy commit GROUP"
	case OpCleanup:
		return "understudy cleanup GROUP"
	}
	return ""
}

// A Transition is one row of the table of protection.
type Transition struct {
	From State     `json:"from"`
	Op   Operation `json:"op"`
	To   State     `json:"to"`
}

// Transitions is the whole table of protection, in the order of the life of a group. What is not in it is refused.
func Transitions() []Transition {
	return []Transition{
		{StateDisabled, OpEnable, StateEnabling},
		{StateEnabling, OpBeginSeed, StateSeeding},
		{StateEnabling, OpFail, StateEnablingFailed},
		{StateEnablingFailed, OpRetry, StateEnabling},
		{StateEnablingFailed, OpDisable, StateDisabled},

		{StateSeeding, OpSeeded, StateProtected},
		{StateSeeding, OpPause, StateSeedingPaused},
		{StateSeeding, OpFail, StateSeedingFailed},
		{StateSeeding, OpDisable, StateDisabled},
		{StateSeedingPaused, OpResume, StateSeeding},
		{StateSeedingPaused, OpDisable, StateDisabled},
		{StateSeedingFailed, OpRetry, StateSeeding},
		{StateSeedingFailed, OpDisable, StateDisabled},

		{StateProtected, OpPause, StatePaused},
		{StateProtected, OpPlannedFailover, StatePlannedFailover},
		{StateProtected, OpFailover, StateFailover},
		{StateProtected, OpDisable, StateDisabled},
		{StatePaused, OpResume, StateProtected},
		{StatePaused, OpPlannedFailover, StatePlannedFailover},
		{StatePaused, OpFailover, StateFailover},
		{StatePaused, OpDisable, StateDisabled},

		{StatePlannedFailover, OpFinish, StateFailedOver},
		{StatePlannedFailover, OpFail, StatePlannedFailoverFailed},
		{StatePlannedFailover, OpCancel, StateProtected},
		{StatePlannedFailoverFailed, OpPlannedFailover, StatePlannedFailover},
		{StatePlannedFailoverFailed, OpFailover, StateFailover},
		{StatePlannedFailoverFailed, OpCancel, StateProtected},

		{StateFailover, OpFinish, StateFailedOver},
		{StateFailover, OpFail, StateFailoverFailed},
		{StateFailoverFailed, OpFailover, StateFailover},

		{StateFailedOver, OpChangePoint, StateFailover},
		{StateFailedOver, OpCommit, StateCommitted},
		{StateCommitted, OpDisable, StateDisabled},
	}
}

// Next is the state after an operation. A forbidden one is refused with an error of KindConflict that says what is
// allowed, and whose hint is the command that gets to where it would be.
func Next(state State, op Operation) (State, error) {
	table := Transitions()
	for _, t := range table {
		if t.From == state && t.Op == op {
			return t.To, nil
		}
	}
	return state, refuse("group is "+string(state), op, allowed(table, state), way(table, state, op))
}

// Allowed is what may be asked of a group in a state, in the order of the table.
func Allowed(state State) []Operation { return allowed(Transitions(), state) }

// TestState is where a test failover stands, beside the protection that it does not disturb.
type TestState string

// States of a test failover.
const (
	TestNone       TestState = "none"
	TestStarting   TestState = "starting"
	TestRunning    TestState = "running"
	TestCleaningUp TestState = "cleaning-up"
	TestFailed     TestState = "failed" // to start or to clean up: what it made may still be there
)

// A TestTransition is one row of the table of test failovers.
type TestTransition struct {
	From TestState `json:"from"`
	Op   Operation `json:"op"`
	To   TestState `json:"to"`
}

// TestTransitions is the whole table of test failovers.
func TestTransitions() []TestTransition {
	return []TestTransition{
		{TestNone, OpTestFailover, TestStarting},
		{TestStarting, OpTestRunning, TestRunning},
		{TestStarting, OpTestFail, TestFailed},
		{TestStarting, OpCleanup, TestCleaningUp},
		{TestRunning, OpTestFail, TestFailed},
		{TestRunning, OpCleanup, TestCleaningUp},
		{TestFailed, OpCleanup, TestCleaningUp},
		{TestCleaningUp, OpCleaned, TestNone},
		{TestCleaningUp, OpTestFail, TestFailed},
	}
}

// NextTest is Next for test failovers.
func NextTest(state TestState, op Operation) (TestState, error) {
	// The same search serves both tables.
	var table []Transition
	for _, t := range TestTransitions() {
		if t.From == state && t.Op == op {
			return t.To, nil
		}
		table = append(table, Transition{State(t.From), t.Op, State(t.To)})
	}
	what := "test failover is " + string(state)
	if state == TestNone {
		what = "there is no test failover"
	}
	return state, refuse(what, op, allowed(table, State(state)), way(table, State(state), op))
}

// Protection is all that decides what may be asked of a group.
type Protection struct {
	State State     `json:"state"`
	Test  TestState `json:"test"`
	// SplitBrain says that a former owner came back after a failover and is held.
	SplitBrain bool `json:"splitBrain,omitempty"`
}

// Next is the protection after an operation of either table, with the rules that concern both.
func (p Protection) Next(op Operation) (Protection, error) {
	if p.Test == "" {
		p.Test = TestNone
	}
	conflict := func(hint, format string, args ...any) (Protection, error) {
		return p, WithHint(fmt.Errorf(format, args...), KindConflict, hint)
	}
	switch op {
	case OpSourceReturned:
		switch p.State {
		case StateFailover, StateFailoverFailed, StateFailedOver, StateCommitted:
			p.SplitBrain = true
			return p, nil
		}
		return conflict("", "%s refused: group is %s, so its source has not been left", op, p.State)
	case OpResolve:
		p.SplitBrain = false
		return p, nil
	case OpTestFailover, OpTestRunning, OpTestFail, OpCleanup, OpCleaned:
		if op == OpTestFailover && p.State != StateProtected && p.State != StatePaused {
			return conflict(way(Transitions(), p.State, OpPlannedFailover),
				"%s refused: group is %s, and a test needs it %s or %s", op, p.State, StateProtected, StatePaused)
		}
		next, err := NextTest(p.Test, op)
		p.Test = next
		return p, err
	case OpPlannedFailover, OpDisable:
		if p.Test != TestNone {
			return conflict(OpCleanup.Command(), "%s refused: a test failover is %s; clean it up first", op, p.Test)
		}
		if p.SplitBrain {
			return conflict("stop the machines that came back at the former site for good, then release them",
				"%s refused: the former owner came back (split brain)", op)
		}
	}
	next, err := Next(p.State, op)
	p.State = next
	return p, err
}

func allowed(table []Transition, state State) []Operation {
	var ops []Operation
	for _, t := range table {
		if t.From == state {
			ops = append(ops, t.Op)
		}
	}
	return ops
}

func refuse(what string, op Operation, allowed []Operation, hint string) error {
	names := make([]string, 0, len(allowed))
	for _, o := range allowed {
		if o.Command() != "" {
			names = append(names, string(o))
		}
	}
	now := "nothing can be asked of it until that is over"
	if len(names) > 0 {
		now = "allowed now: " + strings.Join(names, ", ")
	}
	return WithHint(fmt.Errorf("%s refused: %s; %s", op, what, now), KindConflict, hint)
}

// way says how to get from a state to the nearest one that allows op: the commands, and what to wait for.
// It is empty when there is no way, or none that leaves the protection in being, or op would lead where it is already.
func way(table []Transition, from State, op Operation) string {
	type step struct {
		state State
		path  []Operation
	}
	if slices.ContainsFunc(table, func(t Transition) bool { return t.Op == op && t.To == from }) {
		return ""
	}
	seen := map[State]bool{from: true}
	for queue := []step{{state: from}}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if len(at.path) > 0 && slices.Contains(allowed(table, at.state), op) {
			return describe(at.path)
		}
		for _, t := range table {
			// Nobody is told to fail, or to give the protection up, on the way to something else.
			if t.From == at.state && !seen[t.To] && t.Op != OpFail && t.Op != OpTestFail && t.Op != OpDisable {
				seen[t.To] = true
				queue = append(queue, step{t.To, append(slices.Clone(at.path), t.Op)})
			}
		}
	}
	return ""
}

func describe(path []Operation) string {
	var steps []string
	for _, op := range path {
		text := op.Command()
		switch op {
		case OpBeginSeed:
			text = "wait until it is enabled"
		case OpSeeded:
			text = "wait until the first copy is complete (understudy status GROUP)"
		case OpFinish:
			text = "wait until the failover is done (understudy run watch RUN)"
		case OpTestRunning:
			text = "wait until the test runs"
		case OpCleaned:
			text = "wait until it is cleaned up"
		}
		if n := len(steps); n == 0 || steps[n-1] != text {
			steps = append(steps, text)
		}
	}
	return strings.Join(steps, ", then ")
}
