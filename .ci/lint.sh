#!/usr/bin/env bash
# Runs golangci-lint over the Go code and shellcheck over the scripts.
# Usage: lint.sh [--fix]: with --fix what can be repaired is repaired.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

bash "$ci/tools.sh"
golangci-lint config verify
golangci-lint run "$@" ./...
command -v shellcheck >/dev/null || apt_install shellcheck
shellcheck -x -P SCRIPTDIR .ci/run .ci/*.sh
