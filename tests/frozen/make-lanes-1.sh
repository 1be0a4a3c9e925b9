#!/bin/sh
# Writes lanes-1/ next to this script, by the lanes whose path is given.
set -eu
program=$(realpath "$1")
here=$(realpath "$(dirname "$0")")/lanes-1
project=$(mktemp -d)
trap 'rm -rf "$project"' EXIT
cd "$project"
mkdir requests
printf 'workspace_id: frozen\nworkspace_root: .\nqueue_root: state\n' >handoff.yaml
printf 'Please look at the file.\n' >requests/file.md
echo 0 >clock

run() { # each command one second later, with random numbers of its own
  second=$(($(cat clock) + 1))
  echo $second >clock
  env -i LANES_TEST_SEED=$second "$(printf 'LANES_TEST_NOW=2026-11-21T07:%02d:%02dZ' $((second / 60)) $((second % 60)))" \
    "$program" --config handoff.yaml --quiet "$@"
}
claim() { # ID [OPTION…]
  run claim "$@" | sed -n 's/^claim_token=//p'
}

run submit --lane review --prompt 'Look at this: ä, 😀' --priority 2 --key k1 --name 'A title' --label urgent \
  --label blue --metadata required_vendor=claude --timeout 90s >id.queued
run submit --lane review --request-from requests/file.md --response-to responses/file.md >id.file
run submit --lane review --prompt later --not-before 2026-11-21T09:00:00Z >id.scheduled
run submit --lane review --prompt held >id.claimed
claim "$(cat id.claimed)" --owner anna --lease-seconds 3600 >token
run event "$(cat id.claimed)" --type progress --message 'half way' --data step=2 >/dev/null
run renew "$(cat id.claimed)" --claim-token "$(cat token)" >/dev/null
run submit --lane other --prompt answered >id.completed
claim "$(cat id.completed)" --owner anna >token
run respond "$(cat id.completed)" --claim-token "$(cat token)" --reviewer anna --body 'All fine.' --verdict accept \
  --nonblocking-count 1 --metadata model=opus >/dev/null
run submit --lane other --prompt 'answered at length' >id.large
claim "$(cat id.large)" --owner anna >token
head -c 20000 /dev/zero | tr '\0' 'x' | run respond "$(cat id.large)" --claim-token "$(cat token)" --reviewer anna >/dev/null
run submit --lane other --prompt refused --key k2 >id.failed
claim "$(cat id.failed)" --owner bert >token
run respond "$(cat id.failed)" --claim-token "$(cat token)" --status failed --body 'it does not build' >/dev/null
run retry "$(cat id.failed)" >/dev/null
run submit --lane other --prompt cancelled >id.cancelled
run cancel "$(cat id.cancelled)" --by eve --reason 'no longer needed' >/dev/null
run submit --lane other --prompt tried --max-attempts 1 >id.dead
claim "$(cat id.dead)" --owner bert >token
run release "$(cat id.dead)" --claim-token "$(cat token)" --reason 'out of memory' --spent >/dev/null
run submit --lane other --prompt moved >id.moved
run move "$(cat id.moved)" --to third >/dev/null
run submit --lane third --prompt 'with a long history' >id.events
for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  run event "$(cat id.events)" --message "note $n" >/dev/null
done
claim "$(cat id.events)" --owner anna --lease-seconds 60 >token
run release "$(cat id.events)" --claim-token "$(cat token)" --reason 'tired' >/dev/null
run pause third --reason 'maintenance' >/dev/null

find state -name '*.json' -exec sed -i "s|$project|/srv/project|g" {} +
sed -i 's/ [0-9a-f]\{8\}-[0-9a-f-]\{27\} / 00000000-0000-0000-0000-000000000000 /' state/indexes/state
rm -rf "$here"
mkdir "$here"
cp -R requests state "$here"
