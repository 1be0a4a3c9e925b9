#!/bin/sh
# Speaks the format of the vendor whose command line it is started with. The first line of its prompt says what it
# answers; "nothing" ends well without a result, "boom" is the vendor's own error.
words="$*"
id=chosen-by-the-agent
file=
vendor=gemini
while [ $# -gt 0 ]; do
    case $1 in
    exec) vendor=codex ;;
    run) vendor=opencode ;;
    --session-id | -r | -s) [ "$vendor" = codex ] || id=$2 ;;
    -o) [ "$vendor" = codex ] && file=$2 ;;
    --version) echo "polyglot 1.2"; exit ;;
    esac
    shift
done
[ "$vendor" = codex ] && case $words in *" resume "*) id=$(printf '%s\n' "$words" | sed 's/.* \([^ ]*\) -$/\1/') ;; esac
answer=$(cat | sed -n 's/^SAY //p' | head -n 1)
printf '%s\n' "$words" > argv
case $vendor in
codex)
    echo "{\"type\":\"thread.started\",\"thread_id\":\"$id\"}"
    echo '{"type":"turn.started"}'
    echo '{"type":"item.completed","item":{"id":"item_0","type":"error","message":"a warning"}}'
    case $answer in
    hang) echo '{"type":"item.completed","item":{"id":"item_1","type":"agent_message","text":"begun"}}'; sleep 1000 ;;
    nothing) exit 0 ;;
    boom) echo '{"type":"turn.failed","error":{"message":"boom"}}'; exit 1 ;;
    long) [ -n "$file" ] && printf 'from the file' > "$file" ;;
    *) echo "{\"type\":\"item.completed\",\"item\":{\"id\":\"item_1\",\"type\":\"agent_message\",\"text\":\"$answer\"}}" ;;
    esac
    echo '{"type":"turn.completed","usage":{"input_tokens":20,"cached_input_tokens":5,"cache_write_input_tokens":0,"output_tokens":3,"reasoning_output_tokens":0}}'
    ;;
gemini)
    echo "{\"type\":\"init\",\"session_id\":\"$id\",\"model\":\"g-1\"}"
    case $answer in
    nothing) exit 0 ;;
    boom) echo "{\"session_id\":\"$id\",\"error\":{\"type\":\"Error\",\"message\":\"boom\",\"code\":400}}" >&2; exit 144 ;;
    esac
    echo "{\"type\":\"message\",\"role\":\"assistant\",\"content\":\"$answer\",\"delta\":true}"
    echo '{"type":"result","status":"success","stats":{"total_tokens":30,"input_tokens":20,"output_tokens":10,"duration_ms":5,"tool_calls":0}}'
    ;;
opencode)
    echo "{\"type\":\"step_start\",\"timestamp\":1,\"sessionID\":\"$id\",\"part\":{}}"
    case $answer in
    nothing) exit 0 ;;
    boom) echo "{\"type\":\"error\",\"timestamp\":2,\"sessionID\":\"$id\",\"error\":{\"name\":\"APIError\",\"data\":{\"message\":\"boom\",\"statusCode\":500,\"isRetryable\":true}}}"; exit 1 ;;
    esac
    echo "{\"type\":\"text\",\"timestamp\":2,\"sessionID\":\"$id\",\"part\":{\"text\":\"$answer\"}}"
    echo "{\"type\":\"step_finish\",\"timestamp\":3,\"sessionID\":\"$id\",\"part\":{\"reason\":\"stop\",\"cost\":0.5,\"tokens\":{\"total\":23,\"input\":20,\"output\":3,\"reasoning\":0,\"cache\":{\"read\":0,\"write\":0}}}}"
    ;;
esac
