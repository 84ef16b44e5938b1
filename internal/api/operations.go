package api

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"understudy/internal/api/wire"
	"understudy/internal/dr"
	"understudy/internal/site"
	"understudy/internal/store"
)

// body is an answer with a body.
type body[T any] struct{ Body T }

// request is a request with a body.
type request[T any] struct{ Body T }

// Named is a request about one named thing. It has a capital since huma looks into exported fields only.
type Named struct {
	Name string `path:"name"`
}

type nothing struct{}

func op(method, path, id, tag, summary string) huma.Operation {
	o := huma.Operation{Method: method, Path: path, OperationID: id, Tags: []string{tag}, Summary: summary, MaxBodyBytes: maxBody}
	if n, ok := needs[id]; ok {
		o.Metadata = map[string]any{needKey: n}
		if n.on == anyone {
			o.Security = []map[string][]string{}
		}
	}
	if method == http.MethodPost {
		o.DefaultStatus = http.StatusOK
	}
	return o
}

func (s *server) health(a huma.API) {
	type ok struct {
		Status string `json:"status"`
	}
	huma.Register(a, op(http.MethodGet, "/livez", "livez", "health", "Whether the process answers"),
		func(context.Context, *nothing) (*body[ok], error) { return &body[ok]{ok{"ok"}}, nil })
	huma.Register(a, op(http.MethodGet, "/readyz", "readyz", "health", "Whether the controller can work"),
		func(ctx context.Context, _ *nothing) (*body[ok], error) {
			if err := s.backend.Ready(ctx); err != nil {
				return nil, fail(dr.WithHint(err, dr.KindUnavailable, dr.Hint(err)))
			}
			return &body[ok]{ok{"ok"}}, nil
		})
	huma.Register(a, op(http.MethodGet, "/v1/version", "version", "health", "Which version this is"),
		func(context.Context, *nothing) (*body[wire.Version], error) {
			return &body[wire.Version]{wire.Version{Version: s.opts.Version}}, nil
		})
}

func (s *server) sites(a huma.API) {
	const tag = "sites"
	huma.Register(a, op(http.MethodGet, "/v1/sites", "list-sites", tag, "List sites"),
		func(ctx context.Context, _ *nothing) (*body[[]wire.Site], error) {
			list, err := s.backend.Sites(ctx)
			return &body[[]wire.Site]{convert(list, wire.FromSite)}, fail(err)
		})
	huma.Register(a, op(http.MethodPost, "/v1/sites", "add-site", tag, "Add a site"),
		func(ctx context.Context, in *request[wire.Site]) (*body[wire.Site], error) {
			return &body[wire.Site]{in.Body}, fail(s.backend.AddSite(ctx, in.Body.DR()))
		})
	huma.Register(a, op(http.MethodGet, "/v1/sites/{name}", "show-site", tag, "Show a site"),
		func(ctx context.Context, in *Named) (*body[wire.Site], error) {
			v, err := s.backend.Site(ctx, in.Name)
			return &body[wire.Site]{wire.FromSite(v)}, fail(err)
		})
	huma.Register(a, op(http.MethodDelete, "/v1/sites/{name}", "remove-site", tag, "Forget a site that no group uses; its machines stay as they are"),
		func(ctx context.Context, in *Named) (*nothing, error) {
			return nil, fail(s.backend.RemoveSite(ctx, in.Name))
		})
	huma.Register(a, op(http.MethodGet, "/v1/sites/{name}/machines", "list-machines", tag, "List the machines of a site"),
		func(ctx context.Context, in *Named) (*body[[]dr.Machine], error) {
			list, err := s.backend.Machines(ctx, in.Name)
			return &body[[]dr.Machine]{orEmpty(list)}, fail(err)
		})
	type power struct {
		Named
		Machine string `path:"machine"`
		Body    wire.Power
	}
	huma.Register(a, op(http.MethodPost, "/v1/sites/{name}/machines/{machine}/power", "power-machine", tag, "Start or stop a machine"),
		func(ctx context.Context, in *power) (*nothing, error) {
			return nil, fail(s.backend.Power(ctx, in.Name, in.Machine, site.PowerAction(in.Body.Action)))
		})
}

func (s *server) policies(a huma.API) {
	const tag = "policies"
	huma.Register(a, op(http.MethodGet, "/v1/policies", "list-policies", tag, "List replication policies"),
		func(ctx context.Context, _ *nothing) (*body[[]wire.Policy], error) {
			list, err := s.backend.Policies(ctx)
			return &body[[]wire.Policy]{convert(list, wire.FromPolicy)}, fail(err)
		})
	huma.Register(a, op(http.MethodPut, "/v1/policies", "put-policy", tag, "Add a policy, or change it for all groups that use it"),
		func(ctx context.Context, in *request[wire.Policy]) (*body[wire.Policy], error) {
			p, err := in.Body.DR()
			if err == nil {
				err = s.backend.PutPolicy(ctx, p)
			}
			return &body[wire.Policy]{wire.FromPolicy(p)}, fail(err)
		})
	huma.Register(a, op(http.MethodDelete, "/v1/policies/{name}", "remove-policy", tag, "Remove a policy that no group uses"),
		func(ctx context.Context, in *Named) (*nothing, error) {
			return nil, fail(s.backend.RemovePolicy(ctx, in.Name))
		})
}

