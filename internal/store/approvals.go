package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"understudy/internal/access"
	"understudy/internal/dr"
)

// States of an approval.
const (
	ApprovalWanted   = "wanted"
	ApprovalApproved = "approved" // the request passes once
	ApprovalRejected = "rejected"
	ApprovalUsed     = "used"
	ApprovalExpired  = "expired" // never kept: what was neither answered nor used in time
)

// How long an approval lasts.
const (
	ApprovalWait = 24 * time.Hour // from the request until another person answers
	ApprovalUse  = time.Hour      // from the answer until the request is repeated
)

// An Approval is what one person asked for and another has to allow.
type Approval struct {
	ID        string        `json:"id"`
	Verb      access.Verb   `json:"verb"`
	Object    access.Object `json:"object"`
	About     string        `json:"about"` // for people
	Digest    string        `json:"digest"`
	By        string        `json:"by"`
	Person    string        `json:"person"`
	Requested time.Time     `json:"requested"`
	Expires   time.Time     `json:"expires"`
	State     string        `json:"state"`
	Decided   time.Time     `json:"decided,omitzero"`
	DecidedBy string        `json:"decidedBy,omitempty"`
	Note      string        `json:"note,omitempty"`
	Used      time.Time     `json:"used,omitzero"`
}

// at is the approval as it is at an instant.
func (a Approval) at(now time.Time) Approval {
	if (a.State == ApprovalWanted || a.State == ApprovalApproved) && !now.Before(a.Expires) {
		a.State = ApprovalExpired
	}
	return a
}

// AskApproval uses up the approval of a person's request, in one transaction: it is returned with ApprovalUsed, once. When
// none was given yet, what is returned is ApprovalWanted; isNew says that it was not asked for before.
func (s *Store) AskApproval(ctx context.Context, ask Approval) (a Approval, isNew bool, err error) {
	now := s.now().UTC()
	err = s.tx(ctx, "ask for approval", func(tx *sql.Tx) error {
		a, err = docTx[Approval](ctx, tx, "approval", "", `SELECT doc FROM approvals WHERE digest = ? AND person = ? AND state IN (?, ?) AND expires > ?
			ORDER BY requested DESC LIMIT 1`, ask.Digest, ask.Person, ApprovalWanted, ApprovalApproved, nanos(now))
		switch {
		case dr.KindOf(err) == dr.KindNotFound:
			isNew, a = true, ask
			var random [6]byte
			rand.Read(random[:]) // never fails
			a.ID, a.State, a.Requested, a.Expires = "a-"+hex.EncodeToString(random[:]), ApprovalWanted, now, now.Add(ApprovalWait)
		case err != nil:
			return err
		case a.State == ApprovalWanted:
			return nil
		default:
			a.State, a.Used = ApprovalUsed, now
		}
		return putApproval(ctx, tx, a)
	})
	return a, isNew, err
}

func putApproval(ctx context.Context, tx *sql.Tx, a Approval) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO approvals(id, digest, person, state, requested, expires, doc) VALUES(?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT(id) DO UPDATE SET state = excluded.state, expires = excluded.expires, doc = excluded.doc`,
		a.ID, a.Digest, a.Person, a.State, nanos(a.Requested), nanos(a.Expires), encode(a))
	return err
}

// ReturnApproval gives back an approval that was used for a request which was refused then.
func (s *Store) ReturnApproval(ctx context.Context, id string) error {
	_, err := s.changeApproval(ctx, id, func(a *Approval) error {
		if a.State != ApprovalUsed {
			return fmt.Errorf("approval %s is %s", id, a.State)
		}
		a.State, a.Used = ApprovalApproved, time.Time{}
		return nil
	})
	return err
}

// DecideApproval approves or rejects what another person asked for.
func (s *Store) DecideApproval(ctx context.Context, id string, approve bool, by access.Caller, note string) (Approval, error) {
	return s.changeApproval(ctx, id, func(a *Approval) error {
		now := s.now().UTC()
		switch state := a.at(now).State; {
		case approve && a.Person == by.Person:
			return dr.WithHint(errors.New("another person has to approve this"), dr.KindForbidden, "ask somebody who has the role failover-approver")
		case state == ApprovalApproved && !approve, state == ApprovalWanted: // what was not used yet can be taken back
		default:
			return dr.WithHint(fmt.Errorf("approval %s is %s", id, state), dr.KindConflict, "understudy approval list")
		}
		a.State, a.Decided, a.DecidedBy, a.Note, a.Expires = ApprovalRejected, now, by.Name, note, now
		if approve {
			a.State, a.Expires = ApprovalApproved, now.Add(ApprovalUse)
		}
		return nil
	})
}

func (s *Store) changeApproval(ctx context.Context, id string, change func(*Approval) error) (Approval, error) {
	var a Approval
	err := s.tx(ctx, "approval "+id, func(tx *sql.Tx) (err error) {
		a, err = docTx[Approval](ctx, tx, "approval", id, "SELECT doc FROM approvals WHERE id = ?", id)
		if err == nil {
			err = change(&a)
		}
		if err == nil {
			err = putApproval(ctx, tx, a)
		}
		return err
	})
	return a, err
}

// Approval returns an approval as it is now.
func (s *Store) Approval(ctx context.Context, id string) (Approval, error) {
	list, err := queryDocs[Approval](ctx, s.read, "read approval "+id, "SELECT doc FROM approvals WHERE id = ?", id)
	a, err := one(list, err, "approval", id, "understudy approval list")
	return a.at(s.now()), err
}

// Approvals returns all approvals, the newest first, or only those that wait for an answer.
func (s *Store) Approvals(ctx context.Context, waiting bool) ([]Approval, error) {
	query, args := "SELECT doc FROM approvals", []any{}
	if waiting {
		query, args = query+" WHERE state = ? AND expires > ?", []any{ApprovalWanted, nanos(s.now())}
	}
	list, err := queryDocs[Approval](ctx, s.read, "read approvals", query+" ORDER BY requested DESC, id", args...)
	for i := range list {
		list[i] = list[i].at(s.now())
	}
	return list, err
}
