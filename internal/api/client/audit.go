package client

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"understudy/internal/access"
	"understudy/internal/api/wire"
)

// Approvals lists what waits for another person, the newest first; with ended, also what does not wait any more.
func (c *Client) Approvals(ctx context.Context, ended bool) ([]wire.Approval, error) {
	return all[wire.Approval](ctx, c, "/v1/approvals", Query{"all": strconv.FormatBool(ended)})
}

// Decide approves or rejects what another person asked for.
func (c *Client) Decide(ctx context.Context, id string, approve bool, note string) (v wire.Approval, err error) {
	verb := "reject"
	if approve {
		verb = "approve"
	}
	return v, c.do(ctx, http.MethodPost, path("approvals", id, verb), wire.Decision{Note: note}, &v)
}

// Audit lists the audit log; the query's keys are those of the API.
func (c *Client) Audit(ctx context.Context, query url.Values) (list []wire.AuditEntry, err error) {
	return list, c.do(ctx, http.MethodGet, "/v1/audit?"+query.Encode(), nil, &list)
}

// VerifyAudit reads the whole audit log; heads are ends of it that were noted before.
func (c *Client) VerifyAudit(ctx context.Context, heads []access.Head) (v wire.AuditVerification, err error) {
	q := url.Values{}
	for _, h := range heads {
		q.Add("expect", h.String())
	}
	return v, c.do(ctx, http.MethodGet, "/v1/audit/verify?"+q.Encode(), nil, &v)
}

// ExportAudit writes the whole audit log, an entry a line.
func (c *Client) ExportAudit(ctx context.Context, w io.Writer) error {
	resp, err := c.send(ctx, http.MethodGet, "/v1/audit/export", nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, resp.Body)
	if cerr := resp.Body.Close(); err == nil {
		err = cerr
	}
	return err
}
