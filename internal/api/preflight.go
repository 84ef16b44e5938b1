package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"understudy/internal/api/wire"
	"understudy/internal/preflight"
	"understudy/internal/recovery"
)

// PreflightBackend says whether machines would start elsewhere.
type PreflightBackend interface {
	Preflight(ctx context.Context, q recovery.PreflightQuery) (recovery.Preflight, error)
	// PreviewCalls says which requests a failover would send to providers.
	PreviewCalls(ctx context.Context, q recovery.Request) ([]recovery.SiteCall, error)
	PreviewClone(ctx context.Context, c recovery.CloneSpec) (recovery.ClonePreview, error)
}

func (s *server) preflights(a huma.API) {
	const tag = "recovery"
	type group struct {
		Named
		Target  string `query:"target" doc:"Site; the group's target when it is left out"`
		Point   string `query:"point" doc:"latest (the default), an ID, a name or a time"`
		Machine string `query:"machine" doc:"Only this one"`
	}
	huma.Register(a, op(http.MethodGet, "/v1/groups/{name}/preflight", "preflight-group", tag, "Look into the disks of a recovery point: would its machines start at a site?"),
		func(ctx context.Context, in *group) (*body[wire.Preflight], error) {
			return preflightAnswer(s.backend.Preflight(ctx, recovery.PreflightQuery{Group: in.Name, Target: in.Target, Point: in.Point, Machine: in.Machine}))
		})
	type machine struct {
		Named
		Machine string `path:"machine"`
		Target  string `query:"target" required:"true" doc:"Site"`
	}
	huma.Register(a, op(http.MethodGet, "/v1/sites/{name}/machines/{machine}/preflight", "preflight-machine", tag, "Look into the disks of a stopped machine: would it start at another site?"),
		func(ctx context.Context, in *machine) (*body[wire.Preflight], error) {
			return preflightAnswer(s.backend.Preflight(ctx, recovery.PreflightQuery{Site: in.Name, Machine: in.Machine, Target: in.Target}))
		})
	huma.Register(a, op(http.MethodPost, "/v1/clones/preview", "preview-clone", "copies", "What a clone would do now"),
		func(ctx context.Context, in *request[wire.Clone]) (*body[wire.ClonePreview], error) {
			v, err := s.backend.PreviewClone(ctx, cloneSpec(in.Body))
			return &body[wire.ClonePreview]{wire.ClonePreview{As: v.Made.Name, CPUs: v.Made.CPUs, MemoryMiB: v.Made.MemoryMiB, From: v.From, To: v.To, Point: v.Point, Direct: v.Direct, Bytes: v.Bytes,
				Checks: convert(v.Checks, fromCheck), Calls: convert(v.Calls, fromSiteCall), Warnings: orEmpty(v.Warnings)}}, fail(err)
		})
}

func fromSiteCall(c recovery.SiteCall) wire.SiteCall {
	return wire.SiteCall{Site: c.Site, Method: c.Method, Path: c.Path, Body: c.Body}
}

func preflightAnswer(p recovery.Preflight, err error) (*body[wire.Preflight], error) {
	return &body[wire.Preflight]{wire.Preflight{Group: p.Point.Group, Point: p.Point.ID, Target: p.Target, State: string(preflight.Worst(p.Checks)),
		Checks: convert(p.Checks, fromCheck)}}, fail(err)
}

func fromCheck(c preflight.Check) wire.Check {
	return wire.Check{Machine: c.Machine, Name: c.Name, State: string(c.State), Message: c.Message, Remedy: c.Remedy}
}
