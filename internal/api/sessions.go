package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"understudy/internal/access"
	"understudy/internal/api/wire"
	"understudy/internal/store"
)

// methodPassword is how a caller with a session of a password is recognised.
const methodPassword = "password"

// AccessBackend does what the API is asked for about who may use it. Not knowing a secret is dr.KindNotFound, a wrong one
// for logging in dr.KindForbidden.
type AccessBackend interface {
	CheckToken(ctx context.Context, secret string) (access.Caller, error)
	CheckSession(ctx context.Context, cookie string) (access.Caller, error)

	Bootstrappable(ctx context.Context) (bool, error)
	Bootstrap(ctx context.Context, token, user, secret string) error
	Login(ctx context.Context, user, secret string) (cookie string, _ access.Caller, err error)
	// LoginAs begins a session of someone whom a provider of identities knows.
	LoginAs(ctx context.Context, user, person, method string, grants access.Grants) (cookie string, _ access.Caller, err error)
	Logout(ctx context.Context, cookie string) error

	Users(ctx context.Context) ([]store.User, error)
	User(ctx context.Context, name string) (store.User, error)
	PutUser(ctx context.Context, name string, grants access.Grants, secret string) (store.User, error)
	SetPassword(ctx context.Context, name, current, secret string, check bool) error
	RemoveUser(ctx context.Context, name string) error

	Tokens(ctx context.Context) ([]store.Token, error)
	AddToken(ctx context.Context, name string, grants access.Grants, ttl time.Duration, by access.Caller) (secret string, _ store.Token, err error)
	RemoveToken(ctx context.Context, name string) error
}

// withCookie is an answer that sets or clears the session's cookie.
type withCookie[T any] struct {
	Cookie http.Cookie `header:"Set-Cookie"`
	Cache  string      `header:"Cache-Control"`
	Body   T
}

// newCookie is the session's cookie: no script reads it, and it goes along with requests of the console's own pages only.
// It ends with the browser, or when the session does.
func (s *server) newCookie(ctx context.Context, value string) http.Cookie {
	c := http.Cookie{Name: cookieName, Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: askingOf(ctx).secure || s.opts.Secure}
	if value == "" {
		c.MaxAge = -1
	}
	return c
}

func (s *server) sessions(a huma.API) {
	const tag = "session"
	type cleared struct {
		Cookie http.Cookie `header:"Set-Cookie"`
	}
	huma.Register(a, op(http.MethodGet, "/v1/login-methods", "login-methods", tag, "How one can log in"),
		func(ctx context.Context, _ *nothing) (*body[wire.LoginMethods], error) {
			first, err := s.backend.Bootstrappable(ctx)
			return &body[wire.LoginMethods]{wire.LoginMethods{Bootstrap: first, Password: true, OIDC: s.oidcLogins()}}, fail(err)
		})
	huma.Register(a, op(http.MethodPost, "/v1/bootstrap", "bootstrap", tag, "Make the first user, an administrator, and log in"),
		func(ctx context.Context, in *request[wire.Bootstrap]) (*withCookie[wire.Session], error) {
			askingOf(ctx).caller.Name = in.Body.User // who it claims to be, for the record
			if err := s.logins.take(in.Body.User, askingOf(ctx).address); err != nil {
				return nil, err
			}
			if err := s.backend.Bootstrap(ctx, in.Body.Token, in.Body.User, in.Body.Password); err != nil {
				return nil, fail(err)
			}
			return s.logIn(ctx, in.Body.User, in.Body.Password)
		})
	huma.Register(a, op(http.MethodPost, "/v1/session", "log-in", tag, "Log in with a password"),
		func(ctx context.Context, in *request[wire.Login]) (*withCookie[wire.Session], error) {
			askingOf(ctx).caller.Name = in.Body.User // who it claims to be, for the record
			if err := s.logins.take(in.Body.User, askingOf(ctx).address); err != nil {
				return nil, err
			}
			return s.logIn(ctx, in.Body.User, in.Body.Password)
		})
	huma.Register(a, op(http.MethodGet, "/v1/session", "show-session", tag, "Who asks, and what that caller may do"),
		func(ctx context.Context, _ *nothing) (*body[wire.Session], error) {
			return &body[wire.Session]{s.fromCaller(askingOf(ctx).caller)}, nil
		})
	huma.Register(a, op(http.MethodDelete, "/v1/session", "log-out", tag, "Log out"),
		func(ctx context.Context, _ *nothing) (*cleared, error) {
			if cookie := askingOf(ctx).cookie; cookie != "" {
				if err := s.backend.Logout(ctx, cookie); err != nil {
					return nil, fail(err)
				}
			}
			return &cleared{s.newCookie(ctx, "")}, nil
		})
}

func (s *server) logIn(ctx context.Context, user, secret string) (*withCookie[wire.Session], error) {
	cookie, who, err := s.backend.Login(ctx, user, secret)
	if err != nil {
		return nil, fail(err)
	}
	s.logins.succeeded(user, askingOf(ctx).address)
	askingOf(ctx).caller = who
	return &withCookie[wire.Session]{s.newCookie(ctx, cookie), "no-store", s.fromCaller(who)}, nil
}

func (s *server) fromCaller(who access.Caller) wire.Session {
	w := wire.Session{User: who.Name, Method: who.Method, Grants: fromGrants(who.Grants), Verbs: []string{}, Expires: wire.At(who.Expires), FourEyes: s.opts.FourEyes}
	for _, v := range who.Grants.Verbs() {
		w.Verbs = append(w.Verbs, string(v))
	}
	w.Rights = convert(who.Grants, func(g access.Grant) wire.Right {
		r := wire.Right{Scope: string(g.Scope), Verbs: []string{}}
		for _, v := range (access.Grants{g}).Verbs() {
			r.Verbs = append(r.Verbs, string(v))
		}
		return r
	})
	return w
}

func fromGrants(g access.Grants) []wire.RoleGrant {
	return convert(g, func(v access.Grant) wire.RoleGrant {
		return wire.RoleGrant{Role: string(v.Role), Scope: string(v.Scope)}
	})
}

func toGrants(list []wire.RoleGrant) access.Grants {
	return convert(list, func(v wire.RoleGrant) access.Grant {
		return access.Grant{Role: access.Role(v.Role), Scope: access.Scope(v.Scope)}
	})
}
