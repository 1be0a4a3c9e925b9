"""What adapters for `lanes bridge` share: the loop that answers requests, errors of HTTP, edits of a text file."""
import json
import os
import shutil
import subprocess
import sys
import time


class Failure(Exception):
    """An error for the bridge: its code, a line for people, and the seconds to wait before the next request."""

    def __init__(self, code, message, retry_after=None):
        super().__init__(message)
        self.error = {"code": code, "message": message}
        if retry_after is not None:
            self.error["retry_after"] = retry_after


def http_failure(status, headers, message):
    """Makes the error for the status of an answer over HTTP; the names of its headers are in small letters."""
    codes = {401: "auth", 403: "forbidden", 404: "not_found", 409: "conflict", 410: "not_found", 422: "invalid"}
    if status == 429 or status == 403 and ("retry-after" in headers or headers.get("x-ratelimit-remaining") == "0"):
        seconds = headers.get("retry-after") or float(headers.get("x-ratelimit-reset", 0)) - time.time()
        return Failure("rate_limited", message, max(float(seconds), 1))
    return Failure(codes.get(status, "unavailable"), message)


def answer(request, initialize, methods):
    """Returns the result of a request, or raises `Failure`."""
    method, params = request["method"], request.get("params", {})
    if method == "initialize":
        # A bridge that does not speak this version of the protocol says so to its user.
        return {"protocol": 1, **initialize(params["config"], params["secrets"])}
    if method == "shutdown":
        return {}
    if method not in methods:
        raise Failure("unsupported", f"this board has no {method}")
    return methods[method](params)


def serve(initialize, methods):
    """Answers requests until the bridge closes standard input. `initialize` gets the configuration and the secrets, and
    returns name, version, user and abilities; `methods` are functions of the parameters, named as in the protocol."""
    methods = {method.__name__: method for method in methods}
    for line in sys.stdin:
        request = json.loads(line)
        reply = {"id": request["id"]}
        try:
            reply["result"] = answer(request, initialize, methods)
        except Failure as failure:
            reply["error"] = failure.error
        except KeyError as error:
            reply["error"] = {"code": "invalid", "message": f"{request['method']} needs {error}"}
        except (OSError, subprocess.SubprocessError) as error:
            reply["error"] = {"code": "unavailable", "message": str(error)}
        print(json.dumps(reply), flush=True)


def edit_lines(path, change):
    """Replaces a text file by what `change` makes of its lines; again if somebody else has changed it meanwhile. Line
    ends, the mode of the file and a link to it are kept. Returns what `change` returns."""
    path = os.path.realpath(path)
    for _ in range(10):
        with open(path, encoding="utf-8", newline="") as file:
            before = file.read()
        end = "\r\n" if "\r\n" in before else "\n"
        lines = before.split(end)
        result = change(lines)
        if end.join(lines) == before:
            return result
        with open(path + ".new", "w", encoding="utf-8", newline="") as file:
            file.write(end.join(lines))
            file.flush()
            os.fsync(file.fileno())
        shutil.copymode(path, path + ".new")
        with open(path, encoding="utf-8", newline="") as file:
            is_unchanged = file.read() == before
        if is_unchanged:
            os.replace(path + ".new", path)
            return result
    raise Failure("conflict", f"{path} is being changed all the time")
