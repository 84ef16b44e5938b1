package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"understudy/internal/access"
	"understudy/internal/api/wire"
	"understudy/internal/dr"
)

// needKey is where an operation's metadata have what it needs.
const needKey = "need"

// cookieName is the cookie that browsers log in with.
const cookieName = "understudy_session"

// asking is what is known of a request besides what it asks for.
type asking struct {
	caller  access.Caller
	address string // of the peer
	cookie  string // the session's secret
	secure  bool   // it came over TLS
	host    string // that it was sent to, as the client says
	digest  string // of method, path, query and body

	// What is learnt while it is answered, for the audit log.
	object   string
	detail   string
	run      string
	approval string // that was used up for it
	problem  *wire.Problem
}

type askingKey struct{}

func askingOf(ctx context.Context) *asking {
	a, ok := ctx.Value(askingKey{}).(*asking)
	if !ok { // wrap puts it there
		panic("api: a request that did not come through the handler")
	}
	return a
}

// caller names who asks, for the record.
func caller(ctx context.Context) string { return askingOf(ctx).caller.Name }

// newAsking reads the body, which is bounded, since its digest is needed before it is looked into.
func newAsking(r *http.Request) (*asking, error) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	a := &asking{address: host, secure: r.TLS != nil, host: r.Host}
	if reads(r.Method) {
		return a, nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	sum := sha256.New()
	fmt.Fprintf(sum, "%s %s\n", r.Method, r.URL.RequestURI())
	sum.Write(body)
	a.digest = hex.EncodeToString(sum.Sum(nil))
	return a, nil
}

// reads reports whether requests of a method change nothing.
func reads(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// authorise refuses every operation unless the caller has what it needs. An operation that says nothing needs what
// nobody has. What changes something is in the audit log before it is begun.
func (s *server) authorise(a huma.API) func(huma.Context, func(huma.Context)) {
	return func(c huma.Context, next func(huma.Context)) {
		n, _ := c.Operation().Metadata[needKey].(need)
		ask := askingOf(c.Context())
		ask.object = objectName(n.on, c)
		if n.on != anyone {
			who, problem := s.recognise(c)
			if problem == nil {
				ask.caller = who
				problem = s.refuse(c, who, n)
			}
			if problem != nil {
				ask.problem = problem
				s.recordRefusal(c, n)
				s.answer(a, c, problem)
				return
			}
		}
		if !n.audited(c) {
			next(c)
			return
		}
		if err := s.recorded(c, n, func() { next(c) }); err != nil {
			s.opts.Logger.Error("audit log", "err", err)
			s.answer(a, c, newProblem(http.StatusServiceUnavailable, "the audit log cannot be written, so nothing was begun: "+err.Error(), nil))
		}
	}
}

// refuse says why a caller may not do what an operation does, or nothing.
func (s *server) refuse(c huma.Context, who access.Caller, n need) *wire.Problem {
	if n.on == nowhere || len(n.verbs) == 0 {
		return asProblem(dr.WithHint(fmt.Errorf("nobody may do this: the operation %s names no verb", c.Operation().OperationID), dr.KindForbidden, ""))
	}
	for _, v := range n.verbs {
		if v == access.Self || who.May(v, access.Object{}) || n.on == somewhere && who.Grants.Somewhere(v) {
			return nil
		}
	}
	o, err := s.object(c.Context(), n.on, c.Param("name"))
	if err != nil {
		return asProblem(err)
	}
	for _, v := range n.verbs {
		if who.May(v, o) {
			return nil
		}
	}
	return asProblem(forbidden(who, n.verbs[0], o))
}

// forbidden is the error of a caller who lacks a verb.
func forbidden(who access.Caller, v access.Verb, o access.Object) error {
	return dr.WithHint(fmt.Errorf("%s may not %s on %s", who.Name, v, o), dr.KindForbidden,
		"see what you may with GET /v1/session; an administrator gives roles: understudy user grant NAME ROLE SCOPE")
}

// recognise finds out who asks: by a bearer token, or by the cookie of a session.
func (s *server) recognise(c huma.Context) (access.Caller, *wire.Problem) {
	var who access.Caller
	var err error
	scheme, secret, _ := strings.Cut(c.Header("Authorization"), " ")
	cookie, noCookie := huma.ReadCookie(c, cookieName)
	switch {
	case strings.EqualFold(scheme, "bearer") && secret != "":
		who, err = s.backend.CheckToken(c.Context(), strings.TrimSpace(secret))
	case c.Header("Authorization") == "" && noCookie == nil && cookie.Value != "":
		askingOf(c.Context()).cookie = cookie.Value
		who, err = s.backend.CheckSession(c.Context(), cookie.Value)
	default:
		c.SetHeader("WWW-Authenticate", "Bearer")
		return who, newProblem(http.StatusUnauthorized, "this needs a token or a session", nil)
	}
	switch {
	case dr.KindOf(err) == dr.KindNotFound:
		c.SetHeader("WWW-Authenticate", `Bearer error="invalid_token"`)
		return who, newProblem(http.StatusUnauthorized, "the token or the session is not known or has ended", nil)
	case err != nil:
		s.opts.Logger.Error("recognise caller", "err", err)
		return who, newProblem(http.StatusServiceUnavailable, "who asks cannot be found out now", nil)
	}
	return who, nil
}

// answer writes a problem.
func (s *server) answer(a huma.API, c huma.Context, p *wire.Problem) {
	c.SetHeader("Content-Type", p.ContentType(""))
	c.SetStatus(p.Status)
	if err := a.Marshal(c.BodyWriter(), "application/json", p); err != nil {
		s.opts.Logger.Debug("answer", "err", err) // the client is gone
	}
}

// asProblem is fail for those who write the answer themselves.
func asProblem(err error) *wire.Problem {
	var p *wire.Problem
	if !errors.As(fail(err), &p) {
		panic("api: fail makes problems")
	}
	return p
}

// VerbsOf returns the verbs of which an operation needs one; ok is false when it says nothing, and so is refused to all.
func VerbsOf(o *huma.Operation) (_ []access.Verb, ok bool) {
	n, ok := o.Metadata[needKey].(need)
	return n.verbs, ok
}
