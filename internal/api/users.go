package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"understudy/internal/api/wire"
	"understudy/internal/store"
)

func (s *server) users(a huma.API) {
	const tag = "access"
	huma.Register(a, op(http.MethodGet, "/v1/users", "list-users", tag, "List users"),
		func(ctx context.Context, _ *nothing) (*body[[]wire.User], error) {
			list, err := s.backend.Users(ctx)
			return &body[[]wire.User]{convert(list, fromUser)}, fail(err)
		})
	huma.Register(a, op(http.MethodGet, "/v1/users/{name}", "show-user", tag, "Show a user"),
		func(ctx context.Context, in *Named) (*body[wire.User], error) {
			u, err := s.backend.User(ctx, in.Name)
			return &body[wire.User]{fromUser(u)}, fail(err)
		})
	type put struct {
		Named
		Body wire.UserChange
	}
	huma.Register(a, op(http.MethodPut, "/v1/users/{name}", "put-user", tag, "Add a user, or change what one may do"),
		func(ctx context.Context, in *put) (*body[wire.User], error) {
			u, err := s.backend.PutUser(ctx, in.Name, toGrants(in.Body.Grants), in.Body.Password)
			return &body[wire.User]{fromUser(u)}, fail(err)
		})
	huma.Register(a, op(http.MethodDelete, "/v1/users/{name}", "remove-user", tag, "Remove a user, with the user's sessions and tokens"),
		func(ctx context.Context, in *Named) (*nothing, error) {
			return nil, fail(s.backend.RemoveUser(ctx, in.Name))
		})
	type secret struct {
		Named
		Body wire.PasswordChange
	}
	huma.Register(a, op(http.MethodPut, "/v1/users/{name}/password", "set-password", tag, "Set one's own password, or that of another; the user's sessions end"),
		func(ctx context.Context, in *secret) (*nothing, error) {
			if err := s.logins.take(in.Name, askingOf(ctx).address); err != nil {
				return nil, err
			}
			return nil, fail(s.backend.SetPassword(ctx, in.Name, in.Body.Current, in.Body.Password, true))
		})
	huma.Register(a, op(http.MethodGet, "/v1/tokens", "list-tokens", tag, "List tokens of the API"),
		func(ctx context.Context, _ *nothing) (*body[[]wire.Token], error) {
			list, err := s.backend.Tokens(ctx)
			return &body[[]wire.Token]{convert(list, fromToken)}, fail(err)
		})
	huma.Register(a, op(http.MethodPost, "/v1/tokens", "add-token", tag, "Make a token; its secret is in the answer and nowhere else"),
		func(ctx context.Context, in *request[wire.TokenRequest]) (*body[wire.Token], error) {
			value, t, err := s.backend.AddToken(ctx, in.Body.Name, toGrants(in.Body.Grants), time.Duration(in.Body.TTL), askingOf(ctx).caller)
			w := fromToken(t)
			w.Secret = value
			return &body[wire.Token]{w}, fail(err)
		})
	huma.Register(a, op(http.MethodDelete, "/v1/tokens/{name}", "remove-token", tag, "End a token"),
		func(ctx context.Context, in *Named) (*nothing, error) {
			return nil, fail(s.backend.RemoveToken(ctx, in.Name))
		})
}

func fromUser(u store.User) wire.User {
	return wire.User{Name: u.Name, Grants: fromGrants(u.Grants), Created: u.Created.UTC(), LastLogin: wire.At(u.Login), HasPassword: u.Password != ""}
}

func fromToken(t store.Token) wire.Token {
	return wire.Token{Name: t.Name, Grants: fromGrants(t.Grants), Owner: t.Owner, Created: t.Created.UTC(), Expires: wire.At(t.Expires)}
}
