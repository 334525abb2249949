#!/usr/bin/env bash
# The compose file from end to end, as a user meets it: built, three workers, producers outside that reach them through the
# published port, and one worker stopped in the middle of a gather.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

bash "$ci/images.sh" redis:8.0 golang:1.26-trixie
bash "$ci/compose.sh"
command -v jq >/dev/null || apt_install jq

work=$(mktemp -d)
project=gatherq-e2e-$$
GATHERQ_REDIS_PORT=$(free_port)
export GATHERQ_REDIS_PORT GATHERQ_ALLOW_SIM=true GATHERQ_CONCURRENCY=8
export GATHERQ_REDIS_URL=redis://127.0.0.1:$GATHERQ_REDIS_PORT/0

compose() { docker compose --project-name "$project" --file deploy/docker-compose.yml "$@"; }
end() {
  local status=$?
  if [ "$status" -ne 0 ]; then compose ps --all >&2; compose logs --tail 40 >&2; fi
  compose down --volumes --remove-orphans --rmi local --timeout 5 >/dev/null 2>&1 || true
  docker image prune --force --filter label=io.github.gatherq.stage=build >/dev/null
  rm -rf "$work"
}
trap end EXIT

go build -o "$work/producer" ./cmd/producer
compose build --quiet
compose up --detach --wait --wait-timeout 120 --scale worker=3
workers=$(compose ps --quiet worker | grep -c .)
[ "$workers" -eq 3 ] || fail "$workers workers are up, not 3"
redis() { compose exec -T redis redis-cli "$@"; }
[ "$(redis config get maxmemory-policy | tail -n 1)/$(redis config get appendonly | tail -n 1)" = noeviction/yes ] || fail 'redis.conf is not in force'

say 'a gather of 3,000 echoes: the results are the arguments, byte for byte and in order'
for ((i = 0; i < 3000; i++)); do printf '{"line":%d,"big":9007199254740993,"list":[],"float":1.0,"text":"%0*d"}\n' "$i" $((i % 200 + 1)) "$i"; done >"$work/echo.in"
timeout 120 "$work/producer" gather echo - --await <"$work/echo.in" >"$work/echo.out" || fail "gather echo: exit $?"
cmp "$work/echo.in" "$work/echo.out" || fail 'the echoed lines differ'

say 'a gather of 400 members, with one worker stopped on the way'
for ((i = 0; i < 400; i++)); do printf '{"steps":[{"incr":"n"},{"sleep_ms":300},{"return":%d}]}\n' "$i"; done >"$work/sim.in"
timeout 180 "$work/producer" gather sim - --await --json <"$work/sim.in" >"$work/sim.out" &
gather=$!
on_the_way() { [ "$(redis get sim:n)" -ge 100 ]; }
wait_for 60 on_the_way || fail "only $(redis get sim:n) members have started"
victim=$(compose ps --quiet worker | awk 'NR == 1')
started=$(redis get sim:n)
[ "$started" -lt 400 ] || fail 'all members had started before the worker was stopped'
begin=$SECONDS
docker stop --time 30 "$victim" >/dev/null
code=$(docker inspect --format '{{.State.ExitCode}}' "$victim")
say "stopped one worker after $started starts: it drained for $((SECONDS - begin)) s and ended with $code"
[ "$code" -eq 0 ] || fail "the stopped worker ended with $code"
wait "$gather" || fail "gather sim: exit $?"

runs=$(redis get sim:n)
[ "$runs" -eq 400 ] || fail "400 members ran $runs times"
jq -r .value "$work/sim.out" | cmp - <(seq 0 399) || fail 'the values are not 0 to 399 in order'
[ "$(jq -s 'map(select(.attempt != 1 or .state != "succeeded")) | length' "$work/sim.out")" -eq 0 ] || fail 'not every member succeeded at its first attempt'
on=$(jq -r .worker "$work/sim.out" | sort | uniq -c | sort -rn | awk '{printf "%s%s", sep, $1; sep = "+"}')
say "400 members ran once each, on the workers $on"
[ "$(jq -r .worker "$work/sim.out" | sort -u | grep -c .)" -ge 2 ] || fail 'one worker alone ran all members'

compose down --volumes --timeout 30 >/dev/null 2>&1
left=$(docker ps --all --quiet --filter "label=com.docker.compose.project=$project"; docker volume ls --quiet --filter "label=com.docker.compose.project=$project")
[ -z "$left" ] || fail "left behind: $left"
printf 'compose end to end: 3 workers, 3,400 members, one worker stopped on the way, nothing lost or run twice\n'
