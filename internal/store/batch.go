package store

import (
	"context"
	"encoding/json"
)

// What follows reads about all groups in one query each. With the name of a group it is about that one.

// mapBy turns a list into a map.
func mapBy[T any](list []T, err error, key func(T) string) (map[string]T, error) {
	m := make(map[string]T, len(list))
	for _, v := range list {
		m[key(v)] = v
	}
	return m, err
}

// StatusesOf returns what was saved of groups, by group; those of which nothing was saved are missing.
func (s *Store) StatusesOf(ctx context.Context, group string) (map[string]GroupStatus, error) {
	list, err := queryDocs[GroupStatus](ctx, s.read, "read status", "SELECT doc FROM group_status"+where(group), args(group)...)
	return mapBy(list, err, func(v GroupStatus) string { return v.Group })
}

// ProtectionsOf returns where groups stand, by group; those of which nothing was recorded are missing.
func (s *Store) ProtectionsOf(ctx context.Context, group string) (map[string]Protection, error) {
	list, err := queryDocs[Protection](ctx, s.read, "read protections", "SELECT doc FROM protections"+where(group), args(group)...)
	return mapBy(list, err, func(v Protection) string { return v.Group })
}

// where selects the rows of one group, or all when group is empty.
func where(group string) string {
	if group == "" {
		return ""
	}
	return " WHERE grp = ?"
}

func args(group string) []any {
	if group == "" {
		return nil
	}
	return []any{group}
}

// ActiveRuns returns the runs that have not ended, by group. A group has one at most.
func (s *Store) ActiveRuns(ctx context.Context, group string) (map[string]Run, error) {
	query := "SELECT doc FROM runs WHERE ended = 0 AND grp <> ''"
	if group != "" {
		query += " AND grp = ?"
	}
	list, err := queryDocs[Run](ctx, s.read, "read active runs", query, args(group)...)
	return mapBy(list, err, func(v Run) string { return v.Group })
}

// NewestRuns returns the newest run of a kind of every group, by group.
func (s *Store) NewestRuns(ctx context.Context, kind, group string) (map[string]Run, error) {
	list, err := queryDocs[Run](ctx, s.read, "read newest runs", `SELECT doc FROM (
		SELECT doc, row_number() OVER (PARTITION BY grp ORDER BY requested DESC, id DESC) AS place FROM runs WHERE kind = ?1 AND grp <> '' AND (?2 = '' OR grp = ?2)
	) WHERE place = 1`, kind, group)
	return mapBy(list, err, func(v Run) string { return v.Group })
}

// RunsByID returns runs, by ID; those that do not exist are missing.
func (s *Store) RunsByID(ctx context.Context, ids []string) (map[string]Run, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	all, err := json.Marshal(ids)
	if err != nil {
		return nil, err
	}
	list, err := queryDocs[Run](ctx, s.read, "read runs", "SELECT doc FROM runs WHERE id IN (SELECT value FROM json_each(?))", string(all))
	return mapBy(list, err, func(v Run) string { return v.ID })
}
