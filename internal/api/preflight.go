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
}

func preflightAnswer(p recovery.Preflight, err error) (*body[wire.Preflight], error) {
	return &body[wire.Preflight]{wire.Preflight{Group: p.Point.Group, Point: p.Point.ID, Target: p.Target, State: string(preflight.Worst(p.Checks)),
		Checks: convert(p.Checks, fromCheck)}}, fail(err)
}

func fromCheck(c preflight.Check) wire.Check {
	return wire.Check{Machine: c.Machine, Name: c.Name, State: string(c.State), Message: c.Message, Remedy: c.Remedy}
}
