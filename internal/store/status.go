package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"understudy/internal/dr"
)

// A GroupStatus is what replication last observed of a group.
type GroupStatus struct {
	Group     string          `json:"group"`
	State     string          `json:"state,omitempty"`
	Phase     string          `json:"phase,omitempty"`
	KnownGood time.Time       `json:"knownGood,omitzero"` // the vault holds everything up to this instant
	LastPoint string          `json:"lastPoint,omitempty"`
	LastError string          `json:"lastError,omitempty"`
	ErrorKind dr.Kind         `json:"errorKind,omitempty"`
	Hint      string          `json:"hint,omitempty"`
	Failures  int             `json:"failures,omitempty"` // in a row
	NextDue   time.Time       `json:"nextDue,omitzero"`
	Updated   time.Time       `json:"updated,omitzero"`
	Detail    json.RawMessage `json:"detail,omitempty"` // the scheduler's own record
}

// PutStatuses saves many groups' status in one transaction. Groups that do not exist any more are passed over.
func (s *Store) PutStatuses(ctx context.Context, list []GroupStatus) error {
	if len(list) == 0 {
		return nil
	}
	return s.quietly(ctx, "save status", func(tx *sql.Tx) error {
		put, err := tx.PrepareContext(ctx, `INSERT INTO group_status(grp, next_due, doc) SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM groups WHERE name = ?1)
			ON CONFLICT(grp) DO UPDATE SET next_due = excluded.next_due, doc = excluded.doc`)
		if err != nil {
			return err
		}
		defer put.Close()
		for _, g := range list {
			if _, err := put.ExecContext(ctx, g.Group, nanos(g.NextDue), encode(g)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Status returns a group's status; the zero status when none was saved.
func (s *Store) Status(ctx context.Context, group string) (GroupStatus, error) {
	list, err := queryDocs[GroupStatus](ctx, s.read, "read status of "+group, "SELECT doc FROM group_status WHERE grp = ?", group)
	if err != nil || len(list) == 0 {
		return GroupStatus{Group: group}, err
	}
	return list[0], nil
}

// Due returns the groups, not paused, whose next cycle is due at now, the longest overdue first. A group without a
// saved status is due.
func (s *Store) Due(ctx context.Context, now time.Time, limit int) ([]string, error) {
	return queryRows(ctx, s.read, "read due groups", func(r *sql.Rows) (name string, err error) { return name, r.Scan(&name) },
		`SELECT name FROM groups LEFT JOIN group_status ON grp = name
		WHERE COALESCE(next_due, 0) <= ? AND NOT COALESCE(json_extract(groups.doc, '$.paused'), 0) ORDER BY COALESCE(next_due, 0), name LIMIT ?`, nanos(now), limit)
}

// A Protection is where a group stands in its life cycle, and the last proof that it can be recovered.
type Protection struct {
	Group string `json:"group"`
	dr.Protection
	Run      string    `json:"run,omitempty"`      // the failover that State is about
	LaterRun string    `json:"laterRun,omitempty"` // the reprotection or resolution after it that State is about
	TestRun  string    `json:"testRun,omitempty"`  // the test failover that Test is about
	Since    time.Time `json:"since,omitzero"`     // of State
	Epoch    uint64    `json:"epoch,omitempty"`    // of the owner after the last failover

	// The newest drill that was completed and cleaned up.
	ProvenAt    time.Time     `json:"provenAt,omitzero"`
	ProvenRun   string        `json:"provenRun,omitempty"`
	ProvenPoint string        `json:"provenPoint,omitempty"`
	ProvenRTO   time.Duration `json:"provenRTO,omitempty"`
}

// Protection returns where a group stands; the zero State when nothing was recorded.
func (s *Store) Protection(ctx context.Context, group string) (Protection, error) {
	list, err := queryDocs[Protection](ctx, s.read, "read protection of "+group, "SELECT doc FROM protections WHERE grp = ?", group)
	if err != nil || len(list) == 0 {
		return Protection{Group: group}, err
	}
	return list[0], nil
}

// ChangeProtection replaces a group's protection by what change makes of it, in one transaction. It returns the result.
func (s *Store) ChangeProtection(ctx context.Context, group string, change func(*Protection) error) (Protection, error) {
	var p Protection
	err := s.tx(ctx, "change protection of "+group, func(tx *sql.Tx) (err error) {
		p, err = changeProtection(ctx, tx, s.now(), group, change)
		return err
	})
	return p, err
}

func changeProtection(ctx context.Context, tx *sql.Tx, now time.Time, group string, change func(*Protection) error) (Protection, error) {
	p, err := docTx[Protection](ctx, tx, "protection of", group, "SELECT doc FROM protections WHERE grp = ?", group)
	if err != nil && dr.KindOf(err) != dr.KindNotFound {
		return p, err
	}
	p.Group = group
	before := p.State
	if err := change(&p); err != nil {
		return p, err
	}
	if p.State != before {
		p.Since = now.UTC()
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO protections(grp, state, doc) VALUES(?, ?, ?)
		ON CONFLICT(grp) DO UPDATE SET state = excluded.state, doc = excluded.doc`, group, string(p.State), encode(p))
	return p, err
}

func docTx[T any](ctx context.Context, tx *sql.Tx, noun, name, query string, args ...any) (T, error) {
	var v T
	var doc string
	err := tx.QueryRowContext(ctx, query, args...).Scan(&doc)
	if errors.Is(err, sql.ErrNoRows) {
		return v, dr.WithHint(fmt.Errorf("no %s named %q", noun, name), dr.KindNotFound, "")
	}
	if err != nil {
		return v, err
	}
	return v, json.Unmarshal([]byte(doc), &v)
}
