#!/usr/bin/env python3
"""Stands in for `gh api` in the tests of examples/bridges/github.py: a repository in `state.json` next to it.

It answers as api.github.com does in the requests that the example makes: pages, ETag and 304, labels that are created with
an issue's, whole lists of labels in PATCH. The file has `fail`, a list of answers for the next requests.
"""
import fcntl, hashlib, json, os, re, sys
from urllib.parse import parse_qs, urlsplit

LIMITS = {"body": 65536, "title": 256}


def main():
    arguments = sys.argv[1:]
    assert arguments[:3] == ["api", "--include", "--method"], arguments
    method, address, rest = arguments[3], arguments[4], arguments[5:]
    body = json.load(sys.stdin) if rest[:2] == ["--input", "-"] else None
    etag = next((value.split(": ")[1] for value in rest if value.startswith("If-None-Match: ")), None)
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "state.json")
    with open(path + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = json.load(open(path))
        state["requests"].append(f"{method} {address}")
        status, answer, headers = respond(state, method, address, body)
        json.dump(state, open(path, "w"), indent=1)
    if status == 0:
        print("error connecting to api.github.com", file=sys.stderr)
        sys.exit(1)
    text = json.dumps(answer)
    tag = 'W/"' + hashlib.sha256(text.encode()).hexdigest()[:16] + '"'
    if method == "GET" and status == 200:
        headers["Etag"] = tag
        if etag == tag:
            status, text = 304, ""
    lines = [f"HTTP/2.0 {status} {'OK' if status < 300 else 'Error'}"] + [f"{name}: {value}" for name, value in headers.items()]
    sys.stdout.write("".join(line + "\r\n" for line in lines) + "\r\n" + text)
    if status >= 300:
        print(f"gh: HTTP {status}", file=sys.stderr)
        sys.exit(1)


def respond(state, method, address, body):
    if os.environ.get("GH_TOKEN") != state["token"]:
        return 401, {"message": "Bad credentials"}, {}
    if state.get("fail"):
        status, headers = state["fail"].pop(0)
        return status, {"message": "as the test wants it"}, headers
    if address == "user":
        return 200, {"id": 1, "login": "bot"}, {}
    url = urlsplit(address)
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    if not url.path.startswith(f"repos/{state['repo']}/"):
        return 404, {"message": "Not Found"}, {}
    path = url.path.removeprefix(f"repos/{state['repo']}/")
    if path == "labels" and method == "GET":
        return 200, page(state["labels"], query), {}
    if path == "issues":
        return issues(state, method, query, body)
    match = re.fullmatch(r"issues/(\d+)(/comments)?", path)
    issue = match and next((issue for issue in state["issues"] if issue["number"] == int(match[1])), None)
    if not issue:
        return 404, {"message": "Not Found"}, {}
    if match[2]:
        comments = state["comments"].setdefault(match[1], [])
        if method == "GET":
            return 200, page(comments, query), {}
        comments.append({"id": len(comments) + 1, "body": body["body"]})
        return 201, comments[-1], {}
    if method == "PATCH":
        return change(state, issue, body)
    return 200, issue, {}


def issues(state, method, query, body):
    if method == "POST":
        issue = {"number": len(state["issues"]) + 1, "state": "open", "title": "", "body": None, "labels": [], "assignees": []}
        issue["html_url"] = f"https://github.example/{state['repo']}/issues/{issue['number']}"
        issue["user"] = {"login": "bot"}
        state["issues"].append(issue)
        return 201, change(state, issue, body)[1], {}
    found = state["issues"]
    if query.get("state", "open") != "all":
        found = [issue for issue in found if issue["state"] == query.get("state", "open")]
    if "labels" in query:
        found = [issue for issue in found if query["labels"] in [label["name"] for label in issue["labels"]]]
    if "creator" in query:
        found = [issue for issue in found if issue["user"]["login"] == query["creator"]]
    return 200, page(found, query), {}


def change(state, issue, body):
    for name, value in body.items():
        if name in LIMITS and len(value or "") > LIMITS[name]:
            return 422, {"message": f"{name} is too long"}, {}
        if name == "labels":
            value = [label(state, name) for name in value]
        if name == "assignees":
            value = [{"login": login} for login in value]
        issue[name] = value
    return 200, issue, {}


def label(state, name):
    for found in state["labels"]:
        if found["name"] == name:
            return found
    state["labels"].append({"id": 1000 + len(state["labels"]), "name": name})
    return state["labels"][-1]


def page(items, query):
    size, number = int(query.get("per_page", 30)), int(query.get("page", 1))
    return items[size * (number - 1):size * number]


main()
