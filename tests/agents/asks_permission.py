#!/usr/bin/env python3
"""Speaks claude's stream and, for each line of its prompt that begins with "CALL: ", asks the tool that its command line
names whether it may. The answers, one line each, are its result."""

import json
import subprocess
import sys

words = sys.argv[1:]
configs = [words[n + 1] for n, word in enumerate(words) if word == "--mcp-config"]
tool = words[words.index("--permission-prompt-tool") + 1]
_, name, tool = tool.split("__")
session = words[words.index("--session-id") + 1] if "--session-id" in words else words[words.index("--resume") + 1]
server = next(json.loads(text)["mcpServers"][name] for text in configs if name in text)
assert server["timeout"] >= 1000

program = subprocess.Popen(
    [server["command"], *server["args"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
)


def ask(number, method, params):
    message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    program.stdin.write(json.dumps(message) + "\n")
    program.stdin.flush()
    while True:
        line = program.stdout.readline()
        if not line:
            sys.exit("the server has ended")
        reply = json.loads(line)
        if reply.get("id") == number:
            return reply


def say(value):
    print(json.dumps({"session_id": session, **value}), flush=True)


say({"type": "system", "subtype": "init", "model": "model-x"})
client = {"name": "claude-code", "version": "2"}
hello = ask(0, "initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client})
assert "person" in hello["result"]["instructions"], hello
tools = [each["name"] for each in ask(1, "tools/list", {})["result"]["tools"]]
assert tools == [tool], tools
answers = []
for number, line in enumerate(line for line in sys.stdin if line.startswith("CALL: ")):
    call = {"tool_use_id": f"toolu_{number}", **json.loads(line.removeprefix("CALL: "))}
    reply = ask(number + 2, "tools/call", {"name": tool, "arguments": call})
    answers.append(reply["result"]["content"][0]["text"] if "result" in reply else json.dumps(reply))
program.stdin.close()
program.wait()
result = {"type": "result", "subtype": "success", "is_error": False, "result": "\n".join(answers)}
say({**result, "num_turns": 1, "total_cost_usd": 0.25, "usage": {"input_tokens": 10, "output_tokens": 2}})
