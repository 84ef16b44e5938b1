-- +goose Up
CREATE TABLE grants (
  id TEXT PRIMARY KEY,
  run TEXT NOT NULL,
  issued INTEGER NOT NULL,
  ended INTEGER NOT NULL,
  doc TEXT NOT NULL
) STRICT;
CREATE INDEX grants_issued ON grants(issued);
CREATE INDEX grants_active ON grants(id) WHERE ended = 0;
-- +goose Down
DROP TABLE grants;
