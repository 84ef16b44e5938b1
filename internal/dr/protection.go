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
	StateFailedOver            State = "failed-over"  // running at the target; another recovery point may still be chosen
	StateCommitted             State = "committed"    // the target is the owner for good
	StateReprotecting          State = "reprotecting" // recovery points begin at the new site, and the former one is prepared for the way back
	StateReprotectFailed       State = "reprotect-failed"
	StateResolving             State = "resolving" // a split brain is being ended for one of the sites
	StateResolveFailed         State = "resolve-failed"
)

// States are all states, in the order of the life of a group.
func States() []State {
	return []State{StateDisabled, StateEnabling, StateEnablingFailed, StateSeeding, StateSeedingPaused, StateSeedingFailed, StateProtected, StatePaused,
		StatePlannedFailover, StatePlannedFailoverFailed, StateFailover, StateFailoverFailed, StateFailedOver, StateCommitted, StateReprotecting,
		StateReprotectFailed, StateResolving, StateResolveFailed}
}

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

	OpReprotect Operation = "reprotect"

	OpSourceReturned Operation = "source-returned" // an old owner came back after a failover: sets SplitBrain
	OpKeepOwner      Operation = "keep-owner"      // the old owner's machines are given up: clears SplitBrain
	OpKeepFormer     Operation = "keep-former"     // the old owner becomes the owner again: clears SplitBrain at its end

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
	case OpReprotect:
		return "understudy reprotect GROUP"
	case OpKeepOwner, OpKeepFormer:
		return "understudy split-brain resolve GROUP --keep SITE"
	case OpCleanup:
		return "understudy cleanup GROUP"
	}
	return ""
}

// Runs reports whether a run carries the operation out. A group has one run at a time.
func (o Operation) Runs() bool {
	switch o {
	case OpPlannedFailover, OpFailover, OpChangePoint, OpCommit, OpReprotect, OpKeepOwner, OpKeepFormer, OpTestFailover, OpCleanup:
		return true
	}
	return false
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
		{StateProtected, OpKeepOwner, StateProtected},
		{StateProtected, OpKeepFormer, StateResolving},
		{StateProtected, OpDisable, StateDisabled},
		{StatePaused, OpResume, StateProtected},
		{StatePaused, OpPlannedFailover, StatePlannedFailover},
		{StatePaused, OpFailover, StateFailover},
		{StatePaused, OpKeepOwner, StatePaused},
		{StatePaused, OpKeepFormer, StateResolving},
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
		{StateFailoverFailed, OpKeepOwner, StateFailoverFailed},
		{StateFailoverFailed, OpKeepFormer, StateResolving},

		{StateFailedOver, OpChangePoint, StateFailover},
		{StateFailedOver, OpCommit, StateCommitted},
		{StateFailedOver, OpKeepOwner, StateFailedOver},
		{StateFailedOver, OpKeepFormer, StateResolving},

		{StateCommitted, OpReprotect, StateReprotecting},
		{StateCommitted, OpFailover, StateFailover},
		{StateCommitted, OpKeepOwner, StateCommitted},
		{StateCommitted, OpKeepFormer, StateResolving},
		{StateCommitted, OpDisable, StateDisabled},

		{StateReprotecting, OpFinish, StateProtected},
		{StateReprotecting, OpFail, StateReprotectFailed},
		{StateReprotecting, OpCancel, StateCommitted},
		{StateReprotectFailed, OpReprotect, StateReprotecting},
		{StateReprotectFailed, OpFailover, StateFailover},
		{StateReprotectFailed, OpKeepOwner, StateReprotectFailed},
		{StateReprotectFailed, OpKeepFormer, StateResolving},
		{StateReprotectFailed, OpDisable, StateDisabled},

		{StateResolving, OpFinish, StateProtected},
		{StateResolving, OpFail, StateResolveFailed},
		{StateResolveFailed, OpKeepFormer, StateResolving},
		{StateResolveFailed, OpKeepOwner, StateResolving},
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
		case "", StateDisabled, StateEnabling, StateEnablingFailed, StateSeeding, StateSeedingPaused, StateSeedingFailed:
			return conflict("", "%s refused: group is %s, so its source has not been left", op, p.State)
		}
		p.SplitBrain = true
		return p, nil
	case OpKeepOwner, OpKeepFormer:
		if !p.SplitBrain && p.State != StateResolveFailed {
			return conflict("", "%s refused: no former owner came back, so there is no split brain", op)
		}
		if p.Test != TestNone {
			return conflict(OpCleanup.Command(), "%s refused: a test failover is %s; clean it up first", op, p.Test)
		}
		next, err := Next(p.State, op)
		if err != nil {
			return p, err
		}
		// Keeping the former owner takes a while; until it is done both sides count as there.
		p.State, p.SplitBrain = next, next == StateResolving
		return p, nil
	case OpTestFailover, OpTestRunning, OpTestFail, OpCleanup, OpCleaned:
		if op == OpTestFailover && p.State != StateProtected && p.State != StatePaused {
			return conflict(way(Transitions(), p.State, OpPlannedFailover),
				"%s refused: group is %s, and a test needs it %s or %s", op, p.State, StateProtected, StatePaused)
		}
		next, err := NextTest(p.Test, op)
		p.Test = next
		return p, err
	case OpPlannedFailover, OpDisable, OpReprotect, OpFailover:
		if p.Test != TestNone && op != OpFailover {
			return conflict(OpCleanup.Command(), "%s refused: a test failover is %s; clean it up first", op, p.Test)
		}
		// Starting over a failover that failed goes to the same site; anything else would write over one of the sides.
		if p.SplitBrain && p.State != StateFailoverFailed {
			return conflict(OpKeepOwner.Command(), "%s refused: the former owner came back (split brain); say first which site is kept", op)
		}
	case OpFinish:
		if p.State == StateResolving {
			p.SplitBrain = false
		}
	}
	next, err := Next(p.State, op)
	p.State = next
	return p, err
}

// Allowed is what a person may ask of the group now, in the order of the tables, each operation once.
func (p Protection) Allowed() []Operation {
	var ops []Operation
	consider := func(op Operation) {
		if op.Command() == "" || slices.Contains(ops, op) {
			return
		}
		if _, err := p.Next(op); err == nil {
			ops = append(ops, op)
		}
	}
	for _, t := range Transitions() {
		consider(t.Op)
	}
	for _, t := range TestTransitions() {
		consider(t.Op)
	}
	return ops
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
	var names, resolving []string
	for _, o := range allowed {
		switch {
		case o == OpKeepOwner || o == OpKeepFormer: // for a split brain only
			resolving = append(resolving, string(o))
		case o.Command() != "":
			names = append(names, string(o))
		}
	}
	if len(names) == 0 {
		names = resolving
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
			if t.From == at.state && !seen[t.To] && harmless(t) {
				seen[t.To] = true
				queue = append(queue, step{t.To, append(slices.Clone(at.path), t.Op)})
			}
		}
	}
	return ""
}

// harmless reports whether a person may be told to take a transition on the way to something else: never to fail, to give
// the protection up, or to lose data by a failover that has not begun.
func harmless(t Transition) bool {
	switch t.Op {
	case OpFail, OpTestFail, OpDisable, OpKeepFormer:
		return false
	case OpFailover:
		return t.From == StateFailoverFailed || t.From == StatePlannedFailoverFailed
	}
	return true
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
			text = "wait until that is done (understudy run watch RUN)"
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
