-- +goose Up
-- Entries of the extension catalogue that a person added, and what machines were seen to have.
CREATE TABLE extension_entries (name TEXT PRIMARY KEY, doc TEXT NOT NULL) STRICT;
CREATE TABLE extension_inventories (
  site TEXT NOT NULL,
  machine TEXT NOT NULL,
  observed INTEGER NOT NULL,
  doc TEXT NOT NULL,
  PRIMARY KEY (site, machine)
) STRICT, WITHOUT ROWID;
-- +goose Down
DROP TABLE extension_inventories;
DROP TABLE extension_entries;
