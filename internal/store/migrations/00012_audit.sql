-- +goose Up
-- The audit log: what is in doc is all there is, and hash is the hash of it, so that nothing is beside the chain.
CREATE TABLE audit (
  sequence INTEGER PRIMARY KEY,
  doc TEXT NOT NULL,
  hash TEXT NOT NULL,
  time TEXT GENERATED ALWAYS AS (doc ->> 'time') VIRTUAL,
  actor TEXT GENERATED ALWAYS AS (doc ->> 'actor') VIRTUAL,
  verb TEXT GENERATED ALWAYS AS (doc ->> 'verb') VIRTUAL,
  object TEXT GENERATED ALWAYS AS (doc ->> 'object') VIRTUAL,
  result TEXT GENERATED ALWAYS AS (doc ->> 'result') VIRTUAL,
  of INTEGER GENERATED ALWAYS AS (doc ->> 'of') VIRTUAL
) STRICT;
CREATE INDEX audit_of ON audit(of) WHERE of IS NOT NULL;
CREATE INDEX audit_actor ON audit(actor, sequence);
CREATE INDEX audit_object ON audit(object, sequence);
-- +goose StatementBegin
CREATE TRIGGER audit_keep BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_leave BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END;
-- +goose StatementEnd
-- What waits for another person, and what became of it.
CREATE TABLE approvals (
  id TEXT PRIMARY KEY,
  digest TEXT NOT NULL,
  person TEXT NOT NULL,
  state TEXT NOT NULL,
  requested INTEGER NOT NULL,
  expires INTEGER NOT NULL,
  doc TEXT NOT NULL
) STRICT;
CREATE INDEX approvals_digest ON approvals(digest, person);
-- +goose Down
DROP TABLE approvals;
DROP TABLE audit;
