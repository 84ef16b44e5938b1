package collector

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"understudy/internal/dr"
)

// maxBody bounds a request's body, in bytes.
const maxBody = 64 << 10

// An Instant is an answer about registrations, with the collector's clock so that ages need no other.
type Instant struct {
	Now           time.Time      `json:"now"`
	Registrations []Registration `json:"registrations"`
	Refused       []Refusal      `json:"refused,omitempty"`
}

// Answer is what an agent is told when its heartbeat was accepted.
type Answer struct {
	Rules []Rule `json:"rules"`
}

// problem is an error on the wire, as in RFC 9457.
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Kind   string `json:"kind,omitempty"`
	Hint   string `json:"hint,omitempty"`
}

// Handler serves agents, who post heartbeats with their tokens, and administrators, who show theirs.
//
//	POST   /v1/heartbeats                                        agents
//	GET    /v1/rules                                             administrators, all that follow
//	PUT    /v1/rules/{rule}
//	DELETE /v1/rules/{rule}
//	GET    /v1/registrations                                     with what is refused
//	PUT    /v1/registrations/{machine}/{extension}               register anew; the answer has the token
//	DELETE /v1/registrations/{machine}/{extension}
//	PUT    /v1/registrations/{machine}/{extension}/associations/{name}
//	DELETE /v1/registrations/{machine}/{extension}/associations/{name}
func (c *Collector) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/heartbeats", c.heartbeat)
	admin := func(pattern string, f func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if !c.CheckAdmin(bearer(r)) {
				w.Header().Set("WWW-Authenticate", "Bearer")
				answerProblem(w, http.StatusUnauthorized, errors.New("this needs the administrator's token"))
				return
			}
			v, err := f(r)
			if err != nil {
				answerProblem(w, statusOf(err), err)
				return
			}
			answer(w, http.StatusOK, v)
		})
	}
	admin("GET /v1/rules", func(*http.Request) (any, error) { return c.Rules(), nil })
	admin("PUT /v1/rules/{rule}", func(r *http.Request) (any, error) {
		rule, err := decode[Rule](r)
		rule.Name = r.PathValue("rule")
		if err == nil {
			err = c.PutRule(rule)
		}
		return rule, err
	})
	admin("DELETE /v1/rules/{rule}", func(r *http.Request) (any, error) { return struct{}{}, c.DeleteRule(r.PathValue("rule")) })
	admin("GET /v1/registrations", func(*http.Request) (any, error) {
		return Instant{c.cfg.Now().UTC(), c.Registrations(), c.Refusals()}, nil
	})
	const one = "/v1/registrations/{machine}/{extension}"
	admin("PUT "+one, func(r *http.Request) (any, error) {
		return c.Register(r.PathValue("machine"), r.PathValue("extension"))
	})
	admin("DELETE "+one, func(r *http.Request) (any, error) {
		return struct{}{}, c.Unregister(r.PathValue("machine"), r.PathValue("extension"))
	})
	admin("PUT "+one+"/associations/{name}", func(r *http.Request) (any, error) {
		a, err := decode[dr.Association](r)
		a.Name = r.PathValue("name")
		if err == nil {
			err = c.Associate(r.PathValue("machine"), r.PathValue("extension"), a)
		}
		return a, err
	})
	admin("DELETE "+one+"/associations/{name}", func(r *http.Request) (any, error) {
		return struct{}{}, c.Dissociate(r.PathValue("machine"), r.PathValue("extension"), r.PathValue("name"))
	})
	return http.MaxBytesHandler(mux, maxBody)
}

func (c *Collector) heartbeat(w http.ResponseWriter, r *http.Request) {
	b, err := decode[Beat](r)
	if err != nil {
		answerProblem(w, http.StatusUnprocessableEntity, err)
		return
	}
	rules, err := c.Receive(bearer(r), b)
	switch {
	case errors.Is(err, errUnknown):
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		answerProblem(w, http.StatusUnauthorized, err)
	case err != nil:
		answerProblem(w, http.StatusForbidden, err)
	default:
		answer(w, http.StatusOK, Answer{rules})
	}
}

func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

func decode[T any](r *http.Request) (v T, err error) {
	data, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(data, &v)
	}
	return v, dr.WithHint(err, dr.KindInvalid, "send JSON")
}

func statusOf(err error) int {
	switch dr.KindOf(err) {
	case dr.KindInvalid:
		return http.StatusUnprocessableEntity
	case dr.KindNotFound:
		return http.StatusNotFound
	case dr.KindConflict:
		return http.StatusConflict
	case dr.KindUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client is gone if this fails
}

func answerProblem(w http.ResponseWriter, status int, err error) {
	p := problem{Title: http.StatusText(status), Status: status, Detail: err.Error(), Hint: dr.Hint(err)}
	var classed *dr.Error
	if errors.As(err, &classed) {
		p.Kind = string(classed.Kind)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(p)
}
