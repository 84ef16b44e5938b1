package client

import (
	"context"
	"net/http"

	"understudy/internal/api/wire"
)

// Monitors tells what monitors know.
func (c *Client) Monitors(ctx context.Context) (list []wire.Monitor, err error) {
	return list, c.do(ctx, http.MethodGet, "/v1/monitors", nil, &list)
}

// AddMonitor begins to watch the long operations of a site.
func (c *Client) AddMonitor(ctx context.Context, name string, in wire.MonitorRequest) (v wire.Monitor, err error) {
	return v, c.do(ctx, http.MethodPut, path("monitors", name), in, &v)
}

// RemoveMonitor ends a monitor.
func (c *Client) RemoveMonitor(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, path("monitors", name), nil, nil)
}

// Monitor tells what a monitor knows, with the steps of operations.
func (c *Client) Monitor(ctx context.Context, name string) (v wire.Monitor, err error) {
	return v, c.do(ctx, http.MethodGet, path("monitors", name), nil, &v)
}

// TestMonitor looks now.
func (c *Client) TestMonitor(ctx context.Context, name string) (v wire.Look, err error) {
	return v, c.do(ctx, http.MethodGet, path("monitors", name, "test"), nil, &v)
}
