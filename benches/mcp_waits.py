#!/usr/bin/env python3
"""Measures what calls that wait at /mcp cost `lanes serve --mcp`.

Usage: mcp_waits.py LANES [COUNT [SECONDS]]

Starts a server on a store of its own, begins COUNT (200) calls of `delegate`, each on a connection of its own and with a
progress token, and prints the processor time that the server takes while all of them wait, its threads, and how soon
one of the calls returns after its task was answered.
"""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

lanes = os.path.abspath(sys.argv[1])
count = int(sys.argv[2]) if len(sys.argv) > 2 else 200
seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 30
CLIENT = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "claude-code", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def begin(address, token, number):
    """Sends a call that waits for 240 seconds; returns its connection."""
    arguments = {"lane": "waits", "task": f"task {number}", "wait": 240}
    meta = {**CLIENT, "progressToken": number}
    params = {"name": "delegate", "arguments": arguments, "_meta": meta}
    body = json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})
    client = socket.create_connection(address)
    client.settimeout(60)
    client.sendall(
        f"POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    return client


def read_until(client, found):
    """Reads a stream of events until the text that has come satisfies `found`, and returns that."""
    text = b""
    while not found(text):
        piece = client.recv(65536)
        assert piece, f"closed after {text[-300:]}"
        text += piece
    return text.decode()


def main():
    with tempfile.TemporaryDirectory() as work:
        environment = {**os.environ, "HOME": work}
        for name in [name for name in environment if name.startswith("LANES_")]:
            del environment[name]
        subprocess.run([lanes, "init", "-q"], cwd=work, env=environment, check=True, stdout=subprocess.DEVNULL)
        command = [lanes, "serve", "--mcp", "--port", "0"]
        server = subprocess.Popen(command, cwd=work, env=environment, stdout=subprocess.PIPE, text=True)
        try:
            measure(server, pathlib.Path(work) / "handoff/state/serve.token")
        finally:
            server.terminate()
            server.wait()


def measure(server, token_file):
    url = re.search(r"http://[0-9.]+:\d+", server.stdout.readline()).group()
    token = token_file.read_text().strip()
    host, port = url.removeprefix("http://").split(":")

    def ask(path, body):
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(url + path, json.dumps(body).encode(), headers, method="POST")
        urllib.request.urlopen(request, timeout=60).close()

    clients = [begin((host, int(port)), token, number) for number in range(count)]
    # The first progress of a call shows that it waits, and names its task.
    waiting = {}
    for client in clients:
        progress = read_until(client, lambda text: b"notifications/progress" in text and text.endswith(b"\n\n"))
        waiting[re.search(r"queued (\S+?)[\":;,]", progress).group(1)] = client
    time.sleep(3)
    before, start = cpu_seconds(server.pid), time.monotonic()
    time.sleep(seconds)
    share = (cpu_seconds(server.pid) - before) / (time.monotonic() - start)
    print(f"{count} calls wait: {100 * share:.2f} % of a processor, {len(os.listdir(f'/proc/{server.pid}/task'))} threads")
    delays = []
    for task in list(waiting)[:20]:
        answered = time.monotonic()
        ask(f"/tasks/{task}/response", {"body": "Yes."})
        read_until(waiting[task], lambda text: b"Yes." in text)
        delays.append(1000 * (time.monotonic() - answered))
    delays.sort()
    print(f"answered: median {delays[len(delays) // 2]:.1f} ms, slowest {delays[-1]:.1f} ms")


main()
