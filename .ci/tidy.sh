#!/usr/bin/env bash
# What go itself can say about the tree: formatted, tidy, unchanged modules, vetted, builds.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mapfile -t files < <(git ls-files --cached --others --exclude-standard '*.go')
unformatted=$(gofmt -l "${files[@]}")
[ -z "$unformatted" ] || fail "not formatted by gofmt: $unformatted"
retry go mod download
go mod tidy -diff
go mod verify
go build ./...
go vet ./...
