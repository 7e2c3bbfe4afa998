#!/usr/bin/env bash
# Everything: set-up, build, the gate, the end-to-end tests. Ends with "N passed, N failed, N skipped".
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/node_modules/.bin:$PATH"

bash scripts/setup.sh test || exit 1
bash scripts/build.sh || exit 1

BERTH_COUNTS=$(mktemp)
BERTH_FAILURES=$(mktemp)
export BERTH_COUNTS BERTH_FAILURES
status=0
bun tools/ok.ts || status=1
bun tools/e2e.ts || status=1

cat "$BERTH_FAILURES"
awk '{ passed += $1; failed += $2; skipped += $3 }
     END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }' "$BERTH_COUNTS"
rm -f "$BERTH_COUNTS" "$BERTH_FAILURES"
exit "$status"
