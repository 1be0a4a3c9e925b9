#!/bin/sh
# Starts a process that has lost everything by which it could be known (parent, session, group and
# environment), ignores TERM, and writes its number to the file named.
# shellcheck disable=SC2016 # the inner shells expand these
setsid env -i sh -c 'sh -c "trap \"\" TERM; echo \$\$ > \"\$0\"; while :; do sleep 1; done" "$0" &' "$1"
while [ ! -s "$1" ]; do sleep 0.01; done
