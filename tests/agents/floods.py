#!/usr/bin/env python3
"""Writes 50 MB to each pipe at once, or FLOOD_MB to standard output, part of it one endless line; then answers."""
import os, sys, threading

size = int(os.environ.get("FLOOD_MB", "50"))

def flood(stream, block, count):
    for _ in range(count):
        stream.write(block)
    stream.flush()

errors = threading.Thread(target=flood, args=(sys.stderr.buffer, b"e" * 1_000_000, 50))
errors.start()
flood(sys.stdout.buffer, b"x" * 1_000_000, size - 10)
flood(sys.stdout.buffer, b"\n" + b"y" * 999, 10_000)
errors.join()
print('\n{"type":"result","is_error":false,"result":"still here"}', flush=True)
