package client

import (
	"context"
	"net/http"

	"understudy/internal/api/wire"
)

// Session tells who the client is to the controller.
func (c *Client) Session(ctx context.Context) (v wire.Session, err error) {
	return v, c.do(ctx, http.MethodGet, "/v1/session", nil, &v)
}

// Users lists the users.
func (c *Client) Users(ctx context.Context) (list []wire.User, err error) {
	return list, c.do(ctx, http.MethodGet, "/v1/users", nil, &list)
}

// User shows a user.
func (c *Client) User(ctx context.Context, name string) (v wire.User, err error) {
	return v, c.do(ctx, http.MethodGet, path("users", name), nil, &v)
}

// PutUser adds a user, or changes what one may do.
func (c *Client) PutUser(ctx context.Context, name string, u wire.UserChange) (v wire.User, err error) {
	return v, c.do(ctx, http.MethodPut, path("users", name), u, &v)
}

// RemoveUser removes a user.
func (c *Client) RemoveUser(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, path("users", name), nil, nil)
}

// SetPassword sets a user's password.
func (c *Client) SetPassword(ctx context.Context, name string, p wire.PasswordChange) error {
	return c.do(ctx, http.MethodPut, path("users", name, "password"), p, nil)
}

// Tokens lists the tokens.
func (c *Client) Tokens(ctx context.Context) (list []wire.Token, err error) {
	return list, c.do(ctx, http.MethodGet, "/v1/tokens", nil, &list)
}

// AddToken makes a token.
func (c *Client) AddToken(ctx context.Context, q wire.TokenRequest) (v wire.Token, err error) {
	return v, c.do(ctx, http.MethodPost, "/v1/tokens", q, &v)
}

// RemoveToken ends a token.
func (c *Client) RemoveToken(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, path("tokens", name), nil, nil)
}
