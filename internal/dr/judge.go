package dr

import (
	"fmt"
	"slices"
	"time"
)

// Health is whether a group needs a person.
type Health string

// Health of a group, the worst first.
const (
	HealthCritical Health = "critical" // what protects it does not work, or it must not be trusted
	HealthUnknown  Health = "unknown"  // what is known of it is too old
	HealthWarning  Health = "warning"  // look at it today
	HealthHealthy  Health = "healthy"
)

// Healths are all of them, the worst first.
func Healths() []Health {
	return []Health{HealthCritical, HealthUnknown, HealthWarning, HealthHealthy}
}

// Replication is whether recovery points are made as they should be.
type Replication string

// Replication of a group.
const (
	ReplicationFenced  Replication = "fenced"  // another site owns the group
	ReplicationFailing Replication = "failing" // cycles fail
	ReplicationLate    Replication = "late"    // points are made, and the newest is older than the objective
	ReplicationUnknown Replication = "unknown" // what is known is too old
	ReplicationPaused  Replication = "paused"
	ReplicationSeeding Replication = "seeding" // the first copy is under way
	ReplicationOff     Replication = "off"     // nothing is to be replicated in this state
	ReplicationCurrent Replication = "current"
)

// Replications are all of them, the worst first.
func Replications() []Replication {
	return []Replication{ReplicationFenced, ReplicationFailing, ReplicationLate, ReplicationUnknown, ReplicationPaused, ReplicationSeeding,
		ReplicationOff, ReplicationCurrent}
}

// Recoverability is whether a failover would have something to bring up, and whether that was shown to boot.
type Recoverability string

// Recoverability of a group.
const (
	NotRecoverable Recoverability = "not-recoverable" // there is nothing to fail over to
	NeverProven    Recoverability = "never-proven"    // there are recovery points, and none was ever booted
	ProvenStale    Recoverability = "proven-stale"    // the last proof is too old
	Proven         Recoverability = "proven"
)

// Recoverabilities are all of them, the worst first.
func Recoverabilities() []Recoverability {
	return []Recoverability{NotRecoverable, NeverProven, ProvenStale, Proven}
}

// When a judgement turns.
const (
	// StaleAfter is the age from which what was observed of a group counts as unknown.
	StaleAfter = time.Minute
	// ProofLimit is the age from which a proof counts as old, of a group that has no schedule of drills to say so.
	ProofLimit = 90 * 24 * time.Hour
	// lagCritical times the objective, and lagGrace more, is a lag that is critical.
	lagCritical = 3
	lagGrace    = 30 * time.Second
	// failuresCritical is how many cycles in a row fail before that is critical.
	failuresCritical = 5
)

// Facts are what the judgements on a group look at.
type Facts struct {
	State       State
	Test        TestState
	SplitBrain  bool
	Fenced      bool          // another site owns the group
	Paused      bool          // by a person
	Age         time.Duration // of what was observed of replication
	RPO         time.Duration
	RPOMet      bool
	Recoverable bool          // there is something to fail over to
	Lag         time.Duration // what would be lost now
	Failures    int           // cycles in a row that failed
	Error       string        // of the last
	Warning     string        // what is wrong beside replication
	Waiting     bool          // a run waits for a person
	Overdue     bool          // a drill is

	ProvenAt   time.Time
	ProofLimit time.Duration // ProofLimit when 0
	Now        time.Time
}

