package dr

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// good is a group about which there is nothing to say.
func good() Facts {
	now := time.Unix(1_800_000_000, 0)
	return Facts{State: StateProtected, Test: TestNone, Age: time.Second, RPO: time.Minute, RPOMet: true, Recoverable: true, Lag: 40 * time.Second,
		ProvenAt: now.Add(-24 * time.Hour), Now: now}
}

func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		name        string
		change      func(*Facts)
		health      Health
		reason      string
		replication Replication
		recoverable Recoverability
	}{
		{"all is well", func(*Facts) {}, HealthHealthy, "", ReplicationCurrent, Proven},
		{"split brain", func(f *Facts) { f.SplitBrain = true }, HealthCritical, "split brain", ReplicationCurrent, Proven},
		{"split brain, long ago", func(f *Facts) { f.SplitBrain, f.Age = true, time.Hour }, HealthCritical, "split brain", ReplicationUnknown, Proven},
		{"fenced", func(f *Facts) { f.Fenced, f.Failures = true, 1 }, HealthCritical, "another site", ReplicationFenced, Proven},
		{"nothing heard", func(f *Facts) { f.Age = StaleAfter + 1 }, HealthUnknown, "nothing was heard", ReplicationUnknown, Proven},
		{"nothing heard, and late", func(f *Facts) { f.Age, f.Lag, f.RPOMet = time.Hour, time.Hour, false }, HealthUnknown, "nothing was heard", ReplicationUnknown, Proven},
		{"heard just now", func(f *Facts) { f.Age = StaleAfter }, HealthHealthy, "", ReplicationCurrent, Proven},
		{"late", func(f *Facts) { f.Lag, f.RPOMet = 2*time.Minute, false }, HealthWarning, "older than the objective", ReplicationLate, Proven},
		{"very late", func(f *Facts) { f.Lag, f.RPOMet = 4*time.Minute, false }, HealthCritical, "4m old, the objective is 1m", ReplicationLate, Proven},
		{"one failure", func(f *Facts) { f.Failures, f.Error = 1, "no route" }, HealthWarning, "no route", ReplicationFailing, Proven},
		{"many failures", func(f *Facts) { f.Failures, f.Error = 5, "no route" }, HealthCritical, "5 cycles in a row failed: no route", ReplicationFailing, Proven},
		{"first copy", func(f *Facts) { f.State, f.Recoverable, f.RPOMet, f.Lag = StateSeeding, false, false, 0 }, HealthWarning, "first copy", ReplicationSeeding, NotRecoverable},
		{"first copy failed", func(f *Facts) { f.State, f.Recoverable = StateSeedingFailed, false }, HealthCritical, "seeding-failed", ReplicationFailing, NotRecoverable},
		{"paused", func(f *Facts) { f.State, f.Paused, f.Age = StatePaused, true, time.Hour }, HealthWarning, "paused", ReplicationPaused, Proven},
		{"paused for long", func(f *Facts) { f.State, f.Paused, f.Lag, f.RPOMet = StatePaused, true, time.Hour, false }, HealthCritical, "1h old", ReplicationPaused, Proven},
		{"failed over", func(f *Facts) { f.State, f.Age, f.RPOMet = StateFailedOver, time.Hour, false }, HealthWarning, "nothing protects", ReplicationOff, Proven},
		{"committed", func(f *Facts) { f.State, f.RPOMet = StateCommitted, false }, HealthWarning, "nothing protects", ReplicationOff, Proven},
		{"failover failed", func(f *Facts) { f.State, f.RPOMet = StateFailoverFailed, false }, HealthCritical, "nowhere", ReplicationOff, Proven},
		{"under way", func(f *Facts) { f.State, f.RPOMet = StateFailover, false }, HealthWarning, "being moved", ReplicationOff, Proven},
		{"a person is asked", func(f *Facts) { f.State, f.Waiting = StateFailover, true }, HealthWarning, "waits for a person", ReplicationOff, Proven},
		{"reprotecting", func(f *Facts) { f.State = StateReprotecting }, HealthWarning, "reprotecting", ReplicationCurrent, Proven},
		{"reprotect failed", func(f *Facts) { f.State = StateReprotectFailed }, HealthCritical, "reprotect-failed", ReplicationCurrent, Proven},
		{"disabled", func(f *Facts) { f.State = StateDisabled }, HealthWarning, "not protected", ReplicationOff, Proven},
		{"retention fails", func(f *Facts) { f.Warning = "old points stay" }, HealthWarning, "old points stay", ReplicationCurrent, Proven},
		{"test failed", func(f *Facts) { f.Test = TestFailed }, HealthWarning, "test failover", ReplicationCurrent, Proven},
		{"drill overdue", func(f *Facts) { f.Overdue = true }, HealthWarning, "overdue", ReplicationCurrent, Proven},
		{"never proven", func(f *Facts) { f.ProvenAt = time.Time{} }, HealthHealthy, "", ReplicationCurrent, NeverProven},
		{"proven long ago", func(f *Facts) { f.ProvenAt = f.Now.Add(-ProofLimit - 1) }, HealthHealthy, "", ReplicationCurrent, ProvenStale},
		{"proven before the schedule wants", func(f *Facts) { f.ProofLimit = time.Hour }, HealthHealthy, "", ReplicationCurrent, ProvenStale},
		{"proven, and gone", func(f *Facts) { f.Recoverable, f.RPOMet = false, false }, HealthWarning, "nothing can be recovered", ReplicationSeeding, NotRecoverable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := good()
			tt.change(&f)
			health, reason := JudgeHealth(f)
			if health != tt.health || !strings.Contains(reason, tt.reason) || (reason == "") != (health == HealthHealthy) {
				t.Errorf("health %s (%s), want %s (%s)", health, reason, tt.health, tt.reason)
			}
			if got := JudgeReplication(f); got != tt.replication {
				t.Errorf("replication %s, want %s", got, tt.replication)
			}
			if got := JudgeRecoverability(f); got != tt.recoverable {
				t.Errorf("recoverability %s, want %s", got, tt.recoverable)
			}
		})
	}
}

