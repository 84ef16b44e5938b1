package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"understudy/internal/access"
	"understudy/internal/api/wire"
	"understudy/internal/controller"
	"understudy/internal/dr"
	"understudy/internal/history"
	"understudy/internal/store"
)

// WatchBackend tells what happens and how everything is.
type WatchBackend interface {
	// Events lists what is recorded.
	Events(ctx context.Context, f store.EventFilter) ([]store.Event, error)
	// Follow tells of what happens after an event; a negative one is the newest.
	Follow(ctx context.Context, after int64, fn func(controller.Change) error) error
	// Overview tells how the groups are that the caller may see.
	Overview(ctx context.Context, sees func(group, siteName string) bool) (controller.Overview, error)
	// AllMachines lists the machines of all sites, as they were seen last.
	AllMachines(ctx context.Context) ([]controller.MachineRow, error)
	CountRuns(ctx context.Context, f store.RunFilter) (int, error)
	History(ctx context.Context, group string, from, to time.Time, points int) ([]history.Sample, error)
}

// sees returns whether the caller may look at a group or, when group is empty, at a site. What is of neither is for those
// who may look at everything. The function is for one goroutine.
func (s *server) sees(ctx context.Context) func(group, siteName string) bool {
	who := askingOf(ctx).caller
	if who.May(access.Read, access.Object{}) {
		return func(string, string) bool { return true }
	}
	known := map[string]bool{}
	if groups, err := s.inner.Groups(ctx); err == nil { // else it looks for each
		for _, g := range groups {
			known[g.Name] = who.May(access.Read, groupObject(g))
		}
	}
	return func(group, siteName string) bool {
		if group == "" {
			return siteName != "" && who.May(access.Read, access.Object{Sites: []string{siteName}})
		}
		may, ok := known[group]
		if !ok {
			o, err := s.groupObject(ctx, group)
			if err != nil {
				s.opts.Logger.Warn("look at a group", "group", group, "err", err)
				return false
			}
			may = who.May(access.Read, o)
			known[group] = may
		}
		return may
	}
}

func (s *server) overview(a huma.API) {
	huma.Register(a, op(http.MethodGet, "/v1/overview", "overview", "groups", "How everything is, in numbers"),
		func(ctx context.Context, _ *nothing) (*body[wire.Overview], error) {
			o, err := s.backend.Overview(ctx, s.sees(ctx))
			return &body[wire.Overview]{fromOverview(o)}, fail(err)
		})
}

// undecidedMost is how many groups an overview names that wait for a decision.
const undecidedMost = 10

func fromOverview(o controller.Overview) wire.Overview {
	w := wire.Overview{
		At: o.At.UTC(), Groups: o.Groups, StaleSeconds: dr.StaleAfter.Seconds(),
		Health: wire.HealthCounts{Healthy: o.Health[dr.HealthHealthy], Warning: o.Health[dr.HealthWarning], Critical: o.Health[dr.HealthCritical], Unknown: o.Health[dr.HealthUnknown]},
		Replication: wire.ReplicationCounts{Current: o.Replication[dr.ReplicationCurrent], Late: o.Replication[dr.ReplicationLate], Seeding: o.Replication[dr.ReplicationSeeding],
			Paused: o.Replication[dr.ReplicationPaused], Failing: o.Replication[dr.ReplicationFailing], Fenced: o.Replication[dr.ReplicationFenced],
			Off: o.Replication[dr.ReplicationOff], Unknown: o.Replication[dr.ReplicationUnknown]},
		Recoverability: wire.RecoverabilityCounts{Proven: o.Recoverability[dr.Proven], ProvenStale: o.Recoverability[dr.ProvenStale],
			NeverProven: o.Recoverability[dr.NeverProven], NotRecoverable: o.Recoverability[dr.NotRecoverable]},
		WorstLag: []wire.GroupLag{}, Critical: convert(o.Critical, fromCritical), UndecidedCount: len(o.Undecided), Active: []wire.Run{}, Waiting: []wire.Run{}, DrillsOverdue: []wire.OverdueDrill{}, SplitBrains: []wire.SplitBrain{},
		Vaults: []wire.VaultFill{}, Links: convert(o.Links, fromLink), Monitors: convert(o.Monitors, fromMonitor),
	}
	w.Undecided = convert(o.Undecided[:min(len(o.Undecided), undecidedMost)], func(s controller.Status) wire.UndecidedGroup {
		return wire.UndecidedGroup{Group: s.Group.Name, State: s.Decision()}
	})
	for _, s := range o.Worst {
		w.WorstLag = append(w.WorstLag, wire.GroupLag{Group: s.Group.Name, LoseSeconds: s.Lose.Seconds(), RPOSeconds: s.RPO.Seconds(), Health: string(s.Health)})
	}
	for _, r := range o.Active {
		run := fromRun(r, nil)
		run.Result = nil
		if r.State == store.RunWaiting {
			w.Waiting = append(w.Waiting, run)
		} else {
			w.Active = append(w.Active, run)
		}
	}
	for _, s := range o.Overdue {
		w.DrillsOverdue = append(w.DrillsOverdue, wire.OverdueDrill{Group: s.Group.Name, OverdueSeconds: s.Drill.Overdue.Seconds(),
			LimitSeconds: s.Drill.Limit.Seconds(), ProvenAt: wire.At(s.Drill.ProvenAt)})
	}
	for _, s := range o.SplitBrains {
		w.SplitBrains = append(w.SplitBrains, wire.SplitBrain{Group: s.Group.Name, Machines: orEmpty(s.SplitBrain)})
	}
	for _, v := range o.Vaults {
		fill := wire.VaultFill{Name: v.Vault.Name, URL: v.Vault.URL, Groups: v.Groups, At: wire.At(v.Usage.At), Problem: v.Usage.Problem}
		if !v.Usage.At.IsZero() {
			fill.Bytes, fill.FreeBytes = &v.Usage.Bytes, fromUsage(v.Vault.Name, v.Usage, o.At).FreeBytes
		}
		w.Vaults = append(w.Vaults, fill)
	}
	return w
}

