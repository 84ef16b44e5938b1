package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"understudy/internal/api/wire"
)

// Overview tells how everything is, in numbers.
func (c *Client) Overview(ctx context.Context) (v wire.Overview, err error) {
	return v, c.do(ctx, http.MethodGet, "/v1/overview", nil, &v)
}

// History tells what replication of a group did from one instant to another, in at most so many buckets.
func (c *Client) History(ctx context.Context, group string, from, to time.Time, points int) (v wire.History, err error) {
	q := url.Values{"from": {from.UTC().Format(time.RFC3339Nano)}, "to": {to.UTC().Format(time.RFC3339Nano)}, "points": {fmt.Sprint(points)}}
	return v, c.do(ctx, http.MethodGet, path("groups", group, "history")+"?"+q.Encode(), nil, &v)
}

// EventFilter selects events.
type EventFilter struct {
	Group  string
	Kind   string // one that ends with '.' selects all that begin with it
	Run    string
	Text   string
	Before int64 // sequence
	Limit  int
}

// Events lists what happened, the newest first.
func (c *Client) Events(ctx context.Context, f EventFilter) (list []wire.Event, err error) {
	q := url.Values{}
	for name, value := range map[string]string{"group": f.Group, "kind": f.Kind, "run": f.Run, "q": f.Text} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if f.Before > 0 {
		q.Set("before", fmt.Sprint(f.Before))
	}
	if f.Limit > 0 {
		q.Set("limit", fmt.Sprint(f.Limit))
	}
	return list, c.do(ctx, http.MethodGet, "/v1/events?"+q.Encode(), nil, &list)
}

// VaultUsage tells how full a vault is.
func (c *Client) VaultUsage(ctx context.Context, vault string) (v wire.VaultUsage, err error) {
	return v, c.do(ctx, http.MethodGet, path("vaults", vault, "usage"), nil, &v)
}

// EffectivePolicy tells what a policy does.
func (c *Client) EffectivePolicy(ctx context.Context, policy string) (v wire.EffectivePolicy, err error) {
	return v, c.do(ctx, http.MethodGet, path("policies", policy, "effective"), nil, &v)
}

// Retention tells which of a group's points will be kept in some time, such as 7d, by its policy or by other tiers.
func (c *Client) Retention(ctx context.Context, group, in, keep string) (v wire.Retention, err error) {
	q := url.Values{"in": {in}, "keep": {keep}}
	return v, c.do(ctx, http.MethodGet, path("groups", group, "retention")+"?"+q.Encode(), nil, &v)
}
