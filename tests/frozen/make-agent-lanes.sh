#!/bin/sh
# Writes agent-lanes-0.1.1/ next to this script, by the agent-lanes whose path is given.
set -eu
program=$(realpath "$1")
here=$(realpath "$(dirname "$0")")/agent-lanes-0.1.1
project=$(mktemp -d)
trap 'rm -rf "$project"' EXIT
cd "$project"
mkdir requests
printf 'workspace_id: frozen\nworkspace_root: .\nqueue_root: state\n' >handoff.yaml
printf 'Notes: \303\244\303\266\303\274\n' >requests/notes.md
cat >supported.yaml <<'END'
lane: review
request_from: requests/supported.md
response_to: responses/supported.md
supporting_paths: [requests/notes.md]
prompt: Look at both
metadata: {thread_id: t1, nested: {deep: [1, 2.5, null]}}
END

run() { "$program" --config handoff.yaml "$@"; }
submit() { # NAME LANE
  printf 'Please look at the %s one.\n' "$1" >"requests/$1.md"
  run submit --lane "$2" --request-from "requests/$1.md" --response-to "responses/$1.md" --task-id "$1 one" \
    --prompt "Look at $1" --metadata required_vendor=claude --metadata effort=high
}
claim() { # ID OWNER SECONDS
  run claim "$1" --owner "$2" --lease-seconds "$3" | sed -n 's/^claim_token=//p'
}

submit queued review >/dev/null
id=$(submit claimed review)
claim "$id" anna 7200 >/dev/null
run event "$id" --type progress --message 'half — way' --data step=2 >/dev/null
id=$(submit released review)
run release "$id" --claim-token "$(claim "$id" bert 60)" --reason 'out of time' >/dev/null
id=$(submit completed other)
token=$(claim "$id" anna 7200)
printf 'All fine.\n\342\234\223 done\n' | run respond "$id" --claim-token "$token" --reviewer anna \
  --verdict accept-with-follow-ups --blocking-count 0 --nonblocking-count 2 --follow-up-required \
  --metadata model=opus >/dev/null
id=$(submit failed other)
token=$(claim "$id" bert 7200)
run respond "$id" --claim-token "$token" --reviewer bert --status failed --body 'it does not build' >/dev/null
id=$(submit expired review)
claim "$id" gone 1 >/dev/null
id=$(submit renewed review)
run renew "$id" --claim-token "$(claim "$id" carl 60)" --lease-seconds 3600 >/dev/null
printf 'Please look at both.\n' >requests/supported.md
run submit --task supported.yaml >/dev/null

find state -name '*.json' -exec sed -i "s|$project|/srv/project|g" {} +
rm -rf "$here"
mkdir "$here"
cp -R requests state "$here"
