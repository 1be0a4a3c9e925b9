#!/bin/sh
# A fan-out with a join: one task for each part, and one that gets all of their answers.
set -eu
group=parts-$(date +%s)-$$
for part in lexer parser printer; do
  lanes submit --lane "$1" --group "$group" --prompt "Review the $part." > /dev/null
done
lanes submit --lane "$1" --after-group "$group" --prompt 'Sum up the reviews.'
