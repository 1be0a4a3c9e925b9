#!/usr/bin/env python3
"""Answers and ends, and leaves processes behind that hold its pipes.

Arguments: a file for the numbers of those processes, then what they are like:
  group     stays in the process group and ignores TERM
  session   starts a session of its own
  stranger  starts a session of its own, loses its parent and its environment
  wait      (not a process) stay alive instead of ending
"""
import os, signal, sys, time

def stay(ready):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.write(ready, b"%d\n" % os.getpid())
    os.close(ready)
    time.sleep(1000)

read_end, write_end = os.pipe()
kinds = [kind for kind in sys.argv[2:] if kind != "wait"]
for kind in kinds:
    if os.fork() == 0:
        os.close(read_end)
        if kind != "group":
            os.setsid()
        if kind == "stranger":
            if os.fork() != 0:
                os._exit(0)
            code = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); " \
                   "os.write(%d, b'%%d\\n' %% os.getpid()); os.close(%d); time.sleep(1000)" % (write_end, write_end)
            os.set_inheritable(write_end, True)
            os.execve(sys.executable, [sys.executable, "-c", code], {})
        stay(write_end)
os.close(write_end)
with os.fdopen(read_end) as ready, open(sys.argv[1], "w") as pids:
    for line in ready:
        pids.write(line)
print('{"type":"result","is_error":false,"result":"done"}', flush=True)
if "wait" in sys.argv:
    time.sleep(1000)
