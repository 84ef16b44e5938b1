package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"understudy/internal/access"
	"understudy/internal/api/wire"
	"understudy/internal/dr"
	"understudy/internal/store"
)

// RecordBackend keeps what was done, and what waits for another person.
type RecordBackend interface {
	Audit(ctx context.Context, e access.Entry) (store.AuditEntry, error)
	AuditLog(ctx context.Context, f store.AuditFilter) ([]store.AuditEntry, error)
	EachAudit(ctx context.Context, fn func(store.AuditEntry) error) error
	VerifyAudit(ctx context.Context, heads []access.Head) (access.Verifier, error)

	// AskApproval uses up the approval of a request, which is store.ApprovalUsed then, or asks for it.
	AskApproval(ctx context.Context, ask store.Approval) (store.Approval, error)
	ReturnApproval(ctx context.Context, id string) error
	Approval(ctx context.Context, id string) (store.Approval, error)
	Approvals(ctx context.Context, waiting bool) ([]store.Approval, error)
	DecideApproval(ctx context.Context, id string, approve bool, by access.Caller, note string) (store.Approval, error)
	// SourceReachable reports whether the site where a group runs answers.
	SourceReachable(ctx context.Context, group string) (bool, error)
}

func (s *server) approvals(a huma.API) {
	const tag = "approvals"
	type filter struct {
		All bool `query:"all" doc:"Also those that do not wait for an answer"`
		Page
	}
	huma.Register(a, op(http.MethodGet, "/v1/approvals", "list-approvals", tag, "List what waits for another person, the newest first"),
		func(ctx context.Context, in *filter) (*pageOf[wire.Approval], error) {
			list, err := s.backend.Approvals(ctx, !in.All)
			if err != nil {
				return nil, fail(err)
			}
			return paged(list, in.Page, func(v store.Approval) string { return newestFirst(v.Requested, v.ID) }, fromApproval(ctx))
		})
	huma.Register(a, op(http.MethodGet, "/v1/approvals/{name}", "show-approval", tag, "Show an approval"),
		func(ctx context.Context, in *Named) (*body[wire.Approval], error) {
			v, err := s.backend.Approval(ctx, in.Name)
			return &body[wire.Approval]{fromApproval(ctx)(v)}, fail(err)
		})
	type decision struct {
		Named
		Body wire.Decision
	}
	decide := func(approve bool) func(context.Context, *decision) (*body[wire.Approval], error) {
		return func(ctx context.Context, in *decision) (*body[wire.Approval], error) {
			v, err := s.backend.DecideApproval(ctx, in.Name, approve, askingOf(ctx).caller, in.Body.Note)
			return &body[wire.Approval]{fromApproval(ctx)(v)}, fail(err)
		}
	}
	huma.Register(a, op(http.MethodPost, "/v1/approvals/{name}/approve", "approve-approval", tag, "Approve what another person asked for; the same request passes once then"), decide(true))
	huma.Register(a, op(http.MethodPost, "/v1/approvals/{name}/reject", "reject-approval", tag, "Reject what another person asked for, or withdraw what one asked for oneself"), decide(false))
}

func fromApproval(ctx context.Context) func(store.Approval) wire.Approval {
	return func(v store.Approval) wire.Approval {
		return wire.Approval{ID: v.ID, State: v.State, About: v.About, Verb: string(v.Verb), Group: v.Object.Group, Sites: v.Object.Sites, By: v.By,
			Mine: v.Person == askingOf(ctx).caller.Person, Requested: v.Requested.UTC(), Expires: v.Expires.UTC(), Decided: wire.At(v.Decided),
			DecidedBy: v.DecidedBy, Note: v.Note, Used: wire.At(v.Used)}
	}
}

func (s *server) audit(a huma.API) {
	const tag = "audit"
	type filter struct {
		Actor  string    `query:"actor"`
		Verb   string    `query:"verb"`
		Object string    `query:"object" example:"group:shop"`
		Result string    `query:"result" enum:"begun,done,refused,waits,failed,gap"`
		Since  time.Time `query:"since" doc:"At or after this instant"`
		Until  time.Time `query:"until" doc:"Before this instant"`
		After  int64     `query:"after" minimum:"0" doc:"Go on behind the entry of this sequence, with older ones"`
		Limit  int       `query:"limit" minimum:"0" maximum:"1000" doc:"By default 100"`
		Every  bool      `query:"every" doc:"Also the beginnings of what has ended"`
	}
	huma.Register(a, op(http.MethodGet, "/v1/audit", "list-audit", tag, "List the audit log, the newest first"),
		func(ctx context.Context, in *filter) (*body[[]wire.AuditEntry], error) {
			list, err := s.backend.AuditLog(ctx, store.AuditFilter(*in))
			return &body[[]wire.AuditEntry]{convert(list, fromAudit)}, fail(err)
		})
	type expect struct {
		Expect []string `query:"expect,explode" doc:"Heads that were noted before: SEQUENCE:HASH"`
	}
	huma.Register(a, op(http.MethodGet, "/v1/audit/verify", "verify-audit", tag, "Read the whole audit log, and find what was changed or removed"),
		func(ctx context.Context, in *expect) (*body[wire.AuditVerification], error) {
			var heads []access.Head
			for _, text := range in.Expect {
				head, err := access.ParseHead(text)
				if err != nil {
					return nil, fail(dr.WithHint(err, dr.KindInvalid, "an earlier verification printed it"))
				}
				heads = append(heads, head)
			}
			v, err := s.backend.VerifyAudit(ctx, heads)
			return &body[wire.AuditVerification]{wire.FromVerifier(v)}, fail(err)
		})
	huma.Register(a, answers(op(http.MethodGet, "/v1/audit/export", "export-audit", tag, "The whole audit log, an entry a line, the oldest first, with the hash of its text"), "application/jsonl"),
		func(ctx context.Context, _ *nothing) (*huma.StreamResponse, error) {
			return &huma.StreamResponse{Body: func(c huma.Context) {
				c.SetHeader("Content-Type", "application/jsonl")
				c.SetHeader("Content-Disposition", `attachment; filename="understudy-audit.jsonl"`)
				if err := s.backend.EachAudit(ctx, func(e store.AuditEntry) error { return writeAudit(c.BodyWriter(), e) }); err != nil {
					s.opts.Logger.Error("export audit log", "err", err)
					panic(http.ErrAbortHandler) // so that what was sent is not taken for the whole
				}
			}}, nil
		})
}

// writeAudit writes the text of an entry as it was hashed.
func writeAudit(w io.Writer, e store.AuditEntry) error {
	_, err := fmt.Fprintf(w, "{\"hash\":%q,\"entry\":%s}\n", e.Link.Hash, e.Link.Text)
	return err
}

func fromAudit(e store.AuditEntry) wire.AuditEntry {
	return wire.AuditEntry{Sequence: e.Sequence, Time: e.Time.UTC(), Actor: e.Actor, Person: e.Person, Method: e.Method, Address: e.Address,
		Operation: e.Operation, Verb: string(e.Verb), Object: e.Object, Digest: e.Digest, Of: e.Of, Result: e.Result, Status: e.Status, Run: e.Run,
		Approval: e.Approval, Detail: e.Detail, Hash: e.Link.Hash}
}
