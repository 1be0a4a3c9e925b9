#!/usr/bin/env python3
"""A board for `lanes bridge` in a Markdown file: `- [ ] card` under headings, as the Kanban of Obsidian has them.

A heading is a queue. The text of a card is indented below its line, its comments are quotes (`> …`) there, and its id
is a block id at the end of the line (` ^lanes-4f2a`), which is added when the card is first read. Ticked cards are
not taken. Settings: `path`, the file; `checked`, the queues whose cards are ticked (default: Done).
"""
import hashlib, re, secrets
from adapter import Failure, edit_lines, serve

HEADING = re.compile(r"#{1,6}\s+(.*?)\s*#*\s*$")
CARD = re.compile(r"[-*] \[(.)\] (.*?)(?:\s+\^([A-Za-z0-9-]+))?\s*$")
config = {"checked": ["Done"]}

def parse(lines):
    """Returns the queues by name: the end of the last card, and the cards, with the numbers of their lines."""
    queues, queue, card = {}, None, None
    for at, line in enumerate(lines):
        heading, item = HEADING.match(line), CARD.match(line)
        if heading:
            queue, card = queues.setdefault(heading[1], {"cards": []}), None
            queue["end"] = at + 1
        elif item and queue:
            card = {"done": item[1] != " ", "name": item[2], "id": item[3], "start": at, "end": at + 1}
            queue["cards"].append(card)
            queue["end"] = at + 1
        elif card and line.strip() and line[0] in " \t":
            card["end"] = queue["end"] = at + 1
        elif line.strip():
            card = None
    for name, card in ((name, card) for name in queues for card in queues[name]["cards"]):
        text = [re.sub(r"^(\t| {1,4})", "", line) for line in lines[card["start"] + 1:card["end"]]]
        quote = next((at for at, line in enumerate(text) if line.startswith(">")), len(text))
        blocks = re.split(r"\n(?!>)", "\n".join(text[quote:]))
        card["comments"] = [{"text": re.sub(r"^> ?", "", block.strip(), flags=re.M)} for block in blocks if block]
        card |= {"queue": name, "description": "\n".join(text[:quote]).strip("\n"), "quotes": card["start"] + 1 + quote}
    return queues

def on_file(method):
    """Makes a method of a function that edits lines."""
    def wrapped(p):
        return edit_lines(config["path"], lambda lines: method(lines, parse(lines), p))
    wrapped.__name__ = method.__name__
    return wrapped

def named(queues, queue):
    name = queue["id"] if isinstance(queue, dict) else queue
    if name not in queues:
        raise Failure("not_found", f"{config['path']} has no heading '{name}'")
    return name

def find(queues, id):
    found = [card for queue in queues.values() for card in queue["cards"] if card["id"] == id]
    if len(found) != 1:
        raise Failure("invalid" if found else "not_found", f"{config['path']} has {len(found)} cards ^{id}")
    return found[0]

def indented(text, before=""):
    return [("    " + before + line).rstrip() for line in text.split("\n")] if text else []

def title(queue, name, id, done=False):
    return f"- [{'x' if done or queue in config['checked'] else ' '}] {' '.join(name.split())} ^{id}"

def get_ready_tasks(lines, queues, p):
    name = named(queues, p["queue"])
    cards = [card for card in queues[name]["cards"] if not card["done"] or name in config["checked"]][:p["limit"]]
    for card in (card for card in cards if not card["id"]):
        card["id"] = "lanes-" + secrets.token_hex(4)
        lines[card["start"]] = lines[card["start"]].rstrip() + " ^" + card["id"]
    return cards

def get_task(lines, queues, p):
    return find(queues, p["id"])

def move_task(lines, queues, p):
    card, target = find(queues, p["id"]), named(queues, p["queue"])
    if card["queue"] not in (target, named(queues, p.get("expect_queue", card["queue"]))):
        raise Failure("conflict", f"the card is in '{card['queue']}'")
    if card["queue"] != target:
        moved = [title(target, card["name"], card["id"])] + lines[card["start"] + 1:card["end"]]
        at = queues[target]["end"]
        lines[card["start"]:card["end"]] = [None] * len(moved)
        lines[at:at] = moved
        lines[:] = [line for line in lines if line is not None]

def add_comment(lines, queues, p):
    card = find(queues, p["id"])
    if not any(p["marker"] in comment["text"] for comment in card["comments"]):
        lines[card["end"]:card["end"]] = ["", *indented(p["text"], "> ")]

def update_task(lines, queues, p):
    card = find(queues, p["id"])
    text = indented(p.get("description", card["description"])) + [""] * bool(card["comments"])
    head = title(card["queue"], p.get("name", card["name"]), card["id"], card["done"])
    lines[card["start"]:card["quotes"]] = [head, *text]

def create_task(lines, queues, p):
    name, key = named(queues, p["queue"]), p.get("key") or secrets.token_hex(8)
    id = "lanes-" + hashlib.sha256(key.encode()).hexdigest()[:12]  # the same key finds the same card
    if not any(card["id"] == id for queue in queues.values() for card in queue["cards"]):
        at = queues[name]["end"]
        lines[at:at] = [title(name, p["name"], id), *indented(p.get("description"))]
    return find(parse(lines), id)

def get_queue(lines, queues, p):
    return {"id": named(queues, p["queue"]), "name": named(queues, p["queue"])}

def list_queues(lines, queues, p):
    return [{"id": name, "name": name} for name in queues]

def initialize(settings, secrets):
    config.update(settings)
    return {"name": "markdown", "version": "1"}

serve(initialize, map(on_file, (get_ready_tasks, get_task, move_task, add_comment, update_task, create_task, get_queue,
                                list_queues)))
