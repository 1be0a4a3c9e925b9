#!/bin/sh
# A well-behaved agent that speaks claude's stream: repeats its prompt as the answer.
prompt=$(cat)
echo '{"type":"system","subtype":"init","session_id":"s-1","model":"m-1","claude_code_version":"2.1.329"}'
echo '{"type":"assistant","message":{"content":[{"type":"text","text":"working"}]},"session_id":"s-1"}'
echo "{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":false,\"result\":\"$prompt\",\"session_id\":\"s-1\",\"num_turns\":1,\"total_cost_usd\":0.25}"
