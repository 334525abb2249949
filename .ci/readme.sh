#!/usr/bin/env bash
# Runs a command as README.md gives it: the fenced block that follows the comment <!-- NAME -->.
# Usage: readme.sh test-command
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

name=${1:?usage: readme.sh NAME}
command=$(awk -v marker="<!-- $name -->" '
  index($0, marker) { marked = 1; next }
  marked && /^[ ]*```/ { if (inside) exit; inside = 1; next }
  inside { sub(/^ *\$ /, ""); print }
  marked && !inside && NF { exit }
' README.md)
[ -n "$command" ] || fail "README.md marks no command as $name"
printf '$ %s\n' "$command"
exec bash -euo pipefail -c "$command"
