#!/usr/bin/env bash
# Runs the tests of bridges to Planka against a real server. They make projects of their own, and users, and delete them.
# Usage: tests/planka_real.sh [URL]     an address that begins with http://, or LANES_TEST_PLANKA_URL
# LANES_TEST_PLANKA_KEY has to be the API key of an administrator.
set -euo pipefail
cd "$(dirname "$0")/.."

url=${1:-${LANES_TEST_PLANKA_URL:-}}
skip() {
  echo "skipped: real Planka: $*"
  exit 0
}

[ -n "$url" ] || skip "no server is given (LANES_TEST_PLANKA_URL)"
[ -n "${LANES_TEST_PLANKA_KEY:-}" ] || skip "no API key is given (LANES_TEST_PLANKA_KEY)"
export LANES_TEST_PLANKA_URL=${url%/}
cargo test --locked --lib bridge::planka
cargo test --locked --test it bridge::planka
