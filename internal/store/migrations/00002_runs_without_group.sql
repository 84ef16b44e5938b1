-- +goose Up
-- A group has one active run at most; runs that are of no group, such as clones, do not wait for each other.
DROP INDEX runs_active;
CREATE UNIQUE INDEX runs_active ON runs(grp) WHERE ended = 0 AND grp <> '';
-- +goose Down
DROP INDEX runs_active;
CREATE UNIQUE INDEX runs_active ON runs(grp) WHERE ended = 0;
