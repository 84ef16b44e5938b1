package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"understudy/internal/access"
	"understudy/internal/dr"
	"understudy/internal/store/sqlite"
)

// An AuditEntry is an entry of the audit log, with its hash.
type AuditEntry struct {
	access.Entry
	Link access.Link
}

// AppendAudit adds an entry to the audit log. Sequence, Time and Previous are filled in.
func (s *Store) AppendAudit(ctx context.Context, e access.Entry) (AuditEntry, error) {
	e.Time = s.now().UTC()
	var out AuditEntry
	err := s.tx(ctx, "write audit log", func(tx *sql.Tx) error {
		last, err := auditHead(ctx, tx)
		if err != nil {
			return err
		}
		if out.Entry, out.Link, err = access.Append(e, last.Sequence, last.Hash); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO audit(sequence, doc, hash) VALUES(?, ?, ?)", out.Sequence, out.Link.Text, out.Link.Hash)
		return err
	})
	return out, err
}

type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func auditHead(ctx context.Context, q queryer) (h access.Head, err error) {
	err = q.QueryRowContext(ctx, "SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1").Scan(&h.Sequence, &h.Hash)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return h, err
}

// AuditHead is the end of the audit log; zero when it is empty.
func (s *Store) AuditHead(ctx context.Context) (access.Head, error) {
	h, err := auditHead(ctx, s.read)
	return h, sqlite.Explain(err)
}

// An AuditFilter selects entries of the audit log, the newest first; its zero value selects all.
type AuditFilter struct {
	Actor, Verb, Object, Result string
	Since, Until                time.Time // at or after, before
	After                       int64     // a sequence: go on behind it, with what is older
	Limit                       int       // 0: 100
	// Every also selects entries of a beginning whose end is in another.
	Every bool
}

// AuditLog returns the entries selected.
func (s *Store) AuditLog(ctx context.Context, f AuditFilter) ([]AuditEntry, error) {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	query, args := "SELECT sequence, doc, hash FROM audit a WHERE 1", []any{}
	where := func(condition string, value any) { query, args = query+" AND "+condition, append(args, value) }
	for column, value := range map[string]string{"actor": f.Actor, "verb": f.Verb, "object": f.Object, "result": f.Result} {
		if value != "" {
			where(column+" = ?", value)
		}
	}
	if !f.Since.IsZero() {
		where("julianday(time) >= julianday(?)", f.Since.UTC().Format(time.RFC3339Nano))
	}
	if !f.Until.IsZero() {
		where("julianday(time) < julianday(?)", f.Until.UTC().Format(time.RFC3339Nano))
	}
	if f.After > 0 {
		where("sequence < ?", f.After)
	}
	if !f.Every {
		where("NOT (result = ? AND EXISTS (SELECT 1 FROM audit b WHERE b.of = a.sequence))", access.ResultBegun)
	}
	return queryRows(ctx, s.read, "read audit log", scanAudit, query+" ORDER BY sequence DESC LIMIT ?", append(args, f.Limit)...)
}

func scanAudit(r *sql.Rows) (e AuditEntry, err error) {
	var sequence int64
	if err := r.Scan(&sequence, &e.Link.Text, &e.Link.Hash); err != nil {
		return e, err
	}
	if err := json.Unmarshal([]byte(e.Link.Text), &e.Entry); err != nil { // verification tells
		e.Entry = access.Entry{Detail: "this entry cannot be read"}
	}
	e.Sequence = sequence
	return e, nil
}

// EachAudit calls fn with every entry, the oldest first, until fn returns an error.
func (s *Store) EachAudit(ctx context.Context, fn func(AuditEntry) error) error {
	return eachAudit(ctx, s.read, fn)
}

func eachAudit(ctx context.Context, db *sql.DB, fn func(AuditEntry) error) error {
	for last := int64(-1); ; {
		list, err := queryRows(ctx, db, "read audit log", scanAudit, "SELECT sequence, doc, hash FROM audit WHERE sequence > ? ORDER BY sequence LIMIT 1000", last)
		if err != nil || len(list) == 0 {
			return err
		}
		for _, e := range list {
			if err := fn(e); err != nil {
				return err
			}
			last = e.Sequence
		}
	}
}

// VerifyAudit reads the whole audit log and finds what was done to it.
func (s *Store) VerifyAudit(ctx context.Context, heads []access.Head) (access.Verifier, error) {
	return verifyAudit(ctx, s.read, heads)
}

func verifyAudit(ctx context.Context, db *sql.DB, heads []access.Head) (access.Verifier, error) {
	v := access.Verifier{Heads: heads}
	err := eachAudit(ctx, db, func(e AuditEntry) error { v.Next(e.Sequence, e.Link); return nil })
	v.End()
	return v, err
}

// VerifyAuditFile is VerifyAudit of a state file that is only read.
func VerifyAuditFile(ctx context.Context, path string, heads []access.Head) (v access.Verifier, err error) {
	db, err := sqlite.Open(ctx, path, sqlite.Options{MaxConns: 1, ReadOnly: true})
	if err != nil {
		return v, dr.WithHint(err, dr.KindOf(err), "name the controller's folder with --data")
	}
	defer func() {
		if cerr := db.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("close %s: %w", path, cerr)
		}
	}()
	return verifyAudit(ctx, db, heads)
}
