package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"understudy/internal/api/wire"
)

// ExamineSite says whether all that a site needs is there.
func (c *Client) ExamineSite(ctx context.Context, name string) (e wire.Examination, err error) {
	return e, c.do(ctx, http.MethodGet, "/v1/sites/"+url.PathEscape(name)+"/examination", nil, &e)
}

// SweepSite removes what Understudy made at a site and what belongs to nothing any more, or lists it.
func (c *Client) SweepSite(ctx context.Context, name string, dryRun bool) (list []string, err error) {
	return list, c.do(ctx, http.MethodPost, "/v1/sites/"+url.PathEscape(name)+"/sweep?dryRun="+strconv.FormatBool(dryRun), nil, &list)
}
