package client

import (
	"context"
	"net/http"
	"net/url"

	"understudy/internal/api/wire"
)

// ExtensionCatalogue lists the extension catalogue.
func (c *Client) ExtensionCatalogue(ctx context.Context) (list []wire.CatalogueEntry, err error) {
	return list, c.do(ctx, http.MethodGet, "/v1/extension-catalogue", nil, &list)
}

// AddCatalogueEntry adds an entry to the catalogue, or replaces the one of its name.
func (c *Client) AddCatalogueEntry(ctx context.Context, in wire.CatalogueText) (v wire.CatalogueEntry, err error) {
	return v, c.do(ctx, http.MethodPut, "/v1/extension-catalogue", in, &v)
}

// RemoveCatalogueEntry removes an entry that was added.
func (c *Client) RemoveCatalogueEntry(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, path("extension-catalogue", name), nil, nil)
}

// Extensions lists what the machines of all groups were last seen to have.
func (c *Client) Extensions(ctx context.Context) ([]wire.Inventory, error) {
	return all[wire.Inventory](ctx, c, "/v1/extensions", nil)
}

// GroupExtensions lists what the machines of a group were last seen to have; with refresh they are looked at first.
func (c *Client) GroupExtensions(ctx context.Context, group string, refresh bool) (list []wire.Inventory, err error) {
	q := ""
	if refresh {
		q = "?refresh=true"
	}
	return list, c.do(ctx, http.MethodGet, path("groups", group, "extensions")+q, nil, &list)
}

// PointExtensions lists what the machines of a group had at a recovery point.
func (c *Client) PointExtensions(ctx context.Context, group, point string) (list []wire.Inventory, err error) {
	return list, c.do(ctx, http.MethodGet, path("groups", group, "extensions")+"?"+url.Values{"point": {point}}.Encode(), nil, &list)
}

// RestoreExtensions begins to restore the extensions of a group where it runs.
func (c *Client) RestoreExtensions(ctx context.Context, group string, in wire.ExtensionRestore) (v wire.Run, err error) {
	return v, c.do(ctx, http.MethodPost, path("groups", group, "extensions", "restore"), in, &v)
}

// InstallExtension installs an extension in a machine and waits for its first heartbeat.
func (c *Client) InstallExtension(ctx context.Context, site, machine, extension string, in wire.ExtensionInstall) (v wire.ExtensionInstalled, err error) {
	return v, c.do(ctx, http.MethodPut, path("sites", site, "machines", machine, "extensions", extension), in, &v)
}

// RemoveExtension removes an extension from a machine for good.
func (c *Client) RemoveExtension(ctx context.Context, site, machine, extension string) error {
	return c.do(ctx, http.MethodDelete, path("sites", site, "machines", machine, "extensions", extension), nil, nil)
}

// SetCollector says where a site's collector is.
func (c *Client) SetCollector(ctx context.Context, site string, in wire.SiteCollector) (v wire.Site, err error) {
	return v, c.do(ctx, http.MethodPut, path("sites", site, "collector"), in, &v)
}
