#!/bin/sh
# Dies in the middle of its result.
echo '{"type":"system","subtype":"init","session_id":"s-1"}'
printf '{"type":"result","subtype":"success","is_error":false,"resu'
