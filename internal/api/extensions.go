package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"understudy/internal/api/wire"
	"understudy/internal/controller"
	"understudy/internal/dr"
	"understudy/internal/extension"
	"understudy/internal/store"
)

// ExtensionBackend does what the API is asked for about extensions.
type ExtensionBackend interface {
	ExtensionCatalogue(ctx context.Context) ([]controller.CatalogueEntry, error)
	AddExtensionEntry(ctx context.Context, file, text, by string) (controller.CatalogueEntry, error)
	RemoveExtensionEntry(ctx context.Context, name string) error

	// Extensions lists what the machines of a group have, or those of all groups when it is empty.
	Extensions(ctx context.Context, group string) ([]controller.ExtensionInventory, error)
	// PointExtensions lists what they had at a recovery point.
	PointExtensions(ctx context.Context, group, point string) ([]controller.ExtensionInventory, error)
	// ObserveExtensions looks at the machines of a group now.
	ObserveExtensions(ctx context.Context, group string) error

	InstallExtension(ctx context.Context, q extension.Install) (*time.Time, error)
	RemoveExtension(ctx context.Context, site, machine, name string) error
	RestoreExtensions(ctx context.Context, group string, rehearsal bool, by string) (store.Run, error)
	SetCollector(ctx context.Context, site string, settings map[string]string) (dr.Site, error)
}

func (s *server) extensions(a huma.API) {
	const tag = "extensions"
	huma.Register(a, op(http.MethodGet, "/v1/extensions", "list-extensions", tag, "List what the machines of all groups were last seen to have"),
		func(ctx context.Context, in *Page) (*pageOf[wire.Inventory], error) {
			list, err := s.backend.Extensions(ctx, "")
			if err != nil {
				return nil, fail(err)
			}
			return paged(list, *in, func(v controller.ExtensionInventory) string { return v.Group + "\x00" + v.Machine }, fromInventory)
		})
	type inventory struct {
		Named
		Point   string `query:"point" doc:"What they had at this recovery point"`
		Refresh bool   `query:"refresh" doc:"Look at the machines first"`
	}
	huma.Register(a, op(http.MethodGet, "/v1/groups/{name}/extensions", "group-extensions", tag, "List what the machines of a group have, or had at a recovery point"),
		func(ctx context.Context, in *inventory) (*body[[]wire.Inventory], error) {
			if in.Point != "" {
				list, err := s.backend.PointExtensions(ctx, in.Name, in.Point)
				return &body[[]wire.Inventory]{convert(list, fromInventory)}, fail(err)
			}
			if in.Refresh {
				if err := s.backend.ObserveExtensions(ctx, in.Name); err != nil {
					return nil, fail(err)
				}
			}
			list, err := s.backend.Extensions(ctx, in.Name)
			return &body[[]wire.Inventory]{convert(list, fromInventory)}, fail(err)
		})
	type restore struct {
		Named
		Body wire.ExtensionRestore
	}
	accepted := op(http.MethodPost, "/v1/groups/{name}/extensions/restore", "restore-extensions", tag, "Begin to restore the extensions of a group where it runs")
	accepted.DefaultStatus = http.StatusAccepted
	huma.Register(a, accepted, func(ctx context.Context, in *restore) (*body[wire.Run], error) {
		r, err := s.backend.RestoreExtensions(ctx, in.Name, in.Body.DryRun, caller(ctx))
		return &body[wire.Run]{fromRun(r, nil)}, fail(err)
	})
	type one struct {
		Named
		Machine   string `path:"machine"`
		Extension string `path:"extension"`
	}
	type install struct {
		Named
		Machine   string `path:"machine"`
		Extension string `path:"extension"`
		Body      wire.ExtensionInstall
	}
	const path = "/v1/sites/{name}/machines/{machine}/extensions/{extension}"
	huma.Register(a, op(http.MethodPut, path, "install-extension", tag, "Install an extension in a machine, or install it anew, and wait for its first heartbeat"),
		func(ctx context.Context, in *install) (*body[wire.ExtensionInstalled], error) {
			at, err := s.backend.InstallExtension(ctx, extension.Install{
				Site: in.Name, Machine: in.Machine, Extension: in.Extension, Settings: in.Body.Settings, Rules: in.Body.Rules,
			})
			return &body[wire.ExtensionInstalled]{wire.ExtensionInstalled{Heartbeat: at}}, fail(err)
		})
	huma.Register(a, op(http.MethodDelete, path, "remove-extension", tag, "Remove an extension from a machine for good"),
		func(ctx context.Context, in *one) (*nothing, error) {
			return nil, fail(s.backend.RemoveExtension(ctx, in.Name, in.Machine, in.Extension))
		})
	type settings struct {
		Named
		Body wire.SiteCollector
	}
	huma.Register(a, op(http.MethodPut, "/v1/sites/{name}/collector", "set-collector", tag, "Say where a site's collector is, and which of its rules take the place of others'"),
		func(ctx context.Context, in *settings) (*body[wire.Site], error) {
			config := map[string]string{}
			for key, value := range map[string]*string{extension.KeyURL: in.Body.URL, extension.KeyToken: in.Body.Token,
				extension.KeyEndpoint: in.Body.Endpoint, extension.KeyRules: in.Body.Rules} {
				if value != nil {
					config[key] = *value
				}
			}
			v, err := s.backend.SetCollector(ctx, in.Name, config)
			return &body[wire.Site]{wire.FromSite(v)}, fail(err)
		})
	s.catalogue(a, tag)
}

func (s *server) catalogue(a huma.API, tag string) {
	huma.Register(a, op(http.MethodGet, "/v1/extension-catalogue", "list-catalogue", tag, "List the extension catalogue"),
		func(ctx context.Context, _ *nothing) (*body[[]wire.CatalogueEntry], error) {
			list, err := s.backend.ExtensionCatalogue(ctx)
			return &body[[]wire.CatalogueEntry]{convert(list, fromEntry)}, fail(err)
		})
	huma.Register(a, op(http.MethodPut, "/v1/extension-catalogue", "add-catalogue-entry", tag, "Add an entry to the catalogue, or replace the one of its name"),
		func(ctx context.Context, in *request[wire.CatalogueText]) (*body[wire.CatalogueEntry], error) {
			e, err := s.backend.AddExtensionEntry(ctx, in.Body.File, in.Body.Text, caller(ctx))
			return &body[wire.CatalogueEntry]{fromEntry(e)}, fail(err)
		})
	huma.Register(a, op(http.MethodDelete, "/v1/extension-catalogue/{name}", "remove-catalogue-entry", tag, "Remove an entry that was added; machines keep what is installed"),
		func(ctx context.Context, in *Named) (*nothing, error) {
			return nil, fail(s.backend.RemoveExtensionEntry(ctx, in.Name))
		})
}

func fromInventory(v controller.ExtensionInventory) wire.Inventory {
	return wire.Inventory{Group: v.Group, Site: v.Site, Machine: v.Machine, Observed: v.Observed.UTC(), Extensions: orEmpty(v.Extensions)}
}

func fromEntry(e controller.CatalogueEntry) wire.CatalogueEntry {
	w := wire.CatalogueEntry{
		Name: e.Name, Publisher: e.Publisher, Version: e.Version, Description: e.Description, DependsOn: e.DependsOn,
		Settings: e.Settings, Protected: e.Protected, Heartbeat: e.Heartbeat.From, Builtin: e.Builtin, Text: e.Text,
		Handlers: map[string]wire.ExtensionHandlers{},
	}
	for provider, h := range e.Handlers {
		w.Handlers[provider] = wire.ExtensionHandlers(h)
	}
	return w
}
