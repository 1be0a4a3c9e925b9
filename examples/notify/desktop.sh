#!/bin/sh
# Shows a notice on the desktop.
exec notify-send --app-name=lanes -- "lanes: $LANES_NOTICE" "$LANES_MESSAGE"
