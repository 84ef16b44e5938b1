package client

import (
	"context"
	"net/http"

	"understudy/internal/api/wire"
)

// Failback begins a failover to the site where a group was first protected.
func (c *Client) Failback(ctx context.Context, group string, f wire.Failback) (v wire.Run, err error) {
	return v, c.do(ctx, http.MethodPost, path("groups", group, "failback"), f, &v)
}

// PreviewFailover says what a failover would do now.
func (c *Client) PreviewFailover(ctx context.Context, group string, f wire.FailoverPreview) (v wire.Preview, err error) {
	return v, c.do(ctx, http.MethodPost, path("groups", group, "failover", "preview"), f, &v)
}

// Reprotect protects a group at the site that it was failed over to.
func (c *Client) Reprotect(ctx context.Context, group string) (v wire.Run, err error) {
	return v, c.do(ctx, http.MethodPost, path("groups", group, "reprotect"), nil, &v)
}

// PreviewReprotect says what a reprotection would copy.
func (c *Client) PreviewReprotect(ctx context.Context, group string) (v wire.ReprotectPreview, err error) {
	return v, c.do(ctx, http.MethodPost, path("groups", group, "reprotect", "preview"), nil, &v)
}

// Resolve ends a split brain by keeping one of the sites.
func (c *Client) Resolve(ctx context.Context, group, keep string) (v wire.Run, err error) {
	return v, c.do(ctx, http.MethodPost, path("groups", group, "resolve"), wire.Resolve{Keep: keep}, &v)
}

// ReleaseMachine lets a machine run that is held at a site.
func (c *Client) ReleaseMachine(ctx context.Context, site, machine string) error {
	return c.do(ctx, http.MethodPost, path("sites", site, "machines", machine, "release"), nil, nil)
}
