-- +goose Up
-- Who may use the API. Secrets are kept as hashes only.
CREATE TABLE users (name TEXT PRIMARY KEY, doc TEXT NOT NULL) STRICT;
CREATE TABLE sessions (
  hash BLOB PRIMARY KEY,
  user TEXT NOT NULL,
  expires INTEGER NOT NULL,
  doc TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_user ON sessions(user);
ALTER TABLE tokens ADD COLUMN doc TEXT NOT NULL DEFAULT '{}';
-- +goose Down
ALTER TABLE tokens DROP COLUMN doc;
DROP TABLE sessions;
DROP TABLE users;
