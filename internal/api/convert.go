package api

import (
	"encoding/json"

	"understudy/internal/api/wire"
	"understudy/internal/controller"
	"understudy/internal/dr"
	"understudy/internal/replicate"
	"understudy/internal/store"
)

// fromVault converts a vault.
func fromVault(v store.Vault) wire.Vault {
	return wire.Vault{Name: v.Name, ID: v.ID, URL: v.URL, KeyFile: v.KeyFile}
}

// fromRun converts a run and its steps.
func fromRun(r store.Run, steps []store.Step) wire.Run {
	w := wire.Run{
		ID: r.ID, Kind: r.Kind, Group: r.Group, About: r.About, Point: r.Point, State: string(r.State), Message: r.Message,
		Requested: r.Requested.UTC(), Started: wire.At(r.Started), Ended: wire.At(r.Ended),
		Error: r.Error, ErrorKind: string(r.ErrorKind), Hint: r.Hint, By: r.By,
	}
	if len(r.Result) > 0 {
		if err := json.Unmarshal(r.Result, &w.Result); err != nil {
			w.Result = map[string]any{"unreadable": err.Error()}
		}
	}
	for _, s := range steps {
		w.Steps = append(w.Steps, wire.Step{
			Name: s.Name, Title: s.Title, State: string(s.State), Message: s.Message, Attempts: s.Attempts,
			Started: wire.At(s.Started), Ended: wire.At(s.Ended), Error: s.Error, Hint: s.Hint, Done: s.Done, Total: s.Total, Rate: s.Rate, ETA: s.ETA,
		})
	}
	return w
}

// fromFence converts a fence.
func fromFence(f store.Fence) wire.Fence {
	return wire.Fence{
		Group: f.Group, Site: f.Site, Machine: f.Machine, Reason: f.Reason, Since: f.Since.UTC(), Held: !f.HeldAt.IsZero(),
		SplitBrain: wire.At(f.SplitBrain), Seen: wire.At(f.Seen), Power: string(f.Power), Error: f.Error, Run: f.Run,
	}
}

// fromResult converts what a cycle did.
func fromResult(r replicate.Result) wire.Cycle {
	w := wire.Cycle{Kind: r.Kind, Read: r.Read, Changed: r.Changed, Stored: r.Stored, PausedSeconds: r.Paused.Seconds(), SkewSeconds: r.Skew.Seconds(), Seconds: r.Took.Seconds(), Reason: r.Reason,
		Consistency: string(r.Consistency), Shortfall: r.Shortfall}
	if w.Spooled = r.Spooled; r.Point != nil && r.Spooled == 0 {
		w.Point = r.Point.ID
	}
	return w
}

// fromStatus converts a status.
func fromStatus(s controller.Status) wire.Status {
	w := wire.Status{
		Group: s.Group.Name, Site: s.Group.Site, Target: s.Group.Target, Vault: s.Group.Vault,
		State: string(s.Protection.State), Replication: s.Replication, KnownGood: wire.At(s.KnownGood),
		RPOSeconds: s.RPO.Seconds(), LastPoint: s.LastPoint, NextDue: wire.At(s.NextDue),
		Error: s.Error, Hint: s.Hint, Failures: s.Failures, Run: s.Protection.Run, SplitBrain: s.SplitBrain, Active: s.Active, Waiting: s.Waiting, WaitingFor: s.WaitingFor,
		ProvenAt: wire.At(s.Protection.ProvenAt), ProvenPoint: s.Protection.ProvenPoint,
		RPOMet: s.RPOMet, LiveSince: wire.At(s.LiveSince), Warning: s.Warning, WarningHint: s.WarningHint,
		Health: string(s.Health), HealthReason: s.HealthReason, Replicating: string(s.Replicating), Recoverability: string(s.Recoverability),
	}
	switch s.Protection.State {
	case dr.StateReprotecting, dr.StateReprotectFailed, dr.StateResolving, dr.StateResolveFailed:
		w.Run = s.Protection.LaterRun
	}
	if t := s.Protection.Test; t != "" && t != dr.TestNone {
		w.Test, w.TestRun = string(t), s.Protection.TestRun
	}
	if s.Drill != nil {
		d := fromDrill(*s.Drill)
		w.Drill = &d
	}
	if s.Recoverable {
		seconds := s.Lose.Seconds()
		w.LoseSeconds = &seconds
	}
	if s.LastCycle.Kind != "" {
		c := fromResult(s.LastCycle)
		w.LastCycle = &c
	}
	if sp := s.Spool; sp.Points > 0 || !sp.Away.Since.IsZero() {
		w.Spool = &wire.Spool{Points: sp.Points, Bytes: sp.Bytes, Newest: wire.At(sp.Newest), UnreachableSince: wire.At(sp.Away.Since)}
		if sp.Away.Cause != nil {
			w.Spool.Error = sp.Away.Cause.Error()
		}
	}
	if s.Progress.Phase != "" {
		w.Progress = &wire.Progress{Phase: s.Progress.Phase, Done: s.Progress.Done, Total: s.Progress.Total}
	}
	if !s.Protection.ProvenAt.IsZero() {
		seconds := s.Protection.ProvenRTO.Seconds()
		w.ProvenRTO = &seconds
	}
	return w
}
