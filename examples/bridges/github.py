#!/usr/bin/env python3
"""The issues of a GitHub repository as a board for `lanes bridge`, through `gh api` (https://cli.github.com).

A queue is a label that begins with `queue:` (the queue `todo` is the label `queue:todo`), and `closed` has the closed
issues. Settings: `repo`, as OWNER/NAME, and `prefix` instead of `queue:`. Secret: GH_TOKEN, or use `gh auth login`.
"""
import json, os, re, subprocess
from urllib.parse import quote
from adapter import Failure, http_failure, serve

KEY = re.compile(r"(\s*<!-- lanes-key: .* -->)?\s*$")  # the key of a card, at the end of the text of its issue
config, environment = {"prefix": "queue:"}, dict(os.environ)
cache = {}  # ETag and answer by address: an answer that has not changed does not count against the limit of requests

def gh(method, path, body=None):
    address = path if path == "user" else f"repos/{config['repo']}{path}"
    command = ["gh", "api", "--include", "--method", method, address]
    if body is not None:
        command += ["--input", "-"]
    if method == "GET" and path in cache:
        command += ["--header", f"If-None-Match: {cache[path][0]}"]
    # Standard input is always given: it would be that of the adapter otherwise.
    run = subprocess.run(command, input=json.dumps(body), capture_output=True, text=True, env=environment, timeout=25)
    head, _, text = run.stdout.replace("\r\n", "\n").partition("\n\n")
    status = re.match(r"HTTP/\S+ (\d+)", head)
    if not status:  # gh exits with 4 if nobody has logged in
        raise Failure("auth" if run.returncode == 4 else "unavailable", run.stderr.strip() or "gh printed nothing")
    status, headers = int(status[1]), dict(re.findall(r"^([^:\s]+): (.*)$", head.lower(), re.M))
    if status == 304:
        return cache[path][1]
    answer = json.loads(text) if text[:1] in ("{", "[") else {}
    if status >= 400:
        raise http_failure(status, headers, f"{method} {path}: {status} {answer.get('message', '')}")
    if method == "GET" and "etag" in headers:
        cache[path] = re.search(r"(?im)^etag: (.*)$", head)[1], answer
    return answer

def pages(path, limit=float("inf")):
    items, page = [], 1
    while len(items) < limit and len(items) == 100 * (page - 1):
        items += gh("GET", f"{path}{'&' if '?' in path else '?'}per_page=100&page={page}")
        page += 1
    return items

def list_queues(p=None):
    own = [label for label in pages("/labels") if label["name"].startswith(config["prefix"])]
    own = [(str(label["id"]), label["name"].removeprefix(config["prefix"]), label["name"]) for label in own]
    return [dict(zip(("id", "name", "label"), queue)) for queue in [*own, ("closed", "closed", None)]]

def named(queue):
    for found in list_queues():
        if queue == found["name"] or queue == {"id": found["id"]}:
            return found
    raise Failure("not_found", f"{config['repo']} has no label '{config['prefix']}{queue}'")

def labels(issue, of_queue=False):
    return [label for label in issue["labels"] if label["name"].startswith(config["prefix"]) == of_queue]

def card(issue, comments=()):
    queue = [str(label["id"]) for label in labels(issue, True)] + ["none"] if issue["state"] == "open" else ["closed"]
    return {"id": str(issue["number"]), "queue": queue[0], "name": issue["title"], "url": issue["html_url"],
            "description": KEY.sub("", issue["body"] or ""),
            "labels": [label["name"] for label in labels(issue)],
            "assignees": [user["login"] for user in issue["assignees"]],
            "comments": [{"text": comment["body"]} for comment in comments]}

def path_of(p):
    return "/issues/" + quote(p["id"], safe="")

def get_ready_tasks(p):
    queue = named(p["queue"])
    which = f"state=open&labels={quote(queue['label'])}" if queue["label"] else "state=closed"
    issues = pages(f"/issues?{which}&sort=created&direction=asc", p["limit"])
    return [card(issue) for issue in issues if "pull_request" not in issue][:p["limit"]]

def get_task(p):
    return card(gh("GET", path_of(p)), pages(path_of(p) + "/comments"))

def move_task(p):
    issue, target = gh("GET", path_of(p)), named(p["queue"])
    queue = card(issue)["queue"]
    if queue not in (target["id"], named(p["expect_queue"])["id"] if "expect_queue" in p else queue):
        raise Failure("conflict", f"issue {p['id']} is in another queue")
    if queue != target["id"]:
        kept = [label["name"] for label in labels(issue)]
        change = {"labels": kept + [target["label"]], "state": "open"} if target["label"] else {"state": "closed"}
        gh("PATCH", path_of(p), {"labels": kept} | change)

def add_comment(p):
    if not any(p["marker"] in comment["body"] for comment in pages(path_of(p) + "/comments")):
        gh("POST", path_of(p) + "/comments", {"body": p["text"]})

def update_task(p):
    issue = gh("GET", path_of(p))
    change = {new: p[old] for old, new in {"name": "title", "assignees": "assignees"}.items() if old in p}
    if "description" in p:
        change["body"] = p["description"] + KEY.search(issue["body"] or "")[0]
    if "labels" in p:
        change["labels"] = [label["name"] for label in labels(issue, True)] + p["labels"]
    gh("PATCH", path_of(p), change)

def create_task(p):
    queue, key = named(p["queue"]), f"\n\n<!-- lanes-key: {p['key']} -->" if p.get("key") else ""
    for issue in pages(f"/issues?state=all&creator={gh('GET', 'user')['login']}") if key else []:
        if (issue["body"] or "").endswith(key):
            return card(issue)
    issue = {"title": p["name"], "body": p.get("description", "") + key, "labels": [queue["label"]]}
    return card(gh("POST", "/issues", issue))

def get_queue(p):
    return named(p["queue"])

def initialize(settings, secrets):
    config.update(settings)
    environment.update(secrets, GH_PROMPT_DISABLED="1")
    user = gh("GET", "user")
    return {"name": "github", "version": "1", "user": {"id": str(user["id"]), "name": user["login"]}, "can": ["labels"]}

serve(initialize, (get_ready_tasks, get_task, move_task, add_comment, update_task, create_task, list_queues, get_queue))
