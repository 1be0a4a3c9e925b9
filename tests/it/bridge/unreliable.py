#!/usr/bin/env python3
"""Stands between a bridge and the adapter in its arguments, and misbehaves at one request in eleven, each time otherwise.

The number of requests so far is in the file `count` of the current directory, because this process is ended each time.
"""
import json, os, subprocess, sys, time

WAYS = ["exit before", "exit after", "rubbish", "other id", "long", "hang", "close", "flood"]

adapter = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
for line in iter(sys.stdin.buffer.readline, b""):
    request = json.loads(line)
    with open("count", "a+") as count:
        count.seek(0)
        number = len(count.read())
        count.write(".")
    way = WAYS[number // 11 % len(WAYS)] if number % 11 == 10 and request["method"] != "initialize" else ""
    if way == "exit before":
        os._exit(3)
    adapter.stdin.write(line)
    adapter.stdin.flush()
    answer = adapter.stdout.readline()
    if way == "exit after":
        os._exit(3)
    if way == "hang":
        time.sleep(1000)
    if way == "close":
        os.close(1)
        time.sleep(1000)
    if way == "rubbish":
        answer = b"Traceback (most recent call last):\n" + answer
    if way == "other id":
        answer = json.dumps(json.loads(answer) | {"id": 1000}).encode() + b"\n"
    if way == "long":
        answer = b'{"id": ' + b"1" * 9 * 1024 * 1024 + b"}\n"
    if way == "flood":
        for number in range(100_000):
            print("flood", number, file=sys.stderr)
    sys.stdout.buffer.write(answer)
    sys.stdout.buffer.flush()
