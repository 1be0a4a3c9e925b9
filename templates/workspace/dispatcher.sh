#!/bin/sh
# Runs one agent for each task of this workspace until it is stopped.
# VENDOR names the agent (default claude); arguments go to `lanes dispatch`.
set -eu

lanes=${LANES_BIN:-lanes}
command -v "$lanes" >/dev/null || {
    printf '%s: cannot find %s: put lanes on PATH or set LANES_BIN\n' "$0" "$lanes" >&2
    exit 127
}

self=$(readlink -f -- "$0")
exec "$lanes" --config "${self%/*}/handoff.yaml" dispatch --vendor "${VENDOR:-claude}" "$@"