func fromCritical(s controller.Status) wire.CriticalGroup {
	w := wire.CriticalGroup{Group: s.Group.Name, Reason: s.HealthReason, Hint: s.Hint, Replicating: string(s.Replicating)}
	if s.Recoverable {
		w.LoseSeconds = secondsOf(s.Lose)
	}
	return w
}

func fromLink(l controller.Link) wire.VaultLink {
	w := wire.VaultLink{Site: l.Site, Vault: l.Vault, Target: l.Target, Groups: l.Groups, Health: string(l.Health)}
	if l.Recoverable {
		w.LoseSeconds = secondsOf(l.Lose)
	}
	return w
}

// historyLong is how far back a history goes when nothing else is asked for.
const historyLong = 24 * time.Hour

func (s *server) history(a huma.API) {
	type span struct {
		Named
		From   time.Time `query:"from" doc:"By default a day before the end"`
		To     time.Time `query:"to" doc:"By default now"`
		Points int       `query:"points" minimum:"1" maximum:"2000" default:"300" doc:"At most so many buckets"`
	}
	huma.Register(a, op(http.MethodGet, "/v1/groups/{name}/history", "group-history", "groups",
		"What replication did over time: every cycle of the last day, and the worst of every five minutes for a month"),
		func(ctx context.Context, in *span) (*body[wire.History], error) {
			list, err := s.backend.Status(ctx, in.Name)
			if err != nil {
				return nil, fail(err)
			}
			now := s.opts.Now()
			if in.To.IsZero() || in.To.After(now) {
				in.To = now
			}
			if in.From.IsZero() {
				in.From = in.To.Add(-historyLong)
			}
			if !in.From.Before(in.To) {
				return nil, huma.Error422UnprocessableEntity("no time is between from and to",
					&huma.ErrorDetail{Location: "query.from", Message: "must be before to, and not in the future"})
			}
			samples, err := s.backend.History(ctx, in.Name, in.From, in.To, in.Points)
			return &body[wire.History]{wire.History{Group: in.Name, From: in.From.UTC(), To: in.To.UTC(), RPOSeconds: list[0].RPO.Seconds(),
				Samples: convert(samples, fromSample)}}, fail(err)
		})
}

func fromSample(v history.Sample) wire.HistorySample {
	return wire.HistorySample{Time: v.Time.UTC(), LagSeconds: v.Lag.Seconds(), ChangedBytes: v.Changed, StoredBytes: v.Stored, ReadBytes: v.Read,
		CycleSeconds: v.Took.Seconds(), Cycles: v.Cycles, Failures: v.Failures}
}
