#!/usr/bin/env bash
# Makes sure that `docker compose` works: where it does not, the plugin of Debian's docker-compose package is installed for this user.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if ! docker compose version >/dev/null 2>&1; then
  tree=$(trixie_tree)
  plugin=$(find "$tree/usr" -type f -name docker-compose -path '*cli-plugins*' -print -quit)
  [ -n "$plugin" ] || fail 'Debian'\''s docker-compose package holds no plugin'
  install -D "$plugin" "${DOCKER_CONFIG:-$HOME/.docker}/cli-plugins/docker-compose"
fi
docker compose version
