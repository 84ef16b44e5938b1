#!/bin/sh
# Writes the types of the API, from the description that its handlers generate.
set -eu
cd "$(dirname "$0")/.."
description=$(mktemp)
trap 'rm -f "$description"' EXIT
(cd .. && "${GO:-go}" run ./internal/api/cmd/openapi) >"$description"
node_modules/.bin/openapi-typescript "$description" --output src/api/schema.d.ts
