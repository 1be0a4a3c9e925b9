#!/usr/bin/env python3
"""A scripted model API on 127.0.0.1, for running agents' command-line programs offline.

    fake_llm.py --log FILE --portfile FILE [--max-requests N]

Serves until SIGTERM. Speaks enough of these APIs for the real programs:

    Anthropic Messages   POST /v1/messages (SSE or plain), /v1/messages/count_tokens
    OpenAI Responses     POST /v1/responses (SSE or plain)
    Gemini               POST /v1beta/models/M:generateContent | :streamGenerateContent
    GET /v1/models       a short list.  Anything else: 404, and logged.

The newest user prompt decides what happens. Markers, in any order:

    [[echo:TEXT]]        answer TEXT
    [[sleep:N]]          wait N seconds before answering (every request of the turn)
    [[cut]]              open the stream, send half of the text, drop the connection
    [[tool:bash:CMD]]    ask for CMD to be run by the client's shell tool
    [[tool:NAME:JSON]]   ask for tool NAME with this input; several run one after another
    [[fail:429:BODY]]    answer that HTTP status; BODY is a message, or a whole JSON body ("{...");
                         in it "+60s" becomes the time 60 seconds from now, since 1970
    [[fail:429x2:BODY]]  ... only the first 2 times that this marker is met, then go on
    [[fail:429x2-3:BODY]]  ... only the second and the third time
    [[head:K=V;K2=V2]]   response headers to add to a `fail`; a value +N likewise is a time
    [[usage:I,O,CR,CW]]  the tokens to bill for each request: input, output, read from and written to the cache
    no marker            "I read N characters." (N = length of the prompt)

A marker ends at the "]]" that belongs to it, so the input of a tool may hold markers: they are for
the sub-agent that gets them. After the tools have run the final text is the [[echo:..]] text, or
"Tool said: <first 200 characters of the last result>".

The log has one JSON line for each request: n, time, method, path, model, stream, effort, prompt (the
newest, last 200 characters), messages, tools (names), has_project_note (whether PROJECT-NOTE stands
anywhere in it), status, usage, auth (which header carried a credential; never its value) and,
when the client hangs up early, "hangup": true.
"""
import argparse
import json
import re
import signal
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MARK = re.compile(r"\[\[(echo|sleep|cut|tool|fail|head|usage)(?=:|\]\])")
EDGE = re.compile(r"\[\[(?=[a-z])|\]\]")
LOCK = threading.Lock()
MET = {}  # how often a marker with a limited number of times was met
COUNT = [0]
OPTIONS = None
STATUS_TYPE = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


def marks_of(prompt):
    """[(kind, argument)] of the markers in a prompt; markers within an argument stay in it."""
    found, at = [], 0
    while True:
        start = MARK.search(prompt, at)
        if not start:
            return found
        depth, end = 1, start.end()
        while depth:
            edge = EDGE.search(prompt, end)
            if not edge:
                return found
            depth += 1 if edge.group() == "[[" else -1
            end = edge.end()
        found.append((start.group(1), prompt[start.end() : end - 2].removeprefix(":")))
        at = end


def later(seconds):
    return str(int(time.time()) + int(seconds))


