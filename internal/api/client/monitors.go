package client

import (
	"context"
	"net/http"
	"net/url"

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

// TestMonitor looks now.
func (c *Client) TestMonitor(ctx context.Context, name string) (list []wire.Operation, err error) {
	return list, c.do(ctx, http.MethodGet, path("monitors", name, "test"), nil, &list)
}

// Channels lists whom notifications go to.
func (c *Client) Channels(ctx context.Context) (list []wire.Channel, err error) {
	return list, c.do(ctx, http.MethodGet, "/v1/channels", nil, &list)
}

// PutChannel adds a channel, or replaces it.
func (c *Client) PutChannel(ctx context.Context, in wire.Channel) (v wire.Channel, err error) {
	return v, c.do(ctx, http.MethodPut, path("channels", in.Name), in, &v)
}

// RemoveChannel removes a channel.
func (c *Client) RemoveChannel(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, path("channels", name), nil, nil)
}

// TestChannel sends a test.
func (c *Client) TestChannel(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodPost, path("channels", name, "test"), nil, nil)
}

// Notifications lists the newest notifications, of one state or all.
func (c *Client) Notifications(ctx context.Context, state string) (list []wire.Notification, err error) {
	query := ""
	if state != "" {
		query = "?" + url.Values{"state": {state}}.Encode()
	}
	return list, c.do(ctx, http.MethodGet, "/v1/notifications"+query, nil, &list)
}
