package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"understudy/internal/api/wire"
	"understudy/internal/site"
)

// ExamineBackend does what the API is asked for about the health of sites.
type ExamineBackend interface {
	ExamineSite(ctx context.Context, name string) (findings []site.Finding, role string, err error)
	SweepSite(ctx context.Context, name string, listOnly bool) ([]string, error)
}

func (s *server) examinations(a huma.API) {
	const tag = "sites"
	huma.Register(a, op(http.MethodGet, "/v1/sites/{name}/examination", "examine-site", tag, "Say whether all that a site needs is there"),
		func(ctx context.Context, in *Named) (*body[wire.Examination], error) {
			findings, role, err := s.backend.ExamineSite(ctx, in.Name)
			return &body[wire.Examination]{wire.Examination{Role: role, Findings: convert(findings, func(f site.Finding) wire.Finding { return wire.Finding(f) })}}, fail(err)
		})
	type sweep struct {
		Named
		DryRun bool `query:"dryRun" doc:"List only"`
	}
	huma.Register(a, op(http.MethodPost, "/v1/sites/{name}/sweep", "sweep-site", tag, "Remove what Understudy made at a site and what belongs to nothing any more"),
		func(ctx context.Context, in *sweep) (*body[[]string], error) {
			list, err := s.backend.SweepSite(ctx, in.Name, in.DryRun)
			return &body[[]string]{append([]string{}, list...)}, fail(err)
		})
}
