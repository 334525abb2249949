#!/usr/bin/env bash
# Runs each fuzz function for a while. Usage: fuzz.sh [TIME], 10s by default.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

time=${1:-10s}
count=0
while IFS=: read -r file function; do
  say "$file: $function for $time"
  go test -run '^$' -fuzz "^$function\$" -fuzztime "$time" "./$(dirname "$file")"
  count=$((count + 1))
done < <(git grep --untracked -oE '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go' | sed 's/func //')
printf '%s fuzz functions ran\n' "$count"
