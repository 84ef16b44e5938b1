-- +goose Up
CREATE TABLE monitors (
  name TEXT PRIMARY KEY,
  doc TEXT NOT NULL
) STRICT;
CREATE TABLE channels (
  name TEXT PRIMARY KEY,
  doc TEXT NOT NULL
) STRICT;
CREATE TABLE notifications (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  channel TEXT NOT NULL REFERENCES channels(name) ON DELETE CASCADE,
  state TEXT NOT NULL,
  next INTEGER NOT NULL,
  doc TEXT NOT NULL
) STRICT;
CREATE INDEX notifications_due ON notifications(next) WHERE state = 'waiting';
-- +goose Down
DROP TABLE notifications;
DROP TABLE channels;
DROP TABLE monitors;