func (s *server) vaults(a huma.API) {
	const tag = "vaults"
	huma.Register(a, op(http.MethodGet, "/v1/vaults", "list-vaults", tag, "List vaults"),
		func(ctx context.Context, _ *nothing) (*body[[]wire.Vault], error) {
			list, err := s.backend.Vaults(ctx)
			return &body[[]wire.Vault]{convert(list, fromVault)}, fail(err)
		})
	huma.Register(a, op(http.MethodPost, "/v1/vaults", "add-vault", tag, "Add a vault, and make it and its key where there is none"),
		func(ctx context.Context, in *request[wire.Vault]) (*body[wire.Vault], error) {
			v, made, newKey, err := s.backend.AddVault(ctx, store.Vault{Name: in.Body.Name, URL: in.Body.URL, KeyFile: in.Body.KeyFile}, in.Body.LockRule())
			w := fromVault(v)
			w.Made, w.NewKey = made, newKey
			return &body[wire.Vault]{w}, fail(err)
		})
	huma.Register(a, op(http.MethodGet, "/v1/vaults/{name}", "show-vault", tag, "Show a vault"),
		func(ctx context.Context, in *Named) (*body[wire.Vault], error) {
			v, err := s.backend.Vault(ctx, in.Name)
			return &body[wire.Vault]{fromVault(v)}, fail(err)
		})
	huma.Register(a, op(http.MethodDelete, "/v1/vaults/{name}", "remove-vault", tag, "Forget a vault that no group uses; its data stays"),
		func(ctx context.Context, in *Named) (*nothing, error) {
			return nil, fail(s.backend.RemoveVault(ctx, in.Name))
		})
}

func (s *server) groups(a huma.API) {
	const tag = "groups"
	huma.Register(a, op(http.MethodPost, "/v1/groups", "protect", tag, "Protect a group of machines, or change how"),
		func(ctx context.Context, in *request[wire.Group]) (*body[wire.Group], error) {
			g, err := s.backend.Protect(ctx, in.Body.DR())
			return &body[wire.Group]{wire.FromGroup(g)}, fail(err)
		})
	huma.Register(a, op(http.MethodGet, "/v1/groups/{name}", "show-group", tag, "Show a group"),
		func(ctx context.Context, in *Named) (*body[wire.Group], error) {
			g, err := s.backend.Group(ctx, in.Name)
			return &body[wire.Group]{wire.FromGroup(g)}, fail(err)
		})
	huma.Register(a, op(http.MethodDelete, "/v1/groups/{name}", "unprotect", tag, "Stop protecting a group; its recovery points stay"),
		func(ctx context.Context, in *Named) (*nothing, error) {
			return nil, fail(s.backend.Unprotect(ctx, in.Name))
		})
	huma.Register(a, op(http.MethodGet, "/v1/groups/{name}/status", "group-status", tag, "What would be lost now"),
		func(ctx context.Context, in *Named) (*body[wire.Status], error) {
			list, err := s.backend.Status(ctx, in.Name)
			if err != nil {
				return nil, fail(err)
			}
			v := fromStatus(list[0])
			for _, o := range list[0].Allowed() {
				v.Allowed = append(v.Allowed, string(o))
			}
			return &body[wire.Status]{v}, nil
		})
	type sync struct {
		Named
		Consistent bool `query:"consistent" doc:"Freeze the guests for a consistent point, as far as that goes"`
	}
	huma.Register(a, op(http.MethodPost, "/v1/groups/{name}/sync", "sync", tag, "Run a replication cycle now and wait for it"),
		func(ctx context.Context, in *sync) (*body[wire.Cycle], error) {
			run := s.backend.Sync
			if in.Consistent {
				run = s.backend.SyncConsistent
			}
			res, err := run(ctx, in.Name)
			return &body[wire.Cycle]{fromResult(res)}, fail(err)
		})
	huma.Register(a, op(http.MethodPost, "/v1/groups/{name}/pause", "pause", tag, "Pause replication"),
		func(ctx context.Context, in *Named) (*nothing, error) {
			return nil, fail(s.backend.Pause(ctx, in.Name))
		})
	huma.Register(a, op(http.MethodPost, "/v1/groups/{name}/resume", "resume", tag, "Go on with replication"),
		func(ctx context.Context, in *Named) (*nothing, error) {
			return nil, fail(s.backend.Resume(ctx, in.Name))
		})
}

func convert[T, W any](list []T, one func(T) W) []W {
	w := make([]W, len(list))
	for i, v := range list {
		w[i] = one(v)
	}
	return w
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func writeProblem(w http.ResponseWriter, p *wire.Problem) {
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client is gone if this fails
}
