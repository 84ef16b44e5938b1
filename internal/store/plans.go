package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"understudy/internal/dr"
)

// A Plan is a recovery plan as it is now, and whether a rehearsal proved it.
type Plan struct {
	Name    string    `json:"name"`
	Group   string    `json:"group"`
	Version int       `json:"version"` // from 1; rises when the meaning changes
	Updated time.Time `json:"updated"`

	// Verified is the newest version that a rehearsal carried out to its end and cleaned up; 0 when there is none.
	Verified    int       `json:"verified,omitempty"`
	VerifiedAt  time.Time `json:"verifiedAt,omitzero"`
	VerifiedRun string    `json:"verifiedRun,omitempty"`
}

// NeedsVerification reports whether the plan was changed, or written, since a rehearsal last proved it.
func (p Plan) NeedsVerification() bool { return p.Verified != p.Version }

// A PlanVersion is what a plan said.
type PlanVersion struct {
	Plan    string          `json:"plan"`
	Version int             `json:"version"`
	Group   string          `json:"group"`
	Created time.Time       `json:"created"`
	By      string          `json:"by,omitempty"`
	Text    string          `json:"text"`   // as it was written
	Parsed  json.RawMessage `json:"parsed"` // as it is carried out
}

// PutPlan saves a plan. It becomes a new version unless same says that it means what the version before does; then only
// the text is replaced. It returns the plan and whether the version is new. A plan does not change its group:
// dr.KindConflict.
func (s *Store) PutPlan(ctx context.Context, v PlanVersion, same func(before PlanVersion) (bool, error)) (p Plan, changed bool, err error) {
	err = s.tx(ctx, "save plan "+v.Plan, func(tx *sql.Tx) error {
		p, err = docTx[Plan](ctx, tx, "plan", v.Plan, "SELECT doc FROM plans WHERE name = ?", v.Plan)
		switch {
		case dr.KindOf(err) == dr.KindNotFound:
			p = Plan{Name: v.Plan, Group: v.Group}
		case err != nil:
			return err
		case p.Group != v.Group:
			return dr.WithHint(fmt.Errorf("plan %s is of group %s, not of %s", p.Name, p.Group, v.Group), dr.KindConflict,
				"give it another name, or remove the other: understudy plan delete "+p.Name)
		default:
			before, err := docTx[PlanVersion](ctx, tx, "version of plan", v.Plan, "SELECT doc FROM plan_versions WHERE plan = ? AND version = ?", v.Plan, p.Version)
			if err != nil {
				return err
			}
			unchanged, err := same(before)
			if err != nil {
				return err
			}
			if unchanged {
				before.Text, before.Parsed = v.Text, v.Parsed // the description may be another
				_, err := tx.ExecContext(ctx, "UPDATE plan_versions SET doc = ? WHERE plan = ? AND version = ?", encode(before), v.Plan, p.Version)
				return err
			}
		}
		changed = true
		p.Version++
		p.Updated = s.now().UTC()
		v.Version, v.Created = p.Version, p.Updated
		if _, err := tx.ExecContext(ctx, "INSERT INTO plans(name, grp, doc) VALUES(?, ?, ?) ON CONFLICT(name) DO UPDATE SET doc = excluded.doc", p.Name, p.Group, encode(p)); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO plan_versions(plan, version, doc) VALUES(?, ?, ?)", v.Plan, v.Version, encode(v))
		return err
	})
	return p, changed, err
}

// Plan returns a plan by name.
func (s *Store) Plan(ctx context.Context, name string) (Plan, error) {
	list, err := queryDocs[Plan](ctx, s.read, "read plan "+name, "SELECT doc FROM plans WHERE name = ?", name)
	return one(list, err, "plan", name, "understudy plan list")
}

// Plans returns the plans of a group by name, or all when group is empty.
func (s *Store) Plans(ctx context.Context, group string) ([]Plan, error) {
	return queryDocs[Plan](ctx, s.read, "read plans", "SELECT doc FROM plans WHERE ?1 = '' OR grp = ?1 ORDER BY name", group)
}

// PlanVersion returns what a plan said; version 0 is the newest.
func (s *Store) PlanVersion(ctx context.Context, name string, version int) (PlanVersion, error) {
	list, err := queryDocs[PlanVersion](ctx, s.read, "read plan "+name,
		"SELECT doc FROM plan_versions WHERE plan = ?1 AND (?2 = 0 OR version = ?2) ORDER BY version DESC LIMIT 1", name, version)
	if err == nil && len(list) == 0 && version > 0 {
		return PlanVersion{}, dr.WithHint(fmt.Errorf("plan %q has no version %d", name, version), dr.KindNotFound, "understudy plan history "+name)
	}
	return one(list, err, "plan", name, "understudy plan list")
}

// PlanVersions returns all versions of a plan, the newest first.
func (s *Store) PlanVersions(ctx context.Context, name string) ([]PlanVersion, error) {
	return queryDocs[PlanVersion](ctx, s.read, "read versions of plan "+name, "SELECT doc FROM plan_versions WHERE plan = ? ORDER BY version DESC", name)
}

// PlanRuns returns the runs that carried a plan out, the newest first.
func (s *Store) PlanRuns(ctx context.Context, name string, limit int) ([]Run, error) {
	return queryDocs[Run](ctx, s.read, "read runs of plan "+name,
		"SELECT doc FROM runs WHERE json_extract(doc, '$.input.plan.name') = ? ORDER BY requested DESC, id DESC LIMIT ?", name, limit)
}

// VerifyPlan records that a rehearsal proved a version of a plan. One that was removed meanwhile is passed over.
func (s *Store) VerifyPlan(ctx context.Context, name string, version int, run string, at time.Time) error {
	return s.tx(ctx, "record that plan "+name+" is verified", func(tx *sql.Tx) error {
		p, err := docTx[Plan](ctx, tx, "plan", name, "SELECT doc FROM plans WHERE name = ?", name)
		if dr.KindOf(err) == dr.KindNotFound || err == nil && (p.Verified > version || version > p.Version) {
			return nil // gone, or the proof is of a version that another proof or the plan has left behind
		}
		if err != nil {
			return err
		}
		p.Verified, p.VerifiedRun, p.VerifiedAt = version, run, at.UTC()
		_, err = tx.ExecContext(ctx, "UPDATE plans SET doc = ? WHERE name = ?", encode(p), name)
		return err
	})
}

// DeletePlan removes a plan with its versions; runs that were begun with it have their own copy.
func (s *Store) DeletePlan(ctx context.Context, name string) error {
	rows, err := s.exec(ctx, "remove plan "+name, "DELETE FROM plans WHERE name = ?", name)
	if err == nil && rows == 0 {
		return dr.WithHint(fmt.Errorf("no plan named %q", name), dr.KindNotFound, "understudy plan list")
	}
	return err
}
