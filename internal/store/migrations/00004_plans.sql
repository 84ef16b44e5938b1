-- +goose Up
-- A plan outlives its group: protecting the group again finds it.
CREATE TABLE plans (name TEXT PRIMARY KEY, grp TEXT NOT NULL, doc TEXT NOT NULL) STRICT;
CREATE TABLE plan_versions (
  plan TEXT NOT NULL REFERENCES plans(name) ON DELETE CASCADE,
  version INTEGER NOT NULL,
  doc TEXT NOT NULL,
  PRIMARY KEY (plan, version)
) STRICT, WITHOUT ROWID;
-- Every attempt of an action, written before it begins: what began and has no end was under way when a controller died.
CREATE TABLE action_attempts (
  run TEXT NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
  action TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  doc TEXT NOT NULL,
  PRIMARY KEY (run, action, attempt)
) STRICT, WITHOUT ROWID;
-- What a run asks people; one question of a run is open at most.
CREATE TABLE run_questions (
  run TEXT NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
  topic TEXT NOT NULL,
  answered INTEGER NOT NULL,
  doc TEXT NOT NULL,
  PRIMARY KEY (run, topic)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX run_questions_open ON run_questions(run) WHERE answered = 0;
-- +goose Down
DROP TABLE run_questions;
DROP TABLE action_attempts;
DROP TABLE plan_versions;
DROP TABLE plans;
