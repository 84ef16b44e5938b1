-- +goose Up
-- Times are nanoseconds since 1970 in UTC; 0 is "never".
CREATE TABLE sites (name TEXT PRIMARY KEY, doc TEXT NOT NULL) STRICT;
CREATE TABLE vaults (name TEXT PRIMARY KEY, doc TEXT NOT NULL) STRICT;
CREATE TABLE policies (name TEXT PRIMARY KEY, doc TEXT NOT NULL) STRICT;
CREATE TABLE groups (
  name TEXT PRIMARY KEY,
  site TEXT NOT NULL REFERENCES sites(name),
  target TEXT REFERENCES sites(name),
  vault TEXT NOT NULL REFERENCES vaults(name),
  policy TEXT NOT NULL REFERENCES policies(name),
  doc TEXT NOT NULL
) STRICT;
-- A machine of a site is in one group at most: two groups would fight over its change tracking.
CREATE TABLE group_machines (
  grp TEXT NOT NULL REFERENCES groups(name) ON DELETE CASCADE,
  site TEXT NOT NULL,
  machine TEXT NOT NULL,
  PRIMARY KEY (site, machine)
) STRICT, WITHOUT ROWID;
CREATE INDEX group_machines_grp ON group_machines(grp);
CREATE TABLE group_status (
  grp TEXT PRIMARY KEY REFERENCES groups(name) ON DELETE CASCADE,
  next_due INTEGER NOT NULL,
  doc TEXT NOT NULL
) STRICT;
CREATE INDEX group_status_due ON group_status(next_due);
CREATE TABLE protections (
  grp TEXT PRIMARY KEY REFERENCES groups(name) ON DELETE CASCADE,
  state TEXT NOT NULL,
  doc TEXT NOT NULL
) STRICT;
CREATE TABLE runs (
  id TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  grp TEXT NOT NULL,
  point TEXT NOT NULL,
  state TEXT NOT NULL,
  requested INTEGER NOT NULL,
  started INTEGER NOT NULL,
  ended INTEGER NOT NULL,
  doc TEXT NOT NULL
) STRICT;
CREATE INDEX runs_requested ON runs(requested);
CREATE INDEX runs_grp ON runs(grp, requested);
CREATE UNIQUE INDEX runs_active ON runs(grp) WHERE ended = 0;
CREATE TABLE run_steps (
  run TEXT NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  ordinal INTEGER NOT NULL,
  doc TEXT NOT NULL,
  PRIMARY KEY (run, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE exports (
  run TEXT NOT NULL,
  machine TEXT NOT NULL,
  disk TEXT NOT NULL,
  grp TEXT NOT NULL,
  vault TEXT NOT NULL,
  point TEXT NOT NULL,
  name TEXT NOT NULL,
  socket TEXT NOT NULL,
  PRIMARY KEY (run, machine, disk)
) STRICT, WITHOUT ROWID;
CREATE TABLE fences (
  site TEXT NOT NULL,
  machine TEXT NOT NULL,
  grp TEXT NOT NULL,
  doc TEXT NOT NULL,
  PRIMARY KEY (site, machine)
) STRICT, WITHOUT ROWID;
CREATE TABLE tokens (
  hash BLOB PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  role TEXT NOT NULL,
  created INTEGER NOT NULL,
  expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE events (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  time INTEGER NOT NULL,
  kind TEXT NOT NULL,
  grp TEXT NOT NULL,
  run TEXT NOT NULL,
  message TEXT NOT NULL
) STRICT;
CREATE INDEX events_run ON events(run, sequence) WHERE run <> '';
CREATE INDEX events_grp ON events(grp, sequence) WHERE grp <> '';
