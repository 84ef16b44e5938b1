package api

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/time/rate"

	"understudy/internal/access"
	"understudy/internal/api/wire"
)

// objectName names what a request is about, by its path, for the audit log.
func objectName(on place, c huma.Context) string {
	name := c.Param("name")
	switch on {
	case ofSite:
		return string(access.Site(name))
	case ofGroup:
		return string(access.Group(name))
	case ofPlan:
		return "plan:" + name
	case ofRun:
		return "run:" + name
	}
	u := c.URL()
	return strings.TrimPrefix(u.Path, "/v1/")
}

// audited reports whether an operation is recorded although it is allowed: when it may change something. Two operations that use GET
// are, too: a browser comes back from a provider of identities with it, which logs in, and a download takes data out.
func (n need) audited(c huma.Context) bool {
	id := c.Operation().OperationID
	return (!reads(c.Method()) || id == opOIDCCallback || id == opDownloadDisk) && !strings.HasPrefix(id, "preview-") && !strings.HasPrefix(id, "check-")
}

// told is what a path says beside the object, for the beginning of an entry: when the controller dies there is no more of it.
func told(c huma.Context) string {
	if c.Operation().OperationID != opDownloadDisk {
		return ""
	}
	return fmt.Sprintf("point %s, disk %s/%s", c.Param("point"), c.Param("machine"), c.Param("disk"))
}

// entry begins an entry of the audit log.
func entry(c huma.Context, n need, result string) access.Entry {
	ask := askingOf(c.Context())
	e := access.Entry{Actor: ask.caller.Name, Method: ask.caller.Method, Address: ask.address, Operation: c.Operation().OperationID,
		Object: ask.object, Digest: ask.digest, Result: result, Run: ask.run, Detail: ask.detail}
	if ask.caller.Person != ask.caller.Name {
		e.Person = ask.caller.Person
	}
	if len(n.verbs) > 0 {
		e.Verb = n.verbs[0]
	}
	if p := ask.problem; p != nil {
		e.Status, e.Detail = p.Status, p.Error()
	}
	return e
}

// recorded does something between two entries of the audit log. The error is that nothing was done, since the first could
// not be written.
func (s *server) recorded(c huma.Context, n need, do func()) error {
	ctx, ask := context.WithoutCancel(c.Context()), askingOf(c.Context()) // the end is told also when the client is gone
	begun := access.Entry{}
	ask.detail = told(c)
	if n.on != anyone { // who logs in is known afterwards only
		added, err := s.backend.Audit(ctx, entry(c, n, access.ResultBegun))
		if err != nil {
			return err
		}
		begun = added.Entry
	}
	do()
	e := entry(c, n, access.ResultDone)
	e.Of, e.Status, e.Approval = begun.Sequence, cmp.Or(c.Status(), e.Status), ask.approval // a stream may set no status
	switch {
	case ask.problem != nil && ask.problem.Status == http.StatusAccepted:
		e.Result = access.ResultWaits
	case e.Status >= 500:
		e.Result = access.ResultFailed
	case e.Status >= 400:
		e.Result = access.ResultRefused
		if ask.approval != "" {
			if err := s.backend.ReturnApproval(ctx, ask.approval); err != nil {
				s.opts.Logger.Warn("return approval", "approval", ask.approval, "err", err)
			}
		}
	}
	if n.on == anyone && e.Result != access.ResultDone {
		var ok bool
		if e.Detail, ok = s.unknown.count(e.Detail); !ok {
			return nil
		}
	}
	if _, err := s.backend.Audit(ctx, e); err != nil { // what was done is done: its beginning is recorded
		s.opts.Logger.Error("audit log", "err", err)
	}
	return nil
}

// recordRefusal records what a caller was not allowed to do.
func (s *server) recordRefusal(c huma.Context, n need) {
	e := entry(c, n, access.ResultRefused)
	if e.Actor == "" {
		if reads(c.Method()) {
			return
		}
		var ok bool
		if e.Detail, ok = s.unknown.count(e.Detail); !ok {
			return
		}
	}
	if _, err := s.backend.Audit(context.WithoutCancel(c.Context()), e); err != nil {
		s.opts.Logger.Error("audit log", "err", err)
	}
}

// noteProblem keeps the problem that a request is answered with.
func noteProblem(c huma.Context, _ string, v any) (any, error) {
	if p, ok := v.(*wire.Problem); ok {
		askingOf(c.Context()).problem = p
	}
	return v, nil
}

// unknown bounds how much those who are not known can write into the audit log.
type unknown struct {
	now func() time.Time

	mu      sync.Mutex
	limit   *rate.Limiter
	skipped int
}

func newUnknown(now func() time.Time) *unknown {
	return &unknown{now: now, limit: rate.NewLimiter(rate.Every(time.Second), 60)}
}

// count reports whether one more is recorded, and adds to its detail how many were not.
func (u *unknown) count(detail string) (string, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.limit.AllowN(u.now(), 1) {
		u.skipped++
		return "", false
	}
	if u.skipped > 0 {
		detail = fmt.Sprintf("%s (%d more from unknown callers were not recorded)", detail, u.skipped)
		u.skipped = 0
	}
	return detail, true
}
