-- +goose Up
-- Machines that are held at a site their group left, and what is known of their disks.
CREATE TABLE originals (
  site TEXT NOT NULL,
  machine TEXT NOT NULL,
  grp TEXT NOT NULL,
  doc TEXT NOT NULL,
  PRIMARY KEY (site, machine)
) STRICT, WITHOUT ROWID;
-- +goose Down
DROP TABLE originals;
