#!/usr/bin/env bash
# Looks for known vulnerabilities in what the code calls. Where the vulnerability database cannot be reached, a copy of it is
# used that stands beside the checkout.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

bash "$ci/tools.sh"
status=0
timeout 300 govulncheck ./... || status=$?
case $status in
  0) exit 0 ;;
  3) fail 'vulnerable code is called, see above' ;;
esac

[ -f "$shared/vulndb.tgz" ] || fail 'the vulnerability database cannot be reached, and no copy of it is here'
say 'the vulnerability database cannot be reached: using the copy beside the checkout'
database=$(mktemp -d)
trap 'rm -rf "$database"' EXIT
tar -xzf "$shared/vulndb.tgz" -C "$database"
index=$(find "$database" -path '*/index/db.json' -print -quit)
[ -n "$index" ] || fail 'the copy of the vulnerability database has no index'
govulncheck -db "file://$(dirname "$(dirname "$index")")" ./...
