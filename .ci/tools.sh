#!/usr/bin/env bash
# Installs golangci-lint and govulncheck where `go install` puts them, unless these versions, built by this Go, are there.
# A second call waits for the first: building golangci-lint takes minutes, so that run starts it early, in the background.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mkdir -p "$cache"
exec 9>"$cache/tools.lock"
flock 9

# install_tool PACKAGE VERSION
install_tool() {
  local package=$1 version=$2 file=$gobin/${1##*/} built
  built=$(go version -m "$file" 2>/dev/null || true)
  [[ $built == *": $(go env GOVERSION)"$'\n'* && $built == *$'\tpath\t'"$package"$'\n'* && $built == *$'\tmod\t'*$'\t'"$version"$'\t'* ]] && return 0
  say "building ${package##*/} $version"
  retry nice -n 19 go install "$package@$version"
}

install_tool golang.org/x/vuln/cmd/govulncheck v1.8.0
install_tool github.com/golangci/golangci-lint/v2/cmd/golangci-lint v2.15.0
