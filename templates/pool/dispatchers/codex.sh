#!/bin/sh
# Runs one codex for each task of this pool until it is stopped.
# Arguments go to `lanes dispatch`.
set -eu

lanes=${LANES_BIN:-lanes}
command -v "$lanes" >/dev/null || {
    printf '%s: cannot find %s: put lanes on PATH or set LANES_BIN\n' "$0" "$lanes" >&2
    exit 127
}

self=$(readlink -f -- "$0")
exec "$lanes" --config "${self%/*/*}/.agent-lanes-queue/handoff.yaml" dispatch --vendor codex "$@"
