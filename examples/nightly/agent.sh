#!/bin/sh
# Stands in for an agent: reads the prompt and answers, or fails while there is a file `broken`.
set -eu
prompt=$(cat)
if [ -e broken ]; then
  echo "the tests fail" >&2
  exit 1
fi
printf 'Nothing to update (%s characters of prompt).\n' "${#prompt}"
