package client

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"understudy/internal/api/wire"
	"understudy/internal/dr"
)

// FindPoints lists the recovery points that a filter takes, the oldest first.
func (c *Client) FindPoints(ctx context.Context, group string, f dr.PointFilter) (list []dr.RecoveryPoint, err error) {
	q := url.Values{}
	if f.Consistency != "" {
		q.Set("consistency", string(f.Consistency))
	}
	if !f.After.IsZero() {
		q.Set("after", f.After.UTC().Format(time.RFC3339Nano))
	}
	if !f.Before.IsZero() {
		q.Set("before", f.Before.UTC().Format(time.RFC3339Nano))
	}
	if f.Named {
		q.Set("named", "true")
	}
	return list, c.do(ctx, http.MethodGet, path("groups", group, "points")+"?"+q.Encode(), nil, &list)
}

// Point finds a recovery point by latest, latest-application, latest-filesystem, an ID, a name or a time.
func (c *Client) Point(ctx context.Context, group, selector string) (p dr.RecoveryPoint, err error) {
	return p, c.do(ctx, http.MethodGet, path("groups", group, "points", selector), nil, &p)
}

// NamePoint gives a recovery point a name.
func (c *Client) NamePoint(ctx context.Context, group, selector, name string) (p dr.RecoveryPoint, err error) {
	return p, c.do(ctx, http.MethodPost, path("groups", group, "points", selector, "names"), wire.PointName{Name: name}, &p)
}

// UnnamePoint takes a name away.
func (c *Client) UnnamePoint(ctx context.Context, group, name string) (p dr.RecoveryPoint, err error) {
	return p, c.do(ctx, http.MethodDelete, path("groups", group, "point-names", name), nil, &p)
}

// SyncConsistent runs a cycle for a point that is as consistent as the guests allow, and waits for it.
func (c *Client) SyncConsistent(ctx context.Context, group string) (v wire.Cycle, err error) {
	return v, c.do(ctx, http.MethodPost, path("groups", group, "sync")+"?consistent=true", nil, &v)
}
