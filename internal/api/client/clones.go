package client

import (
	"context"
	"net/http"
	"strconv"

	"understudy/internal/api/wire"
)

// Clone begins to copy a machine.
func (c *Client) Clone(ctx context.Context, in wire.Clone) (v wire.Run, err error) {
	return v, c.do(ctx, http.MethodPost, "/v1/clones", in, &v)
}

// Move begins to move a machine.
func (c *Client) Move(ctx context.Context, in wire.Clone) (v wire.Run, err error) {
	return v, c.do(ctx, http.MethodPost, "/v1/moves", in, &v)
}

// ConfirmMove makes a move final.
func (c *Client) ConfirmMove(ctx context.Context, run string, deleteSource bool) error {
	return c.do(ctx, http.MethodPost, path("runs", run, "confirm"), wire.Confirm{DeleteSource: deleteSource}, nil)
}

// ResumeRun goes on with a clone or a move that failed.
func (c *Client) ResumeRun(ctx context.Context, run string) (v wire.Run, err error) {
	return v, c.do(ctx, http.MethodPost, path("runs", run, "resume"), nil, &v)
}

// Grants lists grants, the newest first; with ended, also those that have ended.
func (c *Client) Grants(ctx context.Context, ended bool) ([]wire.Grant, error) {
	return all[wire.Grant](ctx, c, "/v1/grants", Query{"all": strconv.FormatBool(ended)})
}

// RevokeGrant ends a grant.
func (c *Client) RevokeGrant(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, path("grants", id), nil, nil)
}
