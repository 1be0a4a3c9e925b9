#!/usr/bin/env bash
# Asks `lanes serve` what its OpenAPI document allows, and much that it does not: no answer may be a
# 5xx or one that the document does not describe.
# Usage: tests/it/http/fuzz.sh LANES SCHEMATHESIS [SECONDS]
set -euo pipefail

lanes=$(realpath "$1")
schemathesis=$(realpath "$2")
seconds=${3:-60}
hooks=$(dirname "$(realpath "$0")")/fuzz.py
work=$(mktemp -d)
server=
end() {
  if [ -n "$server" ]; then
    kill "$server" 2>/dev/null || true
    wait "$server" || true
  fi
  rm -rf "$work"
}
trap end EXIT

# Streams do not end, so that nobody waits for them here; tests/it/http/live.rs follows them.
cd "$work"
"$lanes" --store state --quiet submit --lane l --prompt p >/dev/null
"$lanes" --store state serve --port 0 --enable-queue-management >address 2>errors &
server=$!
while ! [ -s address ]; do
  kill -0 "$server" || { cat errors >&2; exit 1; }
  sleep 0.1
done
url=$(sed -n '1s/.*http/http/p' address)
token=$(cat state/serve.token)

# A request may be refused for its length before anybody looks into it, also for a token.
cat >schemathesis.toml <<'TOML'
[checks.negative_data_rejection]
expected-statuses = [400, 403, 404, 405, 409, 413, 414, 415, 431]
[checks.missing_required_header]
expected-statuses = [401, 413, 414, 431]
TOML
SCHEMATHESIS_HOOKS=$hooks "$schemathesis" run "$url/openapi.json" --header "Authorization: Bearer $token" \
  --seed 20260101 --max-examples 40 --max-time "$seconds" --phases examples,coverage,fuzzing \
  --checks all --exclude-checks positive_data_acceptance \
  --exclude-operation-id followAll --request-timeout 10 \
  --suppress-health-check all --generation-database none --no-color

kill -0 "$server" || { echo "the server is gone" >&2; exit 1; }
if [ -s errors ]; then
  echo "the server complained:" >&2
  cat errors >&2
  exit 1
fi
