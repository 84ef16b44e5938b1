package store

import (
	"context"
	"time"

	"understudy/internal/grant"
)

// PutGrant implements grant.Records.
func (s *Store) PutGrant(ctx context.Context, r grant.Record) error {
	_, err := s.exec(ctx, "save grant "+r.ID, `INSERT INTO grants(id, run, issued, ended, doc) VALUES(?, ?, ?, ?, ?)
		ON CONFLICT(id) DO UPDATE SET ended = excluded.ended, doc = excluded.doc`, r.ID, r.Run, nanos(r.Issued), nanos(r.Ended), encode(r))
	return err
}

// Grants implements grant.Records. A negative limit is none.
func (s *Store) Grants(ctx context.Context, active bool, limit int) ([]grant.Record, error) {
	return queryDocs[grant.Record](ctx, s.read, "read grants",
		"SELECT doc FROM grants WHERE NOT ?1 OR ended = 0 ORDER BY issued DESC, id LIMIT ?2", active, limit)
}

// PruneGrants removes grants that ended before a time.
func (s *Store) PruneGrants(ctx context.Context, before time.Time) (removed int64, err error) {
	return s.exec(ctx, "prune grants", "DELETE FROM grants WHERE ended <> 0 AND ended < ?", nanos(before))
}
