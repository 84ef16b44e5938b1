-- +goose Up
CREATE TABLE notification_rules (
  name TEXT PRIMARY KEY,
  doc TEXT NOT NULL
) STRICT;
CREATE TABLE problems (
  key TEXT PRIMARY KEY,
  doc TEXT NOT NULL
) STRICT;
CREATE TABLE settings (
  name TEXT PRIMARY KEY,
  doc TEXT NOT NULL
) STRICT;
CREATE INDEX notifications_state ON notifications(state, id);
-- +goose Down
DROP INDEX notifications_state;
DROP TABLE settings;
DROP TABLE problems;
DROP TABLE notification_rules;
