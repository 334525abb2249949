#!/usr/bin/env bash
# Runs the benchmarks of the packages, and producer bench in its shortest form: a look whether they run at all.
# Usage: bench.sh [BENCHTIME], 100x by default
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mapfile -t packages < <(git grep --untracked -lE '^func Benchmark' -- '*_test.go' | xargs -r -n 1 dirname | sort -u | sed 's,^,./,')
[ "${#packages[@]}" -gt 0 ] || fail 'there are no benchmarks'
go test -run '^$' -bench . -benchmem -benchtime "${1:-100x}" "${packages[@]}"

heading 'producer bench --quick'
work=$(mktemp -d)
server=
end() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  wait
  rm -rf "$work"
}
trap end EXIT

command -v redis-server >/dev/null || apt_install redis-server
command -v jq >/dev/null || apt_install jq
port=$(free_port)
redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no --dir "$work" --logfile "$work/redis.log" &
server=$!
wait_for 10 redis-cli -p "$port" ping || fail "no redis-server: $(cat "$work/redis.log")"
go build -o "$work/producer" ./cmd/producer
timeout 180 "$work/producer" bench --quick --redis "redis://127.0.0.1:$port" "$work/samples.json" >"$work/table" 2>"$work/progress" ||
  fail "producer bench --quick: $(tail -n 20 "$work/progress")"

# Every figure that docs/performance.md has a target for was measured, every sample has its values, and nothing is left.
targets=$(sed -n '/begin targets/,/end targets/p' docs/performance.md | grep -c '^| [^|]* | [≤≥]')
verdicts=$(grep -cE '  (stretch|met|NOT MET)$' "$work/table")
[ "$verdicts" -eq "$targets" ] || fail "$verdicts of $targets targets have a figure: $(cat "$work/table")"
jq -e '(.samples | length > 0) and all(.samples[]; (.scenario | length > 0) and (.values | length > 0) and all(.values[]; type == "number"))' "$work/samples.json" >/dev/null ||
  fail 'a sample has no values'
keys=$(redis-cli -p "$port" dbsize)
[ "$keys" -eq 0 ] || fail "$keys keys are left"
printf '%s samples of %s scenarios, %s targets with a figure\n' "$(jq '.samples | length' "$work/samples.json")" \
  "$(jq '[.samples[].scenario] | unique | length' "$work/samples.json")" "$targets"
