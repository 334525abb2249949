#!/usr/bin/env bash
# Runs each fuzz function. Usage: fuzz.sh [TIME or COUNTx], 5000x by default: with a time, go test may fail at its end on a busy
# machine ("context deadline exceeded") although it found nothing.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

time=${1:-5000x}
count=0
while IFS=: read -r file function; do
  say "$file: $function for $time"
  go test -run '^$' -fuzz "^$function\$" -fuzztime "$time" "./$(dirname "$file")"
  count=$((count + 1))
done < <(git grep --untracked -oE '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go' | sed 's/func //')
printf '%s fuzz functions ran\n' "$count"
