#!/bin/sh
# Has to be killed, and its child too.
trap '' TERM
echo ready
sleep 1000
sleep 1000
