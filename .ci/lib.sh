#!/usr/bin/env bash
# Shared by the scripts of this directory; sourced, never run.

# cache is where what takes long to make is kept between runs, outside the checkout.
# shellcheck disable=SC2034  # read by the scripts that source this file
cache=${GATHERQ_CI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gatherq-ci}

# ci is this directory, root the checkout; every script works from there.
ci=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$ci")
cd "$root" || exit

# shared may hold reference material of a larger check, beside the checkout.
# shellcheck disable=SC2034
shared=${GATHERQ_SHARED:-$root/../shared}

# Where `go install` puts the tools.
gobin=$(go env GOBIN)
gobin=${gobin:-$(go env GOPATH)/bin}
export PATH=$gobin:$PATH

# trixie_tree prints the path of a Debian tree with Redis 8.0, Valkey 8.1 and compose 2.26, made at its first use.
trixie_tree() { bash "$ci/tree.sh" trixie redis-server,valkey-server,docker-compose,ca-certificates,git,busybox-static; }

# heading prints what is about to happen, and when.
heading() { printf '\n=== %s  %s\n' "$(date -u +%H:%M:%S)" "$*"; }

# say prints a line on stderr, where it does not mix with a command's output.
say() { printf '%s\n' "$*" >&2; }

# fail ends the script with a reason.
fail() {
  say "FAILED: $*"
  exit 1
}

# retry runs a command up to three times: package mirrors fail now and then.
retry() {
  local try
  for try in 1 2 3; do
    "$@" && return 0
    say "attempt $try of 3 failed: $*"
    sleep $((try * 5))
  done
  return 1
}

# apt_install installs those of the named Debian packages that are not there yet, without starting their services.
apt_install() {
  local package missing=()
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
  done
  [ "${#missing[@]}" -eq 0 ] && return 0
  [ "$(id -u)" = 0 ] || fail "install these Debian packages first: ${missing[*]}"
  retry apt-get -qq update || return 1
  # RUNLEVEL=1 makes invoke-rc.d leave the services of the packages alone.
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive retry apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
}

# free_port prints a loopback TCP port that nothing listens on.
free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  printf '%s\n' "$port"
}

# wait_for runs a command every fifth of a second until it succeeds, SECONDS at most.
wait_for() {
  local seconds=$1 end
  shift
  end=$((SECONDS + seconds))
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.2
  done
}
