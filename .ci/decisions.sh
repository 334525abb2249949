#!/usr/bin/env bash
# Says which of the numbered decisions, where their list stands beside the checkout, no test bears the number of.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ -f "$shared/decisions.md" ] || exit 0
wanted=$(grep -oE '^\*\*[0-9]+\.' "$shared/decisions.md" | tr -dc '0-9\n' | xargs -r printf '%02d\n' | sort -u)
tested=$(git grep --untracked -hoE 'TestDecision[0-9]{2}' -- '*_test.go' | grep -oE '[0-9]+$' | sort -u || true)
printf 'decisions with a test that bears their number: %s of %s; without: %s\n' \
  "$(comm -12 <(echo "$wanted") <(echo "$tested") | grep -c . || true)" "$(grep -c . <<<"$wanted")" \
  "$(comm -23 <(echo "$wanted") <(echo "$tested") | paste -sd ' ')"
