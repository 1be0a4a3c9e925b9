#!/usr/bin/env bash
# A review from submission to answer, twice: a file of this repository submitted as a file,
# and the same text submitted as a prompt. Needs no model, no key and no network, and removes
# everything at the end. LANES_BIN is the path of a lanes to use instead of building one.
set -euo pipefail

self=$(readlink -f -- "$0")
here=${self%/*}
root=${here%/*/*}

if [[ -z ${LANES_BIN:-} ]]; then
    printf 'building lanes, which takes one to two minutes the first time\n' >&2
    # At a terminal, cargo shows how far it is.
    quiet=--quiet
    [[ -t 2 ]] && quiet=
    cargo build --profile quick --locked ${quiet:+"$quiet"} --manifest-path "$root/Cargo.toml" --target-dir "$root/target"
    LANES_BIN=$root/target/quick/lanes
fi
export LANES_BIN

scratch=$(mktemp -d)
worker=
clean_up() {
    if [[ -n $worker ]]; then
        kill -- "-$worker" 2>/dev/null || :
        wait "$worker" 2>/dev/null || :
    fi
    rm -rf -- "$scratch"
}
trap clean_up EXIT

# A pool is a directory of projects that share one queue.
unset LANES_STORE
pool=$scratch/pool
project=$pool/project
mkdir -p -- "$project"
"$LANES_BIN" init-pool --quiet "$pool" >/dev/null
cp -- "$root/src/model/transition.rs" "$project/"
export LANES_CONFIG=$pool/.agent-lanes-queue/handoff.yaml

# Job control gives the worker a process group, so that clean_up ends its children with it.
set -m
"$here/worker.sh" </dev/null &
worker=$!
set +m

printf 'Handed over as a file:\n\n'
id=$("$LANES_BIN" submit --lane review --prompt 'Measure this file.' \
    --request-from "$project/transition.rs" --response-to "$project/review.txt")
"$LANES_BIN" wait "$id" --timeout 30 --exit-status >/dev/null
cat -- "$project/review.txt"

printf '\nHanded over as a prompt:\n\n'
"$LANES_BIN" call --lane review --timeout 30 --prompt-file - <"$project/transition.rs"

printf '\nThe queue afterwards:\n\n'
"$LANES_BIN" status
