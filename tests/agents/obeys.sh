#!/bin/sh
# Speaks claude's stream and does what the lines of its prompt say that begin with "DO: ".
session=none
while [ $# -gt 0 ]; do
    case $1 in
    --session-id | --resume) session=$2 ;;
    esac
    shift
done
say() {
    printf '{"type":"assistant","message":{"content":[{"type":"text","text":"%s"}]},"session_id":"%s"}\n' "$1" "$session"
}
result() {
    printf '{"type":"result","subtype":"success","is_error":false,"result":"%s","session_id":"%s","num_turns":2,"total_cost_usd":0.25,"usage":{"input_tokens":10,"output_tokens":2},"modelUsage":{"model-x":{"costUSD":0.25}},"permission_denials":[{"tool_name":"Bash","tool_input":{"command":"rm x"}}]}\n' "$1" "$session"
}
failure() {
    printf '{"type":"result","subtype":"success","is_error":true,"result":"%s","terminal_reason":"api_error","api_error_status":%s,"session_id":"%s"}\n' "$1" "${2:-null}" "$session"
    exit 1
}
# The account's limit: kind, seconds since 1970 at which it ends, words.
limit() {
    printf '{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":%s,"rateLimitType":"%s","overageStatus":"rejected"},"session_id":"%s"}\n' "$2" "$1" "$session"
    failure "$3" 429
}
prompt=$(cat)
printf '{"type":"system","subtype":"init","session_id":"%s","model":"model-x","claude_code_version":"2.1.329"}\n' "$session"
# A conversation that goes on is not told its task again.
# shellcheck source=/dev/null # a file of the test
case $prompt in "You were cut short"* | "What you asked"* | "Your answer to task"* | "While you worked on task"*) [ -e go-on ] && . ./go-on ;; esac
eval "$(printf '%s\n' "$prompt" | sed -n 's/^DO: //p')"
