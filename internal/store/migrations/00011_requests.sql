-- +goose Up
-- Requests that carry a key of their own, so that they are done once however often they are sent.
CREATE TABLE requests (
  caller TEXT NOT NULL,
  key TEXT NOT NULL,
  digest BLOB NOT NULL,
  process TEXT NOT NULL,
  begun INTEGER NOT NULL,
  run TEXT NOT NULL,
  status INTEGER NOT NULL,
  type TEXT NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (caller, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX requests_begun ON requests(begun);
CREATE INDEX runs_kind ON runs(kind, grp, requested);
CREATE INDEX runs_under_way ON runs(requested) WHERE ended = 0;
-- How many runs have ended in which way, of all times: runs are forgotten one day, and what is counted must not shrink.
CREATE TABLE run_counts (kind TEXT NOT NULL, state TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (kind, state)) STRICT, WITHOUT ROWID;
INSERT INTO run_counts SELECT kind, state, count(*) FROM runs WHERE ended <> 0 GROUP BY kind, state;
-- +goose StatementBegin
CREATE TRIGGER runs_end AFTER UPDATE OF ended ON runs WHEN old.ended = 0 AND new.ended <> 0 BEGIN
  INSERT INTO run_counts(kind, state, count) VALUES(new.kind, new.state, 1) ON CONFLICT(kind, state) DO UPDATE SET count = count + 1;
END;
-- +goose StatementEnd
-- +goose Down
DROP TRIGGER runs_end;
DROP TABLE run_counts;
DROP INDEX runs_under_way;
DROP INDEX runs_kind;
DROP TABLE requests;
