#!/usr/bin/env bash
# Compares `lanes serve` with agent-lanes, measured alternately in the same run: requests per second, latencies and
# errors with wrk, and the cost of a thousand waiting clients. Compare the ratios; the absolute numbers depend on
# the machine and the moment.
# Usage: benches/serve.sh [SECONDS]; needs wrk, curl and python3, and agent-lanes on PATH for the ratios.
# Builds the release binary unless LANES names one.
set -euo pipefail

seconds=${1:-5}
cd "$(dirname "$0")/.."
command -v wrk >/dev/null || { echo "wrk is not installed" >&2; exit 1; }
if [ -z "${LANES:-}" ]; then
  cargo build --release --quiet
  LANES=${CARGO_TARGET_DIR:-$PWD/target}/release/lanes
fi
here=$PWD/benches
work=$(mktemp -d)
pids=()
end() {
  for pid in "${pids[@]}"; do
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  rm -rf "$work"
}
trap end EXIT

cat >"$work/report.lua" <<'LUA'
if os.getenv("BODY") then
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  wrk.body = io.open(os.getenv("BODY")):read("*a")
end
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format("RESULT %.0f %.1f %.1f %d\n", summary.requests / summary.duration * 1e6,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    e.connect + e.read + e.write + e.status + e.timeout))
end
LUA

# start NAME PORT COMMAND [FLAG…]: starts a server in a new workspace with one task.
start() {
  local root=$work/$1 port=$2 command=$3 answer
  shift 3
  mkdir "$root"
  echo 'please look' >"$root/request.md"
  printf '{"workspace_id": "w", "correlation_id": "c", "lane": "l", "workspace_root": "%s", "request_path": "%s", "response_path": "%s"}' \
    "$root" "$root/request.md" "$root/response.md" >"$root/body.json"
  (cd "$root" && "$command" init . >/dev/null 2>&1 && exec "$command" serve --port "$port" "$@" >/dev/null 2>"$root/errors") &
  pids+=($!)
  until answer=$(curl -sf -H 'Content-Type: application/json' -d "@$root/body.json" "http://127.0.0.1:$port/tasks"); do
    sleep 0.2
  done
  printf '%s' "$answer" | python3 -c 'import json, sys; print(json.load(sys.stdin)["task"]["id"])' >"$root/id"
}

# load NAME PORT METHOD CONNECTIONS: prints requests per second, p50 and p99 in milliseconds, errors.
load() {
  local root=$work/$1 url=http://127.0.0.1:$2/tasks
  if [ "$3" = POST ]; then
    BODY=$root/body.json wrk -t2 -c"$4" -d"$seconds" --latency -s "$work/report.lua" "$url"
  else
    wrk -t2 -c"$4" -d"$seconds" --latency -s "$work/report.lua" "$url/$(cat "$root/id")"
  fi | sed -n 's/^RESULT //p'
}

# agent-lanes asks for no token.
start lanes 18765 "$LANES" --no-token
reference=
if command -v agent-lanes >/dev/null; then
  reference=yes
  start agent-lanes 18766 agent-lanes
fi

printf '%-22s %28s  %28s  %s\n' '' 'lanes: req/s p50 p99 errors' 'agent-lanes' ratio
for measure in 'GET 8' 'GET 32' 'GET 200' 'POST 8' 'POST 32'; do
  read -r method connections <<<"$measure"
  ours=$(load lanes 18765 "$method" "$connections")
  theirs='- - - -'
  if [ -n "$reference" ]; then
    theirs=$(load agent-lanes 18766 "$method" "$connections")
  fi
  # shellcheck disable=SC2086 # four words each
  printf '%-22s %10s %5s %6s %4s  %10s %5s %6s %4s  %s\n' "$method, $connections clients" $ours $theirs \
    "$(awk -v a="${ours%% *}" -v b="${theirs%% *}" 'BEGIN { if (b > 0) printf "%.1f", a / b; else print "-" }')"
done

echo
python3 "$here/long_polls.py" 127.0.0.1 18765 "${pids[0]}" 1000
