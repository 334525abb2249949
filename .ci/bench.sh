#!/usr/bin/env bash
# Runs the benchmarks of the packages. Usage: bench.sh [BENCHTIME], 100x by default: a look whether they run at all.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mapfile -t packages < <(git grep --untracked -lE '^func Benchmark' -- '*_test.go' | xargs -r -n 1 dirname | sort -u | sed 's,^,./,')
if [ "${#packages[@]}" -eq 0 ]; then
  say 'there are no benchmarks'
  exit 0
fi
go test -run '^$' -bench . -benchmem -benchtime "${1:-100x}" "${packages[@]}"
