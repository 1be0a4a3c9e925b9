#!/usr/bin/env python3
"""Measures the memory of `lanes serve` under attack: the peak during each attack, and what is left
of it afterwards. Ends with 1 when a peak is above its bound.

Usage: benches/memory.py [ATTACK...]; LANES names the program, else the release build is used.
"""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time

# MiB; the bodies in flight alone may take 256, and some of them are being parsed.
BOUND, BOUND_WITH_BODIES = 300, 400
TOKEN = "correct-horse-battery"
LARGEST = 8 * 1024 * 1024
HEAD = "Host: localhost\r\nContent-Type: application/json\r\n"
SHOWN = HEAD + f"Authorization: Bearer {TOKEN}\r\n"
ZEROS = b"[" + b"0," * (LARGEST // 2 - 8) + b"0]"


class Server:
    """A server with its own workspace."""

    def __init__(self, program, root):
        (root / "token").write_text(TOKEN)
        (root / "token").chmod(0o600)
        self.root = root
        self.program = program
        subprocess.run([program, "init", "-q"], cwd=root, check=True, stdout=subprocess.DEVNULL)
        self.process = subprocess.Popen(
            [program, "serve", "--port", "0", "--token-file", "token"], cwd=root, stdout=subprocess.PIPE, text=True
        )
        self.port = int(self.process.stdout.readline().rsplit(":", 1)[1])

    def end(self):
        self.process.terminate()
        self.process.wait(10)

    def memory(self, field):
        """Returns VmRSS or VmHWM in MiB."""
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) / 1024

    def forget_peak(self):
        pathlib.Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def connect(self):
        client = socket.create_connection(("127.0.0.1", self.port))
        client.settimeout(60)
        return client

    def ask(self, method, path, body=b""):
        """Sends one complete request; returns status and body, or no status if the server closed the connection."""
        with self.connect() as client, contextlib.suppress(OSError):
            head = f"{method} {path} HTTP/1.1\r\n{SHOWN}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                client.sendall(head.encode() + body)
            answer = b"".join(iter(lambda: client.recv(1 << 20), b""))
            head, _, body = answer.partition(b"\r\n\r\n")
            return int(head.split()[1]), body
        return None, b""


def flood(server, count, head, piece, pieces):
    """Opens connections that begin requests and send as much as the server accepts."""
    clients = []
    for _ in range(count):
        client = server.connect()
        client.settimeout(0.05)
        with contextlib.suppress(OSError):
            client.sendall(head.encode())
            for _ in range(pieces):
                client.sendall(piece)
        clients.append(client)
    status, _ = server.ask("GET", "/tasks")
    assert status == 200, "others are served meanwhile"
    return clients


def post_all(server, count, body):
    """Sends the same body from many clients at once; returns the statuses."""
    statuses = []
    threads = [
        threading.Thread(target=lambda: statuses.append(server.ask("POST", "/tasks", body)[0])) for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(set(map(str, statuses)))


def read_slowly(server, seconds):
    """Starts sixty clients that request a large answer and read 2 KiB of it every four seconds."""
    _, submitted = server.ask("POST", "/tasks", json.dumps({"lane": "l", "prompt": "p"}).encode())
    task = json.loads(submitted)["task_id"]
    body = json.dumps({"body": "x" * (LARGEST - 1024)}).encode()
    assert server.ask("POST", f"/tasks/{task}/response", body)[0] == 200
    clients = []
    for _ in range(60):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.settimeout(0.01)
        client.sendall(f"GET /tasks/{task}/response HTTP/1.1\r\n{SHOWN}\r\n".encode())
        clients.append(client)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for client in clients:
            with contextlib.suppress(OSError):
                client.recv(2048)
        time.sleep(4)
    return clients


def attack(name):
    length = f"Content-Length: {LARGEST}\r\n\r\n"
    chunked = "Transfer-Encoding: chunked\r\n\r\n7ffc00\r\n"
    piece = b" " * (1024 * 1024)
    post = "POST /tasks HTTP/1.1\r\n"
    member = b'{"lane": "l", "metadata": {"a": ' + ZEROS[: LARGEST - 100].rstrip(b",") + b"]}}"
    prompt = json.dumps({"lane": "l", "prompt": "x" * (LARGEST - 1024)}).encode()
    return {
        "100 bodies without token": lambda s: flood(s, 100, post + HEAD + length, piece, 7),
        "100 chunked bodies without token": lambda s: flood(s, 100, post + HEAD + chunked, piece, 7),
        "2000 heads that never end": lambda s: flood(s, 2000, post + HEAD + "X: ", b"x" * 15000, 1),
        "100 bodies": lambda s: flood(s, 100, post + SHOWN + length, piece, 7),
        "100 chunked bodies": lambda s: flood(s, 100, post + SHOWN + chunked, piece, 7),
        "one list of zeros": lambda s: post_all(s, 1, ZEROS),
        "sixteen lists of zeros": lambda s: post_all(s, 16, ZEROS),
        "sixteen zeros in metadata": lambda s: post_all(s, 16, member),
        "sixteen large prompts": lambda s: post_all(s, 16, prompt),
        "64 large prompts": lambda s: post_all(s, 64, prompt),
        "60 slow readers": lambda s: read_slowly(s, 60),
    }[name]


ATTACKS = [
    "100 bodies without token",
    "100 chunked bodies without token",
    "2000 heads that never end",
    "100 bodies",
    "100 chunked bodies",
    "one list of zeros",
    "sixteen lists of zeros",
    "sixteen zeros in metadata",
    "sixteen large prompts",
    "64 large prompts",
    "60 slow readers",
]


def main():
    program = os.environ.get("LANES")
    if program is None:
        subprocess.run(["cargo", "build", "--release", "--quiet"], check=True)
        target = os.environ.get("CARGO_TARGET_DIR", "target")
        program = str(pathlib.Path(target, "release", "lanes").absolute())
    is_too_much = False
    print(f"{'':<34} {'before':>8} {'peak':>8} {'settled':>8}  MiB")
    for name in sys.argv[1:] or ATTACKS:
        with tempfile.TemporaryDirectory() as root:
            server = Server(program, pathlib.Path(root))
            try:
                server.ask("GET", "/tasks")
                before = server.memory("VmRSS")
                server.forget_peak()
                result = attack(name)(server)
                for client in result:
                    if isinstance(client, socket.socket):
                        client.close()
                time.sleep(3)
                peak, settled = server.memory("VmHWM"), server.memory("VmRSS")
                said = [word for word in result if isinstance(word, str)]
                print(f"{name:<34} {before:8.0f} {peak:8.0f} {settled:8.0f}  {' '.join(said)}", flush=True)
                is_too_much |= peak > (BOUND_WITH_BODIES if name == "64 large prompts" else BOUND)
            finally:
                server.end()
    return is_too_much


if __name__ == "__main__":
    sys.exit(main())
