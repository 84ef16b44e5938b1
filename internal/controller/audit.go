package controller

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"understudy/internal/access"
	"understudy/internal/dr"
	"understudy/internal/store"
)

// AuditHeadFile is the file in the data folder with the end of the audit log, which is written after each entry: it shows
// that entries were removed from the end.
const AuditHeadFile = "audit.head"

// Audit adds an entry to the audit log.
func (c *Controller) Audit(ctx context.Context, e access.Entry) (store.AuditEntry, error) {
	c.auditMu.Lock() // the head file is written in the order of the entries
	defer c.auditMu.Unlock()
	added, err := c.store.AppendAudit(ctx, e)
	if err != nil {
		return added, err
	}
	head := access.Head{Sequence: added.Sequence, Hash: added.Link.Hash}
	if err := writeFile(filepath.Join(c.cfg.Dir, AuditHeadFile), []byte(head.String()+"\n")); err != nil {
		return added, fmt.Errorf("write the head of the audit log: %w", err)
	}
	return added, nil
}

// checkAudit looks, before anything is added, whether the log reaches as far as its head file says. When it does not, that
// itself becomes an entry, since the file goes on with the log from then on.
func (c *Controller) checkAudit(ctx context.Context) error {
	head, err := ReadAuditHead(c.cfg.Dir)
	if err != nil {
		return err
	}
	last, err := c.store.AuditHead(ctx)
	if err != nil {
		return err
	}
	var why string
	switch {
	case head == nil && last.Sequence > 1: // a controller may have died between the first entry and the file
		why = "the file " + AuditHeadFile + " was removed"
	case head != nil && head.Sequence > last.Sequence:
		why = fmt.Sprintf("the log ended at entry %d, the file %s knew entry %s", last.Sequence, AuditHeadFile, head)
	case head != nil && head.Sequence == last.Sequence && head.Hash != last.Hash:
		why = fmt.Sprintf("entry %d was another, the file %s knew it as %s", last.Sequence, AuditHeadFile, head)
	default:
		return nil
	}
	c.log.Error("audit log", "gap", why)
	_, err = c.Audit(ctx, access.Entry{Actor: "controller", Operation: "start", Result: access.ResultGap, Detail: why})
	return err
}

// ReadAuditHead reads the head file of a data folder; nil when there is none.
func ReadAuditHead(dir string) (*access.Head, error) {
	data, err := os.ReadFile(filepath.Join(dir, AuditHeadFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the head of the audit log: %w", err)
	}
	head, err := access.ParseHead(strings.TrimSpace(string(data)))
	return &head, err
}

// AuditLog lists the audit log.
func (c *Controller) AuditLog(ctx context.Context, f store.AuditFilter) ([]store.AuditEntry, error) {
	return c.store.AuditLog(ctx, f)
}

// EachAudit calls fn with every entry of the audit log, the oldest first.
func (c *Controller) EachAudit(ctx context.Context, fn func(store.AuditEntry) error) error {
	return c.store.EachAudit(ctx, fn)
}

// VerifyAudit reads the whole audit log; heads are ends of it that were noted before.
func (c *Controller) VerifyAudit(ctx context.Context, heads []access.Head) (access.Verifier, error) {
	c.auditMu.Lock()
	head, err := ReadAuditHead(c.cfg.Dir)
	c.auditMu.Unlock()
	if err != nil {
		return access.Verifier{}, err
	}
	if head != nil {
		heads = append(heads, *head)
	}
	return c.store.VerifyAudit(ctx, heads)
}

// AskApproval uses up the approval of a request, or asks for it.
func (c *Controller) AskApproval(ctx context.Context, ask store.Approval) (store.Approval, error) {
	a, isNew, err := c.store.AskApproval(ctx, ask)
	if err == nil && isNew {
		_, err = c.store.AppendEvent(ctx, store.Event{Kind: "approval.wanted", Group: a.Object.Group,
			Message: fmt.Sprintf("%s wants to %s; another person answers with: understudy approval approve %s", a.By, a.About, a.ID)})
	}
	return a, err
}

// ReturnApproval gives back an approval whose request was refused.
func (c *Controller) ReturnApproval(ctx context.Context, id string) error {
	return c.store.ReturnApproval(ctx, id)
}

// Approval returns an approval.
func (c *Controller) Approval(ctx context.Context, id string) (store.Approval, error) {
	return c.store.Approval(ctx, id)
}

// Approvals lists what waits for an answer, or all of them.
func (c *Controller) Approvals(ctx context.Context, waiting bool) ([]store.Approval, error) {
	return c.store.Approvals(ctx, waiting)
}

// DecideApproval approves or rejects what another person asked for.
func (c *Controller) DecideApproval(ctx context.Context, id string, approve bool, by access.Caller, note string) (store.Approval, error) {
	a, err := c.store.DecideApproval(ctx, id, approve, by, note)
	if err == nil {
		_, err = c.store.AppendEvent(ctx, store.Event{Kind: "approval." + a.State, Group: a.Object.Group,
			Message: fmt.Sprintf("%s: what %s wants, to %s, is %s", a.DecidedBy, a.By, a.About, a.State)})
	}
	return a, err
}

// sourcePatience is how long a site has to answer to count as reachable.
const sourcePatience = 10 * time.Second

// SourceReachable reports whether the site where a group runs answers.
func (c *Controller) SourceReachable(ctx context.Context, group string) (bool, error) {
	g, err := c.store.Group(ctx, group)
	if err != nil {
		return false, err
	}
	d, err := c.driver(ctx, g.Site)
	if err != nil {
		return false, nil //nolint:nilerr // what cannot be opened is not reachable
	}
	asked, cancel := context.WithTimeout(ctx, sourcePatience)
	defer cancel()
	_, err = d.Machines(asked)
	if ctx.Err() != nil {
		return false, dr.WithHint(ctx.Err(), dr.KindUnavailable, "")
	}
	return err == nil, nil
}
