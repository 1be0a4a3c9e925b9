#!/bin/sh
# Terminal 2: answers each question with the number of its words, until Ctrl-C.
# Usage: worker.sh [DIR]    the queue; the same DIR as orchestrator.sh
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

# Prints the value of $1 in the output of the last claim.
field() {
    printf '%s\n' "$claim" | sed -n "s/^$1=//p"
}

printf 'waiting for questions in %s\n' "$LANES_STORE"
while :; do
    # Exit 4 means that no question arrived in six hours: try again.
    claim=$("$lanes" claim --lane questions --wait --owner "worker-$$" --lease-seconds 60) || {
        [ "$?" -eq 4 ] || exit 1
        continue
    }
    id=$(field task_id)
    token=$(field claim_token)
    request=$(field request_path)

    printf 'claimed %s\n' "$id"
    words=$(wc -w <"$request")
    printf '%d words\n' "$words" |
        "$lanes" respond "$id" --claim-token "$token" --file -
done
