#!/usr/bin/env bash
# Installs the Debian packages that the checks need.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

apt_install debootstrap gcc git jq libc6-dev redis-sentinel redis-server shellcheck
command -v docker >/dev/null || fail 'Docker is required'
docker version --format 'Docker {{.Server.Version}}' || fail 'the Docker engine does not answer'
go version
redis-server --version
