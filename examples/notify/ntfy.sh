#!/bin/sh
# Sends a notice to a phone by ntfy (https://ntfy.sh or a server of your own). NTFY_URL is the address of the topic, which
# is a secret: it is passed on standard input, because every user can see the arguments of a command.
set -eu
printf 'url = "%s"\n' "${NTFY_URL:?set it to the address of the topic}" |
  curl --config - --fail --silent --show-error --max-time 20 \
    --header "Title: lanes: $LANES_NOTICE" --data-raw "$LANES_MESSAGE"
