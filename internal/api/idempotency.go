package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"understudy/internal/access"
	"understudy/internal/dr"
	"understudy/internal/store"
)

// keyHeader carries the key of a request that is to be done once, however often it is sent.
const keyHeader = "Idempotency-Key"

var requestKeys = regexp.MustCompile(`^[!-~]{1,200}$`)

// RequestBackend remembers requests that carry a key.
type RequestBackend interface {
	BeginRequest(ctx context.Context, k store.RequestKey, digest [32]byte) (r store.Request, mine bool, err error)
	EndRequest(ctx context.Context, r store.Request) error
	ForgetRequest(ctx context.Context, k store.RequestKey) error
}

// once does a request that carries a key once: sent again it has the same answer. What was under way when the controller
// died is done when it is sent again, but for runs: one that was begun is the answer.
func (s *server) once(a huma.API) func(huma.Context, func(huma.Context)) {
	return func(c huma.Context, next func(huma.Context)) {
		key := c.Header(keyHeader)
		if key == "" || c.Method() == http.MethodGet || secretive(c.Operation()) {
			next(c)
			return
		}
		if !requestKeys.MatchString(key) {
			s.answer(a, c, newProblem(http.StatusUnprocessableEntity, "the key of the request is not valid",
				[]error{&huma.ErrorDetail{Location: "header." + keyHeader, Message: "must be 1 to 200 printable characters without spaces"}}))
			return
		}
		content, err := io.ReadAll(c.BodyReader())
		if err != nil {
			s.answer(a, c, newProblem(http.StatusRequestEntityTooLarge, "the request is too large", nil))
			return
		}
		url := c.URL()
		digest := sha256.Sum256(fmt.Appendf(nil, "%s %s\n%s", c.Method(), url.RequestURI(), content))
		who := askingOf(c.Context()).caller
		k := store.RequestKey{Caller: fmt.Sprintf("%s %s", who.Method, who.Name), Key: key}
		r, mine, err := s.backend.BeginRequest(c.Context(), k, digest)
		switch {
		case err != nil:
			s.answer(a, c, asProblem(err))
		case r.Digest != digest:
			s.answer(a, c, asProblem(dr.WithHint(fmt.Errorf("the key %s was used for another request", key), dr.KindConflict, "use a new key for each request, and the same one only to send it again")))
		case r.Done:
			c.SetHeader("Idempotency-Replayed", "true")
			replay(c, r)
		case !mine:
			c.SetHeader("Retry-After", "1")
			s.answer(a, c, asProblem(dr.WithHint(fmt.Errorf("the request with the key %s is still being done", key), dr.KindConflict, "send it again in a moment")))
		case r.Run != "":
			s.begun(a, c, r)
		default:
			s.do(c, next, r, content)
		}
	}
}

// secretive reports whether an answer may hold a secret, which is not kept.
func secretive(o *huma.Operation) bool {
	n, _ := o.Metadata[needKey].(need)
	return n.on == anyone || slices.Contains(n.verbs, access.Self) || slices.Contains(n.verbs, access.ManageAccess) || o.OperationID == opMountDisk
}

// do does a request and keeps its answer. One that was not done, or of which that is not known, is forgotten.
func (s *server) do(c huma.Context, next func(huma.Context), r store.Request, content []byte) {
	kept := &keeper{humaContext: huma.WithContext(c, store.WithRequest(c.Context(), r.RequestKey)), content: bytes.NewReader(content), status: http.StatusOK}
	ended := false
	end := context.WithoutCancel(c.Context()) // what was done is recorded though the client is gone
	defer func() {
		if !ended { // it panicked
			s.forget(end, r.RequestKey)
		}
	}()
	next(kept)
	ended = true
	r.Status, r.Type, r.Body = kept.status, kept.kind, kept.body.Bytes()
	switch {
	case r.Status >= 500, r.Status == http.StatusUnauthorized, r.Status == http.StatusForbidden, r.Status == http.StatusTooManyRequests:
		s.forget(end, r.RequestKey)
	default:
		if err := s.backend.EndRequest(end, r); err != nil {
			s.opts.Logger.Error("keep the answer to a request", "key", r.Key, "err", err)
		}
	}
	replay(c, r)
}

func (s *server) forget(ctx context.Context, k store.RequestKey) {
	if err := s.backend.ForgetRequest(ctx, k); err != nil {
		s.opts.Logger.Error("forget a request", "key", k.Key, "err", err)
	}
}

// begun answers with the run that a process before this one began for the request.
func (s *server) begun(a huma.API, c huma.Context, r store.Request) {
	run, _, err := s.backend.Run(c.Context(), r.Run)
	if err != nil {
		s.answer(a, c, asProblem(err))
		return
	}
	r.Status, r.Type = c.Operation().DefaultStatus, "application/json"
	if r.Body, err = json.Marshal(fromRun(run, nil)); err != nil {
		s.answer(a, c, asProblem(err))
		return
	}
	if err := s.backend.EndRequest(c.Context(), r); err != nil {
		s.answer(a, c, asProblem(err))
		return
	}
	c.SetHeader("Idempotency-Replayed", "true")
	replay(c, r)
}

// replay writes an answer.
func replay(c huma.Context, r store.Request) {
	if r.Type != "" {
		c.SetHeader("Content-Type", r.Type)
	}
	c.SetStatus(r.Status)
	_, _ = c.BodyWriter().Write(r.Body) // the client is gone if this fails
}

// humaContext is a name for what keeper embeds that is not the name of one of its methods.
type humaContext huma.Context

// keeper keeps an answer instead of sending it. Its other headers go through.
type keeper struct {
	humaContext
	content io.Reader
	status  int
	kind    string
	body    bytes.Buffer
}

// BodyReader reads the request, which was read before.
func (k *keeper) BodyReader() io.Reader { return k.content }

// SetStatus keeps the status.
func (k *keeper) SetStatus(code int) { k.status = code }

// Status is the one that is kept.
func (k *keeper) Status() int { return k.status }

// SetHeader keeps the type of the body.
func (k *keeper) SetHeader(name, value string) {
	if http.CanonicalHeaderKey(name) == "Content-Type" {
		k.kind = value
		return
	}
	k.humaContext.SetHeader(name, value)
}

// BodyWriter keeps the body.
func (k *keeper) BodyWriter() io.Writer { return &k.body }
