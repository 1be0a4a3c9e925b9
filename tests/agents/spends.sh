#!/bin/sh
# Speaks opencode's format: each step costs a quarter of a dollar, and it ends only when it is ended, or after the number of
# steps that the first line of its prompt says ("STEPS 3").
steps=$(cat | sed -n 's/^STEPS //p' | head -n 1)
step() {
    echo '{"type":"step_start","timestamp":1,"sessionID":"ses_1","part":{}}'
    echo "{\"type\":\"text\",\"timestamp\":1,\"sessionID\":\"ses_1\",\"part\":{\"text\":\"step $1\"}}"
    echo "{\"type\":\"step_finish\",\"timestamp\":1,\"sessionID\":\"ses_1\",\"part\":{\"reason\":\"$2\",$COST\"tokens\":{\"input\":100,\"output\":10}}}"
}
n=1
while [ "$n" -lt "${steps:-1000000}" ]; do
    step "$n" tool-calls
    echo "$n" > steps
    sleep 0.05
    n=$((n + 1))
done
step "$n" stop
