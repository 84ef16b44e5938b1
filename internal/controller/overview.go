package controller

import (
	"cmp"
	"context"
	"slices"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
	"understudy/internal/store"
)

// worstMost is how many groups an overview names as the worst.
const worstMost = 10

// An Overview is how everything is, in numbers.
type Overview struct {
	At             time.Time
	Groups         int
	Health         map[dr.Health]int
	Replication    map[dr.Replication]int
	Recoverability map[dr.Recoverability]int
	RPOMissed      int
	Worst          []Status // by what would be lost, the most first
	Critical       []Status // without those of SplitBrains, at most worstMost, the ones that would lose most first
	SplitBrains    []Status
	Undecided      []Status // of the others: where a person decides what comes next, and nothing is under way
	Overdue        []Status // drills that are
	Active         []store.Run
	Vaults         []VaultState
	Links          []Link          // ways of recovery points
	Monitors       []store.Monitor // in alarm
}

// A VaultState is a vault, and what is known of how full it is.
type VaultState struct {
	Vault  store.Vault
	Groups int // that use it
	Usage  VaultUsage
}

// Overview tells how everything is that the caller may see. What was not heard of lately counts as unknown.
func (c *Controller) Overview(ctx context.Context, sees func(group, siteName string) bool) (Overview, error) {
	o := Overview{At: c.cfg.Now(), Health: map[dr.Health]int{}, Replication: map[dr.Replication]int{}, Recoverability: map[dr.Recoverability]int{}}
	list, err := c.Status(ctx, "")
	if err != nil {
		return o, err
	}
	list = slices.DeleteFunc(list, func(s Status) bool { return !sees(s.Group.Name, "") })
	o.Links = links(list)
	uses := map[string]int{}
	for _, s := range list {
		o.Groups++
		o.Health[s.Health]++
		o.Replication[s.Replicating]++
		o.Recoverability[s.Recoverability]++
		uses[s.Group.Vault]++
		if s.Replicating == dr.ReplicationLate {
			o.RPOMissed++
		}
		if len(s.SplitBrain) > 0 || s.Protection.SplitBrain {
			o.SplitBrains = append(o.SplitBrains, s)
		} else if s.Health == dr.HealthCritical {
			o.Critical = append(o.Critical, s)
		} else if s.Decision() != "" {
			o.Undecided = append(o.Undecided, s)
		}
		if s.Drill != nil && s.Drill.Overdue > 0 {
			o.Overdue = append(o.Overdue, s)
		}
	}
	o.Worst = slices.DeleteFunc(slices.Clone(list), func(s Status) bool { return !s.Recoverable })
	o.Worst, o.Critical = worst(o.Worst), worst(o.Critical)
	runs, err := c.recovery.Runs(ctx, store.RunFilter{Active: true, Limit: 1000})
	if err != nil {
		return o, err
	}
	o.Active = slices.DeleteFunc(runs, func(r store.Run) bool { return !sees(r.Group, "") })
	vaults, err := c.store.Vaults(ctx)
	if err != nil {
		return o, err
	}
	for _, v := range vaults {
		if uses[v.Name] > 0 || sees("", "") {
			usage, _ := c.usage(ctx, v.Name)
			o.Vaults = append(o.Vaults, VaultState{Vault: v, Groups: uses[v.Name], Usage: usage})
		}
	}
	monitors, err := c.store.Monitors(ctx)
	o.Monitors = slices.DeleteFunc(monitors, func(m store.Monitor) bool { return !alarms(m) || !sees("", m.Site) })
	return o, err
}

// Decision is the state in which nothing goes on until a person decides, such as to commit; empty when it is none of those, or
// while a run is under way, which asks by itself. What failed is critical instead.
func (s Status) Decision() string {
	switch state, test := s.Protection.State, s.Protection.Test; {
	case s.Active != "":
		return ""
	case state == dr.StateFailedOver, state == dr.StateCommitted:
		return string(state)
	case test == dr.TestRunning, test == dr.TestFailed:
		return "test-" + string(test)
	}
	return ""
}

// worst are those of a list that would lose most, the most first.
func worst(list []Status) []Status {
	slices.SortFunc(list, func(a, b Status) int {
		return cmp.Or(cmp.Compare(b.Lose, a.Lose), cmp.Compare(a.Group.Name, b.Group.Name))
	})
	return list[:min(len(list), worstMost)]
}

// alarms reports whether a monitor tells of something that wants a person.
func alarms(m store.Monitor) bool {
	if m.State.Alarm {
		return true
	}
	for _, o := range m.State.Operations {
		if o.Outcome == site.OutcomeFailed || o.Outcome == site.OutcomeAttention {
			return true
		}
	}
	return false
}
