package store

import (
	"context"
	"database/sql"
	"time"

	"understudy/internal/dr"
)

// An ExtensionEntry is an entry of the extension catalogue as it was written.
type ExtensionEntry struct {
	Name    string    `json:"name"`
	Text    string    `json:"text"`
	Updated time.Time `json:"updated"`
	By      string    `json:"by,omitempty"`
}

var extensionNoun = noun[ExtensionEntry]{"extension", "extension_entries", "understudy extension catalogue list", func(v ExtensionEntry) string { return v.Name }}

// PutExtensionEntry adds an entry or replaces it.
func (s *Store) PutExtensionEntry(ctx context.Context, v ExtensionEntry) error {
	v.Updated = s.now().UTC()
	return extensionNoun.put(ctx, s, v)
}

// ExtensionEntries returns all entries by name.
func (s *Store) ExtensionEntries(ctx context.Context) ([]ExtensionEntry, error) {
	return extensionNoun.all(ctx, s)
}

// DeleteExtensionEntry removes an entry.
func (s *Store) DeleteExtensionEntry(ctx context.Context, name string) error {
	return extensionNoun.delete(ctx, s, name)
}

// An Inventory is the extensions that a machine was last seen to have at a site.
type Inventory struct {
	Site       string         `json:"site"`
	Machine    string         `json:"machine"`
	Observed   time.Time      `json:"observed"`
	Extensions []dr.Extension `json:"extensions"`
}

// PutInventories saves inventories in one transaction.
func (s *Store) PutInventories(ctx context.Context, list []Inventory) error {
	if len(list) == 0 {
		return nil
	}
	return s.quietly(ctx, "save extension inventories", func(tx *sql.Tx) error {
		for _, v := range list {
			if _, err := tx.ExecContext(ctx, `INSERT INTO extension_inventories(site, machine, observed, doc) VALUES(?, ?, ?, ?)
				ON CONFLICT(site, machine) DO UPDATE SET observed = excluded.observed, doc = excluded.doc`,
				v.Site, v.Machine, nanos(v.Observed), encode(v)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Inventories returns all inventories by site and machine.
func (s *Store) Inventories(ctx context.Context) ([]Inventory, error) {
	return queryDocs[Inventory](ctx, s.read, "read extension inventories", "SELECT doc FROM extension_inventories ORDER BY site, machine")
}

// PruneInventories forgets what was last seen before an instant of machines that are in no group. It returns how many.
func (s *Store) PruneInventories(ctx context.Context, before time.Time) (int64, error) {
	return s.exec(ctx, "forget extension inventories", `DELETE FROM extension_inventories WHERE observed < ?
		AND NOT EXISTS (SELECT 1 FROM group_machines WHERE group_machines.machine = extension_inventories.machine)`, nanos(before))
}
