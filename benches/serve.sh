#!/bin/sh
# Requests per second of `lanes serve`, measured with wrk, and beside it agent-lanes when it is on PATH.
# Usage: benches/serve.sh [SECONDS]; needs wrk and curl. Builds the release binary.
set -eu

seconds=${1:-5}
cd "$(dirname "$0")/.."
command -v wrk >/dev/null || { echo "wrk is not installed" >&2; exit 1; }
cargo build --release --quiet
lanes=${CARGO_TARGET_DIR:-$PWD/target}/release/lanes
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$work"' EXIT

# measure NAME PORT COMMAND...: starts the server in a workspace of its own and loads it.
measure() {
    name=$1 port=$2
    shift 2
    root=$work/$name
    mkdir "$root"
    echo 'please look' >"$root/request.md"
    printf '{"workspace_id": "w", "correlation_id": "c", "lane": "l", "workspace_root": "%s", "request_path": "%s", "response_path": "%s"}' \
        "$root" "$root/request.md" "$root/response.md" >"$root/body.json"
    printf 'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\nwrk.body = io.open("%s"):read("*a")\n' \
        "$root/body.json" >"$root/post.lua"
    (cd "$root" && "$1" init . >/dev/null && exec "$@" serve --port "$port" >/dev/null 2>&1) &
    server=$!
    url=http://127.0.0.1:$port/tasks
    until answer=$(curl -sf -H 'Content-Type: application/json' -d "@$root/body.json" "$url"); do sleep 0.2; done
    id=$(printf '%s' "$answer" | tr -d '\n' | sed 's/.*"id": *"\([^"]*Z-[^"]*\)".*/\1/')
    for connections in 8 32 200; do
        echo "$name GET, $connections connections"
        wrk -t2 -c"$connections" -d"$seconds" --latency "$url/$id" | grep -E 'Requests/sec|  50%|  99%|errors|Non-2xx' || true
    done
    for connections in 8 32; do
        echo "$name POST, $connections connections"
        wrk -t2 -c"$connections" -d"$seconds" --latency -s "$root/post.lua" "$url" |
            grep -E 'Requests/sec|  50%|  99%|errors|Non-2xx' || true
    done
    kill "$server"
    wait "$server" 2>/dev/null || true
    server=
}

measure lanes 18765 "$lanes"
if command -v agent-lanes >/dev/null; then
    measure agent-lanes 18766 agent-lanes
fi
