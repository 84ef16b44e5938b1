package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"understudy/internal/api/wire"
	"understudy/internal/dr"
	"understudy/internal/replicate"
)

// PointBackend does what the API is asked for about recovery points.
type PointBackend interface {
	Points(ctx context.Context, group string) ([]dr.RecoveryPoint, error)
	// Point finds a point as recovery does: latest, latest-application, latest-filesystem, an ID, a name or a time.
	Point(ctx context.Context, group, selector string) (dr.RecoveryPoint, error)
	NamePoint(ctx context.Context, group, selector, name, by string) (dr.RecoveryPoint, error)
	UnnamePoint(ctx context.Context, group, name, by string) (dr.RecoveryPoint, error)
	// SyncConsistent is Sync for a point that is as consistent as the guests allow.
	SyncConsistent(ctx context.Context, group string) (replicate.Result, error)
}

// Pointed is a request about a recovery point. It has a capital since huma looks into exported fields only.
type Pointed struct {
	Named
	Point string `path:"point" doc:"latest, latest-application, latest-filesystem, an ID, a name or a time"`
}

func (s *server) points(a huma.API) {
	const tag = "points"
	type filter struct {
		Named
		Consistency string    `query:"consistency" enum:"crash,filesystem,application" doc:"At least"`
		After       time.Time `query:"after" doc:"At or after this instant"`
		Before      time.Time `query:"before" doc:"Before this instant"`
		OnlyNamed   bool      `query:"named" doc:"Only points with a name"`
		Order       string    `query:"order" enum:"oldest,newest" default:"oldest" doc:"Which come first"`
		Limit       int       `query:"limit" minimum:"0" maximum:"5000" doc:"At most so many; left out: all, up to 10000"`
		Cursor      string    `query:"cursor" maxLength:"200" doc:"The header X-Next of the page before"`
	}
	huma.Register(a, op(http.MethodGet, "/v1/groups/{name}/points", "list-points", tag, "List recovery points, the oldest first"),
		func(ctx context.Context, in *filter) (*pageOf[dr.RecoveryPoint], error) {
			f := dr.PointFilter{Consistency: dr.Consistency(in.Consistency), After: in.After, Before: in.Before, Named: in.OnlyNamed}
			if err := f.Validate(); err != nil {
				return nil, fail(err)
			}
			list, err := s.backend.Points(ctx, in.Name)
			if err != nil {
				return nil, fail(err)
			}
			return paged(f.Apply(list), Page{in.Limit, in.Cursor}, func(p dr.RecoveryPoint) string {
				epoch, sequence := p.Position.Epoch, p.Position.Sequence
				if in.Order == "newest" {
					epoch, sequence = ^epoch, ^sequence
				}
				return fmt.Sprintf("%020d %020d", epoch, sequence)
			}, func(p dr.RecoveryPoint) dr.RecoveryPoint { return p })
		})
	huma.Register(a, op(http.MethodGet, "/v1/groups/{name}/points/{point}", "show-point", tag, "Find a recovery point"),
		func(ctx context.Context, in *Pointed) (*body[dr.RecoveryPoint], error) {
			p, err := s.backend.Point(ctx, in.Name, in.Point)
			return &body[dr.RecoveryPoint]{p}, fail(err)
		})
	type naming struct {
		Pointed
		Body wire.PointName
	}
	huma.Register(a, op(http.MethodPost, "/v1/groups/{name}/points/{point}/names", "name-point", tag, "Give a recovery point a name, which keeps it from retention"),
		func(ctx context.Context, in *naming) (*body[dr.RecoveryPoint], error) {
			p, err := s.backend.NamePoint(ctx, in.Name, in.Point, in.Body.Name, caller(ctx))
			return &body[dr.RecoveryPoint]{p}, fail(err)
		})
	type named struct {
		Named
		Label string `path:"label"`
	}
	huma.Register(a, op(http.MethodDelete, "/v1/groups/{name}/point-names/{label}", "unname-point", tag, "Take a name away; retention may drop its point from now on"),
		func(ctx context.Context, in *named) (*body[dr.RecoveryPoint], error) {
			p, err := s.backend.UnnamePoint(ctx, in.Name, in.Label, caller(ctx))
			return &body[dr.RecoveryPoint]{p}, fail(err)
		})
}
