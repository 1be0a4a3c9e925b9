#!/bin/sh
# Leaves a child in a session of its own that holds its pipes, and ends at once without a word.
setsid sh -c 'trap "" TERM HUP; sleep 1000' &
