-- +goose Up
CREATE TABLE drill_schedules (
  grp TEXT PRIMARY KEY REFERENCES groups(name) ON DELETE CASCADE,
  doc TEXT NOT NULL
) STRICT;
-- +goose Down
DROP TABLE drill_schedules;
