#!/bin/sh
# Terminal 1: submits a question and waits for the answer.
# Usage: orchestrator.sh [DIR]    the queue; the same DIR as worker.sh
set -eu

self=$(readlink -f -- "$0")
lanes=${LANES_BIN:-${self%/*/*/*}/target/release/lanes}
command -v "$lanes" >/dev/null || {
    printf '%s: cannot find %s: run cargo build --release or set LANES_BIN\n' "$0" "$lanes" >&2
    exit 127
}

unset LANES_CONFIG
export LANES_STORE="${1:-${TMPDIR:-/tmp}/lanes-two-terminal-$(id -u)}"
umask 077
mkdir -p -- "$LANES_STORE"

id=$("$lanes" submit --lane questions --prompt 'How many words are in this sentence?')
printf 'handed over %s, now waiting\n' "$id"
"$lanes" wait "$id" --timeout 600
