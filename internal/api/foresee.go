package api

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"understudy/internal/api/wire"
	"understudy/internal/controller"
	"understudy/internal/dr"
)

// ForeseeBackend tells what settings come to.
type ForeseeBackend interface {
	VaultUsage(ctx context.Context, name string) (controller.VaultUsage, error)
	VaultUsages(ctx context.Context) (map[string]controller.VaultUsage, error)
	Foresee(ctx context.Context, group string, tiers []dr.Tier, at time.Time) ([]controller.Foreseen, []dr.Tier, error)
	EffectivePolicy(ctx context.Context, name string) (dr.Policy, []string, error)
}

func (s *server) foresee(a huma.API) {
	huma.Register(a, op(http.MethodGet, "/v1/vaults/{name}/usage", "vault-usage", "vaults", "How full a vault is, as it was added up last"),
		func(ctx context.Context, in *Named) (*body[wire.VaultUsage], error) {
			u, err := s.backend.VaultUsage(ctx, in.Name)
			if err != nil {
				return nil, fail(err)
			}
			w, sees := fromUsage(in.Name, u, s.opts.Now()), s.sees(ctx)
			for _, group := range slices.Sorted(maps.Keys(u.Groups)) {
				if g := u.Groups[group]; sees(group, "") {
					w.Groups = append(w.Groups, wire.GroupUsage{Group: group, Bytes: g.Bytes, Objects: g.Objects})
				}
			}
			return &body[wire.VaultUsage]{w}, nil
		})
	huma.Register(a, op(http.MethodGet, "/v1/policies/{name}/effective", "effective-policy", "policies", "What a policy does, in sentences"),
		func(ctx context.Context, in *Named) (*body[wire.EffectivePolicy], error) {
			p, groups, err := s.backend.EffectivePolicy(ctx, in.Name)
			if err != nil {
				return nil, fail(err)
			}
			sees := s.sees(ctx)
			groups = slices.DeleteFunc(groups, func(g string) bool { return !sees(g, "") })
			return &body[wire.EffectivePolicy]{wire.EffectivePolicy{Policy: wire.FromPolicy(p), Sentences: p.Describe(), Points: p.Expect(), Groups: orEmpty(groups)}}, nil
		})
	type when struct {
		Named
		At   time.Time `query:"at" doc:"When; by default now"`
		In   string    `query:"in" example:"7d" doc:"Or how long from now"`
		Keep string    `query:"keep" maxLength:"500" example:"all for 1h, 1h for 7d" doc:"Retention tiers; by default those of the group's policy"`
	}
	huma.Register(a, op(http.MethodGet, "/v1/groups/{name}/retention", "foresee-retention", "points", "Which of today's recovery points will be kept at a later time"),
		func(ctx context.Context, in *when) (*body[wire.Retention], error) {
			now := s.opts.Now()
			at := in.At
			if at.IsZero() {
				at = now
			}
			if in.In != "" {
				d, err := dr.ParseDuration(in.In)
				if err != nil {
					return nil, huma.Error422UnprocessableEntity("the time is not valid", &huma.ErrorDetail{Location: "query.in", Message: err.Error()})
				}
				at = now.Add(d)
			}
			var tiers []dr.Tier
			if in.Keep != "" {
				var err error
				if tiers, err = dr.ParseTiers(in.Keep); err != nil {
					return nil, huma.Error422UnprocessableEntity("the tiers are not valid", &huma.ErrorDetail{Location: "query.keep", Message: err.Error()})
				}
			}
			list, tiers, err := s.backend.Foresee(ctx, in.Name, tiers, at)
			if err != nil {
				return nil, fail(err)
			}
			w := wire.Retention{At: at.UTC(), Keep: dr.FormatTiers(tiers), Points: []wire.ForeseenPoint{}}
			for _, p := range list {
				w.Points = append(w.Points, wire.ForeseenPoint{ID: p.ID, Time: p.Time.UTC(), Kind: string(p.Kind), Names: p.Names, Kept: p.Kept})
				if p.Kept {
					w.Kept++
				}
			}
			return &body[wire.Retention]{w}, nil
		})
}

func fromUsage(name string, u controller.VaultUsage, now time.Time) wire.VaultUsage {
	w := wire.VaultUsage{Vault: name, At: wire.At(u.At), Problem: u.Problem, Bytes: u.Bytes, Objects: u.Objects, Groups: []wire.GroupUsage{}}
	if !u.At.IsZero() {
		w.AgeSeconds = secondsOf(now.Sub(u.At))
		if u.Free >= 0 {
			w.FreeBytes = &u.Free
		}
	}
	return w
}
