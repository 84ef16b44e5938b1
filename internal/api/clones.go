package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"understudy/internal/api/wire"
	"understudy/internal/grant"
	"understudy/internal/recovery"
	"understudy/internal/store"
)

// CloneBackend does what the API is asked for about copies of machines.
type CloneBackend interface {
	// Copy begins a clone or a move.
	Copy(ctx context.Context, kind string, c recovery.CloneSpec, by string) (store.Run, error)
	ConfirmMove(ctx context.Context, run string, deleteSource bool, by string) error
	ResumeRun(ctx context.Context, run, by string) (store.Run, error)
	Grants(ctx context.Context, active bool) ([]grant.Record, error)
	RevokeGrant(ctx context.Context, id, by string) error
}

func cloneSpec(c wire.Clone) recovery.CloneSpec {
	return recovery.CloneSpec{Machine: c.Machine, Site: c.Site, Group: c.Group, Point: c.Point, To: c.To, As: c.As,
		CPUs: c.CPUs, MemoryMiB: c.MemoryMiB, Format: c.Format, Sizes: c.Sizes, Networks: c.Networks, Set: c.Set, Verify: c.Verify, Start: c.Start}
}

func (s *server) clones(a huma.API) {
	const tag = "copies"
	accepted := func(o huma.Operation) huma.Operation {
		o.DefaultStatus = http.StatusAccepted
		return o
	}
	begin := func(kind string) func(context.Context, *request[wire.Clone]) (*body[wire.Run], error) {
		return func(ctx context.Context, in *request[wire.Clone]) (*body[wire.Run], error) {
			r, err := s.backend.Copy(ctx, kind, cloneSpec(in.Body), caller(ctx))
			return &body[wire.Run]{fromRun(r, nil)}, fail(err)
		}
	}
	huma.Register(a, accepted(op(http.MethodPost, "/v1/clones", "clone", tag, "Copy a machine, as it is now or as a recovery point has it")), begin(recovery.KindClone))
	huma.Register(a, accepted(op(http.MethodPost, "/v1/moves", "move", tag, "Move a machine: copy it while it runs, stop it, copy the rest, start the copy")), begin(recovery.KindMove))
	huma.Register(a, accepted(op(http.MethodPost, "/v1/runs/{name}/resume", "resume-run", tag, "Go on with a clone or a move that failed")),
		func(ctx context.Context, in *Named) (*body[wire.Run], error) {
			r, err := s.backend.ResumeRun(ctx, in.Name, caller(ctx))
			return &body[wire.Run]{fromRun(r, nil)}, fail(err)
		})
	type confirm struct {
		Named
		Body wire.Confirm
	}
	huma.Register(a, op(http.MethodPost, "/v1/runs/{name}/confirm", "confirm-move", tag, "Make a move final"),
		func(ctx context.Context, in *confirm) (*nothing, error) {
			return nil, fail(s.backend.ConfirmMove(ctx, in.Name, in.Body.DeleteSource, caller(ctx)))
		})
	type all struct {
		All bool `query:"all" doc:"Also those that have ended"`
		Page
	}
	huma.Register(a, op(http.MethodGet, "/v1/grants", "list-grants", tag, "List grants of access to disks, the newest first"),
		func(ctx context.Context, in *all) (*pageOf[wire.Grant], error) {
			list, err := s.backend.Grants(ctx, !in.All)
			if err != nil {
				return nil, fail(err)
			}
			return paged(list, in.Page, func(g grant.Record) string { return newestFirst(g.Issued, g.ID) }, fromGrant)
		})
	huma.Register(a, op(http.MethodDelete, "/v1/grants/{name}", "revoke-grant", tag, "End a grant and cut its connections"),
		func(ctx context.Context, in *Named) (*nothing, error) {
			return nil, fail(s.backend.RevokeGrant(ctx, in.Name, caller(ctx)))
		})
}

func fromGrant(g grant.Record) wire.Grant {
	return wire.Grant{ID: g.ID, Run: g.Run, Disk: g.Disk, Access: string(g.Access), By: g.By, Issued: g.Issued.UTC(), Expires: g.Expires.UTC(),
		Renewed: g.Renewed, Ended: wire.At(g.Ended), Reason: g.Reason}
}
