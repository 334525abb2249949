#!/usr/bin/env bash
# Makes a small Debian tree once and prints its path: where no image registry can be reached, images and the
# compose plugin are taken from it.
# Usage: tree.sh SUITE PACKAGES, for example: tree.sh bookworm redis-server
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

suite=${1:?usage: tree.sh SUITE PACKAGES}
packages=${2:?usage: tree.sh SUITE PACKAGES}
tree=$cache/tree-$suite-$(printf '%s' "$packages" | sha256sum | cut -c1-8)

mkdir -p "$cache"
exec 9>"$cache/tree.lock"
flock 9

if [ ! -d "$tree" ]; then
  [ "$(id -u)" = 0 ] || fail 'a Debian tree can only be made by root'
  apt_install debootstrap
  # The mirror that this machine's apt uses, else debootstrap's own default.
  # shellcheck disable=SC2016  # the variables are apt's
  mirror=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 2>/dev/null | awk '$1 == "Debian" && $2 == "Debian" && !found++ {print $3}')
  say "making a Debian $suite tree with $packages"
  rm -rf "$tree.part"
  if ! retry debootstrap --variant=minbase --include="$packages" "$suite" "$tree.part" ${mirror:+"$mirror"} >"$cache/debootstrap.log" 2>&1; then
    tail -n 20 "$cache/debootstrap.log" >&2
    fail "no Debian $suite tree"
  fi
  rm -rf "$tree.part"/var/cache/apt/archives/*.deb "$tree.part"/var/lib/apt/lists/* "$tree.part"/usr/share/{doc,man,locale}/*
  mv "$tree.part" "$tree"
fi
printf '%s\n' "$tree"
