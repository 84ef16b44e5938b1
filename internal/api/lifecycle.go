package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"understudy/internal/api/wire"
	"understudy/internal/recovery"
	"understudy/internal/store"
)

// LifeCycleBackend does what follows a failover, and says what one would do.
type LifeCycleBackend interface {
	// StartRequest begins a run.
	StartRequest(ctx context.Context, q recovery.Request) (store.Run, error)
	// Failback begins a failover to the site where the group was first protected.
	Failback(ctx context.Context, q recovery.Request) (store.Run, error)
	PreviewFailover(ctx context.Context, q recovery.Request, failback bool) (recovery.Preview, error)
	PreviewReprotect(ctx context.Context, group string) (recovery.ReprotectPreview, error)
	// ReleaseMachine lets a machine run that is held at a site.
	ReleaseMachine(ctx context.Context, siteName, machine string) error
}

func (s *server) lifeCycle(a huma.API) {
	const tag = "recovery"
	accepted := func(o huma.Operation) huma.Operation {
		o.DefaultStatus = http.StatusAccepted
		return o
	}
	begun := func(r store.Run, err error) (*body[wire.Run], error) {
		return &body[wire.Run]{fromRun(r, nil)}, fail(err)
	}
	type failback struct {
		Named
		Body wire.Failback
	}
	huma.Register(a, accepted(op(http.MethodPost, "/v1/groups/{name}/failback", "failback", tag, "Begin a failover to where the group was first protected")),
		func(ctx context.Context, in *failback) (*body[wire.Run], error) {
			return begun(s.backend.Failback(ctx, recovery.Request{Kind: runKinds[in.Body.Kind], Group: in.Name, Point: in.Body.Point, Plan: in.Body.Plan, By: caller(ctx)}))
		})
	type preview struct {
		Named
		Body wire.FailoverPreview
	}
	huma.Register(a, op(http.MethodPost, "/v1/groups/{name}/failover/preview", "preview-failover", tag, "What a failover would do now"),
		func(ctx context.Context, in *preview) (*body[wire.Preview], error) {
			q := recovery.Request{Kind: runKinds[in.Body.Kind], Group: in.Name, Point: in.Body.Point, Plan: in.Body.Plan, By: caller(ctx)}
			v, err := s.backend.PreviewFailover(ctx, q, in.Body.Failback)
			w := fromPreview(v)
			if err == nil && in.Body.Calls && v.Refused == "" {
				calls, err := s.backend.PreviewCalls(ctx, q)
				if w.Calls = convert(calls, fromSiteCall); err != nil {
					w.Warnings = append(w.Warnings, "requests to providers: "+err.Error())
				}
			}
			return &body[wire.Preview]{w}, fail(err)
		})
	huma.Register(a, accepted(op(http.MethodPost, "/v1/groups/{name}/reprotect", "reprotect", tag, "Protect a group at the site that it was failed over to, and prepare its way back")),
		func(ctx context.Context, in *Named) (*body[wire.Run], error) {
			return begun(s.backend.StartRequest(ctx, recovery.Request{Kind: recovery.KindReprotect, Group: in.Name, By: caller(ctx)}))
		})
	huma.Register(a, op(http.MethodPost, "/v1/groups/{name}/reprotect/preview", "preview-reprotect", tag, "What a reprotection would copy, measured by reading disks of both sides"),
		func(ctx context.Context, in *Named) (*body[wire.ReprotectPreview], error) {
			v, err := s.backend.PreviewReprotect(ctx, in.Name)
			return &body[wire.ReprotectPreview]{fromReprotectPreview(v)}, fail(err)
		})
	type resolve struct {
		Named
		Body wire.Resolve
	}
	huma.Register(a, accepted(op(http.MethodPost, "/v1/groups/{name}/resolve", "resolve", tag, "End a split brain: keep one of the sites")),
		func(ctx context.Context, in *resolve) (*body[wire.Run], error) {
			return begun(s.backend.StartRequest(ctx, recovery.Request{Kind: recovery.KindResolve, Group: in.Name, Keep: in.Body.Keep, By: caller(ctx)}))
		})
	type machine struct {
		Named
		Machine string `path:"machine"`
	}
	huma.Register(a, op(http.MethodPost, "/v1/sites/{name}/machines/{machine}/release", "release-machine", tag, "Let a machine run that is held and that no group wants held"),
		func(ctx context.Context, in *machine) (*nothing, error) {
			return nil, fail(s.backend.ReleaseMachine(ctx, in.Name, in.Machine))
		})
}

func fromPreview(v recovery.Preview) wire.Preview {
	w := wire.Preview{
		Kind: v.Kind, Group: v.Group, Source: v.Source, Target: v.Target, Direction: "failover", Lose: v.Lose.Seconds(), Machines: []wire.PreviewMachine{},
		Point: wire.PreviewPoint{ID: v.Point.ID, Time: v.Point.Time.UTC(), Kind: string(v.Point.Kind)},
		Steps: orEmpty(v.Steps), RTOSeconds: positive(v.RTO), RTOFrom: v.RTOFrom, Refused: v.Refused, Hint: v.Hint, Warnings: orEmpty(v.Warnings),
		Checks: convert(v.Checks, fromCheck),
	}
	if v.Failback {
		w.Direction = "failback"
	}
	for _, m := range v.Machines {
		w.Machines = append(w.Machines, wire.PreviewMachine{Name: m.Name, As: m.As, Lose: m.Lose.Seconds(), Original: m.Original, Base: m.Base,
			Changed: m.Changed, RTOSeconds: positive(m.RTO)})
	}
	return w
}

func positive(d time.Duration) *float64 {
	if d <= 0 {
		return nil
	}
	s := d.Seconds()
	return &s
}

func fromReprotectPreview(v recovery.ReprotectPreview) wire.ReprotectPreview {
	w := wire.ReprotectPreview{Group: v.Group, Source: v.Source, Target: v.Target, Point: v.Point, Disks: []wire.ReprotectDisk{}, ETASeconds: v.ETA.Seconds(),
		Refused: v.Refused, Hint: v.Hint, Warnings: orEmpty(v.Warnings)}
	for _, d := range v.Disks {
		w.Disks = append(w.Disks, wire.ReprotectDisk{Machine: d.Machine, Disk: d.Disk, Size: d.Size, Send: d.Send, Original: d.Original, Write: d.Write,
			Alone: d.Alone, Sampled: d.Sampled, ETASeconds: d.ETA.Seconds()})
	}
	return w
}