// JudgeHealth says whether a group needs a person, and why unless it is healthy. What is too old is never healthy; what
// was recorded for good, such as a split brain, does not grow old.
func JudgeHealth(f Facts) (Health, string) {
	for _, rule := range []struct {
		applies bool
		health  Health
		reason  string
	}{
		{f.SplitBrain, HealthCritical, "split brain: a former site came back while the group runs elsewhere"},
		{f.Fenced, HealthCritical, "another site owns the group: nothing is replicated"},
		{f.State == StateFailoverFailed, HealthCritical, "the failover failed: the group may run nowhere"},
		{f.failed(), HealthCritical, "the last operation failed: " + string(f.State)},
		{f.replicates() && f.Age > StaleAfter, HealthUnknown, fmt.Sprintf("nothing was heard of its replication for %s", FormatDuration(f.Age.Truncate(time.Second)))},
		{f.replicates() && f.Failures >= failuresCritical, HealthCritical, fmt.Sprintf("%d cycles in a row failed: %s", f.Failures, f.Error)},
		{f.current() && f.Recoverable && f.Lag > lagCritical*f.RPO+lagGrace, HealthCritical,
			fmt.Sprintf("the newest recovery point is %s old, the objective is %s", FormatDuration(f.Lag.Truncate(time.Second)), FormatDuration(f.RPO))},
		{f.Waiting, HealthWarning, "a run waits for a person"},
		{f.replicates() && f.Failures > 0, HealthWarning, "the last cycle failed: " + f.Error},
		{f.current() && f.Recoverable && !f.RPOMet, HealthWarning, "the newest recovery point is older than the objective"},
		{f.unprotected(), HealthWarning, "it runs where nothing protects it"},
		{f.moving(), HealthWarning, "it is being moved: " + string(f.State)},
		{f.State == StateDisabled, HealthWarning, "it is not protected"},
		{f.paused(), HealthWarning, "replication is paused"},
		{f.current() && !f.Recoverable, HealthWarning, "the first copy is not complete: nothing can be recovered yet"},
		{f.Warning != "", HealthWarning, f.Warning},
		{f.Test == TestFailed, HealthWarning, "a test failover failed, and what it made may still be there"},
		{f.Overdue, HealthWarning, "a drill is overdue"},
	} {
		if rule.applies {
			return rule.health, rule.reason
		}
	}
	return HealthHealthy, ""
}

// JudgeReplication says whether recovery points are made as they should be.
func JudgeReplication(f Facts) Replication {
	switch {
	case f.Fenced:
		return ReplicationFenced
	case f.State == StateEnablingFailed || f.State == StateSeedingFailed:
		return ReplicationFailing
	case f.paused():
		return ReplicationPaused
	case !f.replicates():
		return ReplicationOff
	case f.Age > StaleAfter:
		return ReplicationUnknown
	case f.Failures > 0:
		return ReplicationFailing
	case !f.Recoverable:
		return ReplicationSeeding
	case !f.RPOMet:
		return ReplicationLate
	}
	return ReplicationCurrent
}

// JudgeRecoverability says whether there is something to fail over to, and whether that was shown to boot.
func JudgeRecoverability(f Facts) Recoverability {
	limit := f.ProofLimit
	if limit == 0 {
		limit = ProofLimit
	}
	switch {
	case !f.Recoverable:
		return NotRecoverable
	case f.ProvenAt.IsZero():
		return NeverProven
	case f.Now.Sub(f.ProvenAt) > limit:
		return ProvenStale
	}
	return Proven
}

// failed reports whether what was last asked of the group failed.
func (f Facts) failed() bool {
	return slices.Contains([]State{StateEnablingFailed, StateSeedingFailed, StatePlannedFailoverFailed, StateReprotectFailed, StateResolveFailed}, f.State)
}

// replicates reports whether cycles are to be run in this state.
func (f Facts) replicates() bool {
	return !f.paused() && slices.Contains([]State{"", StateEnabling, StateSeeding, StateProtected, StateReprotecting, StateReprotectFailed}, f.State)
}

// current reports whether what would be lost is measured against the objective.
func (f Facts) current() bool { return f.replicates() || f.paused() }

func (f Facts) paused() bool {
	return f.State == StatePaused || f.State == StateSeedingPaused || f.Paused && (f.State == "" || f.State == StateSeeding || f.State == StateProtected)
}

func (f Facts) unprotected() bool { return f.State == StateFailedOver || f.State == StateCommitted }

func (f Facts) moving() bool {
	return slices.Contains([]State{StatePlannedFailover, StateFailover, StateReprotecting, StateResolving}, f.State)
}
