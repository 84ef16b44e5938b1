package client

import (
	"context"
	"net/http"
	"net/url"

	"understudy/internal/api/wire"
)

// PreflightGroup looks into a recovery point of a group; what is empty is the group's target, the newest point, all machines.
func (c *Client) PreflightGroup(ctx context.Context, group, target, point, machine string) (v wire.Preflight, err error) {
	q := url.Values{"target": {target}, "point": {point}, "machine": {machine}}
	return v, c.do(ctx, http.MethodGet, path("groups", group, "preflight")+"?"+q.Encode(), nil, &v)
}

// PreflightMachine looks into a stopped machine of a site.
func (c *Client) PreflightMachine(ctx context.Context, site, machine, target string) (v wire.Preflight, err error) {
	return v, c.do(ctx, http.MethodGet, path("sites", site, "machines", machine, "preflight")+"?"+url.Values{"target": {target}}.Encode(), nil, &v)
}

// PreviewClone says what a clone would do now.
func (c *Client) PreviewClone(ctx context.Context, q wire.Clone) (v wire.ClonePreview, err error) {
	return v, c.do(ctx, http.MethodPost, path("clones", "preview"), q, &v)
}
