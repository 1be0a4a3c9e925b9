#!/bin/sh
# Posts a notice to a chat by an incoming webhook, as Slack, Mattermost, Rocket.Chat and Zulip have them. LANES_WEBHOOK is
# its address, which is a secret: it is passed on standard input, because every user can see the arguments of a command.
set -eu
# A message is one line without control characters, so these two characters are all that JSON needs to have escaped.
text=$(printf '%s' "$LANES_MESSAGE" | sed 's/[\\"]/\\&/g')
printf 'url = "%s"\n' "${LANES_WEBHOOK:?set it to the address of the webhook}" |
  curl --config - --fail --silent --show-error --max-time 20 \
    --header 'Content-Type: application/json' --data-raw "{\"text\": \"lanes: $text\"}"
