#!/bin/sh
# Verifies the work: its output goes back to the agent when it fails.
[ -x hello.sh ] || { echo 'hello.sh is not executable'; exit 1; }
./hello.sh you
