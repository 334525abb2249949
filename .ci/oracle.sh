#!/usr/bin/env bash
# Runs the asyncio scenarios of integration/oracle, on the embedded Redis and on a real one with worker processes.
# Scenarios named in integration/oracle/later.txt need what is not built yet.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

testdata=integration/oracle/testdata
later=integration/oracle/later.txt

if [ -d "$shared/oracle/scenarios" ]; then
  diff -r "$shared/oracle/scenarios" "$testdata" || fail "$testdata differs from the reference scenarios"
fi

scenarios=()
waiting=0
for file in "$testdata"/*.json; do
  if [ -f "$later" ] && grep -qxF "$(basename "$file" .json)" "$later"; then
    waiting=$((waiting + 1))
  else
    scenarios+=("$file")
  fi
done
[ -e "${scenarios[0]:-}" ] || fail "no scenarios in $testdata"

work=$(mktemp -d)
server=
end() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  wait
  rm -rf "$work"
}
trap end EXIT

# run NAME ARGS... runs all scenarios and wants one line for each.
run() {
  local name=$1 lines
  shift
  timeout 600 "$work/oracle" "$@" "${scenarios[@]}" >"$work/lines" || fail "the oracle on $name: see above"
  lines=$(wc -l <"$work/lines")
  [ "$lines" -eq "${#scenarios[@]}" ] || fail "the oracle on $name printed $lines lines for ${#scenarios[@]} scenarios"
  printf 'oracle on %s: %s scenarios as asyncio does them, %s left for later\n' "$name" "$lines" "$waiting"
}

go build -o "$work/oracle" ./integration/oracle
run embedded -redis embedded

command -v redis-server >/dev/null || apt_install redis-server
port=$(free_port)
redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no --dir "$work" --logfile "$work/redis.log" &
server=$!
wait_for 10 redis-cli -p "$port" ping || fail "no redis-server: $(cat "$work/redis.log")"
run "$(redis-server --version | cut -d ' ' -f 1-3)" -redis "redis://127.0.0.1:$port/0" -workers 3
