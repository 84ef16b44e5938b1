package api

import (
	"bytes"
	"context"
	"html/template"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"understudy/internal/access/oidc"
	"understudy/internal/api/wire"
)

const (
	opOIDCCallback = "oidc-callback"
	loginCookie    = "understudy_login" // ties a login that is under way to the browser that began it
)

// landed is the page on which a browser that a provider sent here lands. It goes on by itself, and not by a redirect: the
// session's cookie goes along only when the browser comes from a page of this server.
var landed = template.Must(template.New("").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><link rel="icon" href="/favicon.svg"><title>Understudy</title>
{{- if not .Problem}}<meta http-equiv="refresh" content="0;url={{.Back}}">{{end}}</head>
<body style="font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem;color-scheme:light dark"><main>
{{- if .Problem}}<h1>Not signed in</h1><p>{{.Problem.Detail}}</p>{{with .Problem.Hint}}<p>{{.}}</p>{{end}}<p><a href="/">Sign in</a></p>
{{- else}}<h1>Signed in</h1><p><a href="{{.Back}}">Go on</a></p>{{end}}</main></body></html>
`))

// landing is an answer for a browser that goes somewhere.
type landing struct {
	Status   int
	Location string        `header:"Location"`
	Cookies  []http.Cookie `header:"Set-Cookie"`
	Cache    string        `header:"Cache-Control"`
	Type     string        `header:"Content-Type"`
	Body     []byte
}

func (s *server) oidcLogins() []wire.OIDCLogin {
	list := []wire.OIDCLogin{}
	for _, name := range s.oidc.Names() {
		list = append(list, wire.OIDCLogin{Name: name, URL: oidc.LoginPath(name)})
	}
	return list
}

// newLoginCookie comes along when the provider sends the browser back: Lax, since that is another site.
func (s *server) newLoginCookie(ctx context.Context, value string) http.Cookie {
	c := s.newCookie(ctx, value)
	c.Name, c.Path, c.SameSite = loginCookie, "/v1/oidc/", http.SameSiteLaxMode
	if value != "" {
		c.MaxAge = int(oidc.PendingFor.Seconds())
	}
	return c
}

func (s *server) oidcSessions(a huma.API) {
	const tag = "session"
	type begin struct {
		Named
		Return string `query:"return" default:"/" doc:"The path of the console to come back to"`
		Accept string `header:"Accept" hidden:"true"`
	}
	login := op(http.MethodGet, "/v1/oidc/{name}/login", "oidc-login", tag, "Log in by a provider of identities: sends the browser there")
	login.DefaultStatus = http.StatusFound
	huma.Register(a, login, func(ctx context.Context, in *begin) (*landing, error) {
		// Only what begins a login counts as a try: what ends one needs the state of one that was begun, which works once.
		if err := s.logins.take("", askingOf(ctx).address); err != nil {
			return nil, err
		}
		base := "http://"
		if askingOf(ctx).secure || s.opts.Secure {
			base = "https://"
		}
		to, secret, err := s.oidc.Begin(ctx, in.Name, base+askingOf(ctx).host, in.Return)
		if err != nil {
			s.opts.Logger.Warn("log in by a provider of identities", "provider", in.Name, "err", err)
			return s.refuseLogin(ctx, in.Accept, err)
		}
		return &landing{Status: http.StatusFound, Location: to, Cookies: []http.Cookie{s.newLoginCookie(ctx, secret)}, Cache: "no-store"}, nil
	})
	type answer struct {
		Named
		State       string `query:"state"`
		Code        string `query:"code"`
		Error       string `query:"error"`
		Description string `query:"error_description"`
		Login       string `cookie:"understudy_login" hidden:"true"`
		Accept      string `header:"Accept" hidden:"true"`
	}
	huma.Register(a, op(http.MethodGet, "/v1/oidc/{name}/callback", opOIDCCallback, tag, "Where a provider of identities sends the browser back to"),
		func(ctx context.Context, in *answer) (*landing, error) {
			ask := askingOf(ctx)
			id, err := s.oidc.End(ctx, in.Name, in.Login, oidc.Answer{State: in.State, Code: in.Code, Error: in.Error, Description: in.Description})
			ask.caller.Name, ask.caller.Person, ask.caller.Method = id.User, id.Person, id.Method // for the record
			if err != nil {
				return s.refuseLogin(ctx, in.Accept, err)
			}
			cookie, who, err := s.backend.LoginAs(ctx, id.User, id.Person, id.Method, id.Grants)
			if err != nil {
				return s.refuseLogin(ctx, in.Accept, err)
			}
			ask.caller = who
			p, err := newLanding(id.Back, nil)
			if err == nil {
				p.Cookies = []http.Cookie{s.newCookie(ctx, cookie), s.newLoginCookie(ctx, "")}
			}
			return p, err
		})
}

// refuseLogin says to people on a page, and to programs as a problem, why nobody was logged in.
func (s *server) refuseLogin(ctx context.Context, accept string, err error) (*landing, error) {
	problem := asProblem(err)
	if !strings.Contains(accept, "text/html") {
		return nil, problem
	}
	askingOf(ctx).problem = problem
	p, err := newLanding("", problem)
	if err == nil {
		p.Cookies = []http.Cookie{s.newLoginCookie(ctx, "")}
	}
	return p, err
}

func newLanding(back string, problem *wire.Problem) (*landing, error) {
	var b bytes.Buffer
	err := landed.Execute(&b, struct {
		Back    string
		Problem *wire.Problem
	}{back, problem})
	p := &landing{Status: http.StatusOK, Cache: "no-store", Type: "text/html; charset=utf-8", Body: b.Bytes()}
	if problem != nil {
		p.Status = problem.Status
	}
	return p, err
}