class Turn:
    """What the newest prompt asks for, and how far the tools have got."""

    def __init__(self, prompt, results):
        self.prompt = prompt
        marks = marks_of(prompt)

        def args(kind):
            return [arg for have, arg in marks if have == kind]

        self.sleep = float((args("sleep") or [0])[-1])
        self.cut = bool(args("cut"))
        self.failure = None
        for arg in args("fail"):
            status, _, body = arg.partition(":")
            status, _, times = status.partition("x")
            with LOCK:
                met = MET[arg] = MET.get(arg, 0) + 1
            first, _, last = times.rpartition("-")
            if not times or int(first or 1) <= met <= int(last):
                self.failure = (int(status), body)
        self.head = []
        for pair in (args("head") or [""])[-1].split(";"):
            key, equals, value = pair.partition("=")
            if equals:
                self.head.append((key.strip(), later(value[1:]) if value.startswith("+") else value))
        usage = args("usage")
        self.usage = [int(number) for number in usage[-1].split(",")] if usage else None
        tools = args("tool")
        self.tool = tools[len(results)].split(":", 1) if len(results) < len(tools) else None
        echo = args("echo")
        if echo:
            self.text = echo[-1]
        elif results:
            self.text = "Tool said: " + results[-1][:200]
        else:
            self.text = f"I read {len(prompt)} characters."

    def tool_call(self, offered):
        """(name, input) of the tool asked for, fitted to the tools the client offers."""
        name, arg = self.tool[0], (self.tool[1] if len(self.tool) > 1 else "{}")
        if name != "bash":
            return name, json.loads(arg or "{}")
        shells = (
            ("Bash", {"command": arg, "description": "scripted command"}),
            ("exec_command", {"cmd": arg}),
            ("shell_command", {"command": arg}),
            ("shell", {"command": ["bash", "-c", arg]}),
            ("run_shell_command", {"command": arg}),
            ("bash", {"command": arg, "description": "scripted command"}),
        )
        return next(((name, args) for name, args in shells if name in offered), shells[0])

    def pieces(self):
        half = max(1, -(-len(self.text) // 2))
        for start in range(0, len(self.text), half):
            yield self.text[start : start + half]
            if self.cut:
                return


def flat(content):
    """The text of a message: a string, or a list of blocks."""
    if isinstance(content, str):
        return content
    out = []
    for block in content or []:
        if isinstance(block, str):
            out.append(block)
        elif isinstance(block, dict):
            out.append(block.get("text") or flat(block.get("content")) or "")
    return "\n".join(out)


def newest(items, kind):
    """The newest prompt and the tool results since. kind(item): ("result", text), ("prompt", text) or None."""
    results = []
    for item in reversed(items):
        what = kind(item)
        if what and what[0] == "prompt":
            return Turn(what[1], results[::-1])
        if what:
            results.append(what[1])
    return Turn("", results[::-1])


def anthropic_kind(message):
    if message.get("role") != "user":
        return None
    content = message["content"]
    blocks = content if isinstance(content, list) else [{"type": "text", "text": content}]
    # The client adds reminders and notices of its own around the prompt. A prompt that follows right after
    # a tool's result shares its message.
    own = ("<system-reminder>", "<task-notification>", "[SYSTEM NOTIFICATION")
    texts = [block.get("text", "") for block in blocks if block.get("type") == "text"]
    text = "\n".join(text for text in texts if not text.lstrip().startswith(own))
    if text.strip():
        return "prompt", text
    results = [flat(block.get("content")) for block in blocks if block.get("type") == "tool_result"]
    return ("result", results[0]) if results else None


def openai_kind(item):
    if item.get("type", "").endswith("_call_output"):
        output = item.get("output")
        return "result", flat(output.get("content") if isinstance(output, dict) else output)
    if item.get("type", "message") == "message" and item.get("role") == "user":
        text = flat(item.get("content"))
        if not text.lstrip().startswith(("<environment_context>", "<user_instructions>", "# AGENTS.md")):
            return "prompt", text
    return None


def gemini_kind(content):
    if content.get("role") != "user":
        return None
    for part in content.get("parts", []):
        if "functionResponse" in part:
            return "result", json.dumps(part["functionResponse"].get("response"))
    texts = [part.get("text", "") for part in content.get("parts", [])]
    own = ("<session_context>", "This is the Gemini CLI")
    text = "\n".join(text for text in texts if not text.lstrip().startswith(own))
    return ("prompt", text) if text.strip() else None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def note(self, **row):
        row.update(n=self.n, time=round(time.time(), 3), method=self.command, path=self.path)
        with LOCK, open(OPTIONS.log, "a", encoding="utf-8") as log:
            log.write(json.dumps(row) + "\n")

    def reply(self, status, body, headers=()):
        data = json.dumps(body).encode()
        self.send_response(status)
        own = (("content-type", "application/json"), ("content-length", str(len(data))))
        for key, value in (*own, *headers):
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def send_event(self, data, event=None):
        head = f"event: {event}\n" if event else ""
        raw = f"{head}data: {json.dumps(data)}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(raw), raw))
        self.wfile.flush()

    def open_stream(self, turn):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        for key, value in turn.head:
            self.send_header(key, value)
        self.end_headers()

    def end_stream(self):
        self.wfile.write(b"0\r\n\r\n")

    def hang_up(self):
        self.close_connection = True
        self.connection.close()

    def count(self):
        with LOCK:
            COUNT[0] += 1
            self.n = COUNT[0]
        if self.n > OPTIONS.max_requests:
            self.note(status=503)
            self.reply(503, {"type": "error", "error": {"type": "api_error", "message": "too many requests of a test"}})
            return False
        return True

    def not_found(self):
        self.note(status=404)
        self.reply(404, {"type": "error", "error": {"type": "not_found_error", "message": "no such path"}})

    def do_GET(self):
        if not self.count():
            return
        if not self.path.split("?")[0].endswith("/models"):
            self.not_found()
            return
        self.note(status=200)
        model = {"id": "fake-model", "object": "model", "type": "model", "display_name": "fake-model"}
        self.reply(200, {"object": "list", "has_more": False, "models": [], "data": [model]})

    do_HEAD = do_GET

    def do_POST(self):
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        if not self.count():
            return
        path = self.path.split("?")[0]
        try:
            request = json.loads(raw or b"{}")
        except ValueError:
            request = {}
        gemini = re.search(r"/models/([^/:]+):(generateContent|streamGenerateContent|countTokens)$", path)
        if path.endswith("/count_tokens"):
            self.note(status=200)
            self.reply(200, {"input_tokens": len(raw) // 4})
            return
        if gemini and gemini.group(2) == "countTokens":
            self.note(status=200)
            self.reply(200, {"totalTokens": len(raw) // 4})
            return
        if path.endswith("/messages"):
            answer, items = self.anthropic, request.get("messages", [])
            turn = newest(items, anthropic_kind)
            tools = [tool.get("name") for tool in request.get("tools") or []]
            effort = (request.get("output_config") or {}).get("effort")
        elif path.endswith("/responses"):
            answer, items = self.openai, request.get("input") or []
            items = [{"role": "user", "content": items}] if isinstance(items, str) else items
            turn = newest(items, openai_kind)
            tools = [tool.get("name") or tool.get("type") for tool in request.get("tools") or []]
            effort = (request.get("reasoning") or {}).get("effort")
        elif gemini:
            request["model"], request["stream"] = gemini.group(1), gemini.group(2).startswith("stream")
            answer, items = self.gemini, request.get("contents", [])
            turn = newest(items, gemini_kind)
            declared = [tool.get("functionDeclarations", []) for tool in request.get("tools") or []]
            tools = [function.get("name") for functions in declared for function in functions]
            effort = (request.get("generationConfig") or {}).get("thinkingConfig")
        else:
            self.not_found()
            return
        credential = [name for name in ("authorization", "x-api-key", "x-goog-api-key") if self.headers.get(name)]
        row = {
            "model": request.get("model"),
            "stream": bool(request.get("stream")),
            "effort": effort,
            "prompt": turn.prompt[-200:],
            "messages": len(items),
            "last": json.dumps(items[-1] if items else None)[-4000:],
            "tools": tools,
            "has_project_note": b"PROJECT-NOTE" in raw,
            "auth": credential[0] if credential else None,
            "status": turn.failure[0] if turn.failure else 200,
        }
        try:
            time.sleep(turn.sleep)
            if turn.failure:
                self.fail(turn)
            else:
                tokens = turn.usage or [len(raw) // 4, 1 + len(turn.text) // 4, 0, 0]
                row["usage"] = dict(zip(("in", "out", "cache_read", "cache_write"), tokens))
                answer(request, turn, tools, row["usage"])
            self.note(**row)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
            self.note(hangup=True, **row)

    def fail(self, turn):
        status, words = turn.failure
        words = re.sub(r"\+(\d+)s\b", lambda match: later(match.group(1)), words)
        if words.startswith("{"):
            body = json.loads(words)
        else:
            kind = STATUS_TYPE.get(status, "api_error")
            body = {"type": "error", "error": {"type": kind, "code": status, "status": kind.upper(), "message": words}}
        self.reply(status, body, (*turn.head, ("request-id", f"req_fake_{self.n}")))

    def anthropic(self, request, turn, tools, tokens):
        if turn.tool:
            name, args = turn.tool_call(tools)
            block = {"type": "tool_use", "id": f"toolu_fake_{self.n}", "name": name, "input": args}
        else:
            block = {"type": "text", "text": turn.text}
        stop = "tool_use" if turn.tool else "end_turn"
        usage = {
            "input_tokens": tokens["in"],
            "output_tokens": tokens["out"],
            "cache_creation_input_tokens": tokens["cache_write"],
            "cache_read_input_tokens": tokens["cache_read"],
        }
        message = {
            "id": f"msg_fake_{self.n}",
            "type": "message",
            "role": "assistant",
            "model": request.get("model"),
            "content": [block],
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": usage,
        }
        if not request.get("stream"):
            self.reply(200, message)
            return
        self.open_stream(turn)

        def event(kind, **data):
            self.send_event(dict(type=kind, **data), kind)

        opening = dict(message, content=[], stop_reason=None, usage=dict(usage, output_tokens=1))
        event("message_start", message=opening)
        if turn.tool:
            event("content_block_start", index=0, content_block=dict(block, input={}))
            event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": json.dumps(args)})
        else:
            event("content_block_start", index=0, content_block={"type": "text", "text": ""})
            for piece in turn.pieces():
                event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
            if turn.cut:
                self.hang_up()
                return
        event("content_block_stop", index=0)
        event("message_delta", delta={"stop_reason": stop, "stop_sequence": None}, usage=usage)
        event("message_stop")
        self.end_stream()

    def openai(self, request, turn, tools, tokens):
        item_id = f"item_fake_{self.n}"
        if turn.tool:
            name, args = turn.tool_call(tools)
            item = {
                "type": "function_call",
                "id": item_id,
                "call_id": f"call_fake_{self.n}",
                "name": name,
                "arguments": json.dumps(args),
                "status": "completed",
            }
            if name.startswith("mcp__") and name not in tools:
                # codex groups the tools of a server, and lists none of them before they are searched for.
                item["namespace"], _, item["name"] = name.rpartition("__")
        else:
            content = [{"type": "output_text", "text": turn.text, "annotations": []}]
            item = {"type": "message", "id": item_id, "role": "assistant", "status": "completed", "content": content}
        usage = {
            "input_tokens": tokens["in"],
            "input_tokens_details": {"cached_tokens": tokens["cache_read"]},
            "output_tokens": tokens["out"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": tokens["in"] + tokens["out"],
        }
        response = {
            "id": f"resp_fake_{self.n}",
            "object": "response",
            "created_at": int(time.time()),
            "model": request.get("model"),
            "status": "completed",
            "output": [item],
            "usage": usage,
        }
        if not request.get("stream"):
            self.reply(200, response)
            return
        self.open_stream(turn)

        def event(kind, **data):
            self.send_event(dict(type=kind, **data), kind)

        event("response.created", response=dict(response, status="in_progress", output=[], usage=None))
        empty = {"content": []} if "content" in item else {}
        event("response.output_item.added", output_index=0, item=dict(item, status="in_progress", **empty))
        if not turn.tool:
            for piece in turn.pieces():
                event("response.output_text.delta", item_id=item_id, output_index=0, content_index=0, delta=piece)
            if turn.cut:
                self.hang_up()
                return
        event("response.output_item.done", output_index=0, item=item)
        event("response.completed", response=response)
        self.end_stream()

    def gemini(self, request, turn, tools, tokens):
        usage = {
            "promptTokenCount": tokens["in"],
            "candidatesTokenCount": tokens["out"],
            "totalTokenCount": tokens["in"] + tokens["out"],
        }

        def wrap(parts, **more):
            candidate = {"index": 0, "content": {"role": "model", "parts": parts}, **more}
            return {
                "candidates": [candidate],
                "modelVersion": request["model"],
                "responseId": uuid.uuid4().hex,
                "usageMetadata": usage,
            }

        if turn.tool:
            name, args = turn.tool_call(tools)
            parts = [{"functionCall": {"name": name, "args": args}}]
        else:
            parts = [{"text": piece} for piece in turn.pieces()]
        if not request["stream"]:
            self.reply(200, wrap(parts, finishReason="STOP"))
            return
        self.open_stream(turn)
        for part in parts:
            self.send_event(wrap([part]))
        if turn.cut:
            self.hang_up()
            return
        self.send_event(wrap([{"text": ""}], finishReason="STOP"))
        self.end_stream()


def main():
    global OPTIONS
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--log", required=True, help="append one JSON line per request")
    parser.add_argument("--portfile", required=True, help="where to write the port once it is open")
    parser.add_argument("--max-requests", type=int, default=500, help="then answer 503")
    OPTIONS = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with open(OPTIONS.portfile, "w", encoding="utf-8") as port:
        port.write(str(server.server_port))
    server.serve_forever()


if __name__ == "__main__":
    main()
