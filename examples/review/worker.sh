#!/bin/sh
# A worker in shell: claims the tasks of the review lane and answers them until it is stopped.
# The queue is found as by every lanes command: LANES_CONFIG, LANES_STORE, or a workspace here.
#
# measure.awk takes the place of an agent. It needs milliseconds; a worker that takes longer calls
# `lanes renew` at a third of the lease and stops, without an answer, when that is refused.
set -eu

self=$(readlink -f -- "$0")
measure=${self%/*}/measure.awk
lanes=${LANES_BIN:-lanes}

# Prints the value of $1 in the output of the last claim.
field() {
    printf '%s\n' "$claim" | sed -n "s/^$1=//p"
}

while :; do
    # Blocks until a task is ours. Exit 4 means that none arrived in time: try again.
    claim=$("$lanes" claim --lane review --wait --owner "review-$$" --lease-seconds 60) || {
        [ "$?" -eq 4 ] || exit 1
        continue
    }
    id=$(field task_id)
    token=$(field claim_token)
    request=$(field request_path)

    answer=$(LC_ALL=C awk -f "$measure" "$request") || {
        "$lanes" release "$id" --claim-token "$token" --reason "cannot read $request" --delay 60 || :
        continue
    }

    blocking=$(printf '%s\n' "$answer" | grep -c '^blocking:') || :
    verdict=accept
    [ "$blocking" -eq 0 ] || verdict=needs-revision

    # Refused if the task was cancelled or taken over meanwhile; it is then no longer ours. If this
    # fails for another reason, the lease runs out and the task is offered again.
    printf '%s\nverdict: %s\n' "$answer" "$verdict" |
        "$lanes" respond "$id" --claim-token "$token" --file - --reviewer measure.awk \
            --verdict "$verdict" --blocking-count "$blocking" --nonblocking-count 0 >/dev/null || :
done