// Whatever is known: what is old is never healthy, nothing is healthy that cannot be recovered, and each judgement is
// one that is listed.
func TestJudgeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := Facts{
			State: rapid.SampledFrom(append(States(), "")).Draw(t, "state"), Test: rapid.SampledFrom([]TestState{TestNone, TestRunning, TestFailed}).Draw(t, "test"),
			SplitBrain: rapid.Bool().Draw(t, "split"), Fenced: rapid.Bool().Draw(t, "fenced"), Paused: rapid.Bool().Draw(t, "paused"),
			Age: time.Duration(rapid.Int64Range(0, int64(5*time.Minute)).Draw(t, "age")), RPO: time.Minute, RPOMet: rapid.Bool().Draw(t, "met"),
			Recoverable: rapid.Bool().Draw(t, "recoverable"), Lag: time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "lag")),
			Failures: rapid.IntRange(0, 9).Draw(t, "failures"), Waiting: rapid.Bool().Draw(t, "waiting"), Overdue: rapid.Bool().Draw(t, "overdue"),
		}
		health, reason := JudgeHealth(f)
		if !slices.Contains(Healths(), health) || !slices.Contains(Replications(), JudgeReplication(f)) || !slices.Contains(Recoverabilities(), JudgeRecoverability(f)) {
			t.Fatal("a judgement that is not listed")
		}
		if (health == HealthHealthy) != (reason == "") {
			t.Fatalf("%s because %q", health, reason)
		}
		if health != HealthHealthy {
			return
		}
		if f.SplitBrain || f.Fenced || !f.Recoverable || f.Age > StaleAfter || !f.replicates() {
			t.Fatalf("healthy: %+v", f)
		}
		if r := JudgeReplication(f); r != ReplicationCurrent {
			t.Fatalf("healthy, and replication is %s", r)
		}
	})
}
