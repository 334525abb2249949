#!/usr/bin/env bash
# Whoever imports the libraries must not get test tools, the command line or a Redis of its own with them.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

dependencies=$(go list -deps -f '{{if not .Standard}}{{.ImportPath}}{{end}}' ./pkg/jobs ./pkg/await)
if heavy=$(grep -E 'docker|moby/|testcontainers|spf13/cobra|miniredis|vbauerster/mpb|prometheus/' <<<"$dependencies"); then
  fail "pkg/jobs and pkg/await bring these along: $heavy"
fi
printf 'pkg/jobs and pkg/await need %s packages of other modules\n' "$(grep -vc "^$(go list -m)/" <<<"$dependencies" || true)"
