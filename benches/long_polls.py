"""Measures what waiting clients cost `lanes serve`, and how soon one of them gets a new task.

Usage: long_polls.py HOST PORT PID COUNT
"""

import http.client
import json
import os
import selectors
import socket
import sys
import time

host, port, pid, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
LANE = "long-polls"
ROUNDS = 50


def cpu_seconds():
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def threads():
    return len(os.listdir(f"/proc/{pid}/task"))


def ask(method, path, body=None):
    connection = http.client.HTTPConnection(host, port, timeout=30)
    headers = {"Content-Type": "application/json"} if body else {}
    connection.request(method, path, json.dumps(body) if body else None, headers)
    answer = json.load(connection.getresponse())
    connection.close()
    return answer


def whole(text):
    """Returns the body of an answer once it is complete, otherwise None."""
    head, found, body = text.partition(b"\r\n\r\n")
    if not found:
        return None
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    return json.loads(body) if len(body) >= length else None


def park(poll):
    body = json.dumps({"lane": LANE, "owner": "w", "wait_seconds": 600}).encode()
    client = socket.create_connection((host, port))
    client.sendall(
        b"POST /tasks/claim HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    client.setblocking(False)
    poll.register(client, selectors.EVENT_READ, bytearray())


before = threads()
poll = selectors.DefaultSelector()
for _ in range(count):
    park(poll)
while ask("GET", "/status")["waiting_requests"] < count:
    time.sleep(0.1)
time.sleep(1)
start, used = time.monotonic(), cpu_seconds()
time.sleep(10)
share = (cpu_seconds() - used) / (time.monotonic() - start) * 100
print(f"{count} waiting claims: {share:.1f} % of a processor, {threads()} threads ({before} without them)")

delays, winners = [], 0
for _ in range(ROUNDS):
    start = time.monotonic()
    task = ask("POST", "/tasks", {"lane": LANE, "prompt": "p"})["task_id"]
    submitted = time.monotonic()
    won = []
    # Slightly longer than the first answer takes: a second one must not come.
    until = start + 5
    while time.monotonic() < until:
        for key, _ in poll.select(max(0, until - time.monotonic())):
            key.data.extend(key.fileobj.recv(65536))
            answer = whole(bytes(key.data))
            if answer is not None:
                won.append(answer["task"]["id"])
                poll.unregister(key.fileobj)
                key.fileobj.close()
                delays.append((time.monotonic() - submitted) * 1000)
                until = min(until, time.monotonic() + 0.05)
    assert won == [task], f"{task} went to {won}"
    winners += 1
delays.sort()
print(
    f"{winners} submits, each to exactly one of them; from the submit's answer to the winner's: "
    f"median {delays[len(delays) // 2]:.1f} ms, longest {delays[-1]:.1f} ms"
)
