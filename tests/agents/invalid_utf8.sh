#!/bin/sh
# Prints bytes that are no text, around and inside its result.
printf '\377\376\n'
printf '{"type":"result","is_error":false,"result":"caf\351"}\n'
printf '\200'
