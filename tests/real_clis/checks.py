"""Real agents' programs under a real dispatcher: what becomes of each kind of run.

Run by tests/real_clis.sh, which prepares programs and namespaces. A check asserts on what `lanes`
says, on the store, and on what the scripted model was asked.
"""

import argparse
import concurrent.futures
import os
import pathlib
import sys
import time
import traceback

from lab import Failed, Lab, Skipped, expect

CHECKS = []


def check(program, words, settings=""):
    """Registers a check: the program it needs, what it shows, and what handoff.yaml says below `dispatch:`."""

    def register(function):
        CHECKS.append((program, words, settings, function))
        return function

    return register


# --- every program -----------------------------------------------------------------------------

#: Without a model gemini first asks another one which to take, and is particular about the answer.
GEMINI = "routes: {work: {vendor: gemini, model: gemini-2.5-flash, args: [--skip-trust]}}\n"
VENDORS = {
    "claude": "routes: {work: {vendor: claude}}\n",
    "codex": "routes: {work: {vendor: codex}}\n",
    "gemini": GEMINI,
    "opencode": "routes: {work: {vendor: opencode}}\n",
}


def for_each_vendor(words):
    def register(function):
        for vendor, settings in VENDORS.items():
            check(vendor, words, settings)(lambda lab, vendor=vendor: function(lab, vendor))
        return function

    return register


@for_each_vendor("an answer, with what is known about its run")
def answers(lab, vendor):
    task = lab.submit("[[echo:It is done.\nVERDICT: accept\nSTATUS: done]]")
    lab.dispatch()
    answer = lab.response(task)
    expect(answer["status"] == "completed", answer)
    expect(answer["body"] == "It is done.\nVERDICT: accept\nSTATUS: done", answer["body"])
    expect(answer["verdict"] == "accept", answer)
    about = answer["metadata"]
    expect(about["vendor"] == vendor, about)
    expect(about["outcome"] == "done", about)
    expect(about["session_id"], about)
    asked = [row for row in lab.requests() if row["usage"]["out"] == about["tokens"]["output"]]
    expect(asked and about["tokens"]["input"] == asked[-1]["usage"]["in"], about["tokens"], asked)
    expect(lab.json("stats")["stats"]["vendors"][vendor]["completed"] == 1)


@for_each_vendor("a tool runs in the task's worktree")
def tools_run(lab, vendor):
    settings = VENDORS[vendor]
    if vendor == "claude":
        settings = 'routes: {work: {vendor: claude, allowed_tools: ["Bash(touch *)"]}}\n'
    lab.configure(settings)
    task = lab.submit("[[tool:bash:touch made-by-agent]] [[echo:done]]")
    lab.dispatch()
    expect(lab.response(task)["body"] == "done", lab.response(task))
    expect((lab.project / "made-by-agent").exists(), "the tool did not run in the worktree")
    expect("denied_tools" not in lab.response(task)["metadata"], lab.response(task))


# --- claude ------------------------------------------------------------------------------------


@check("claude", "a tool that is not allowed is denied, and told")
def claude_denied(lab):
    task = lab.submit("[[tool:bash:python3 -c 'open(\"forbidden\", \"w\")']] [[echo:done]]")
    lab.dispatch("--vendor", "claude")
    answer = lab.response(task)
    expect(not (lab.project / "forbidden").exists(), "a tool ran that nobody allowed")
    denied = answer["metadata"]["denied_tools"]
    expect(len(denied) == 1 and denied[0].startswith("Bash: python3 -c"), denied)


# --- running them ------------------------------------------------------------------------------


def run(lanes, programs, entry):
    """(verdict, name, words) of one check."""
    program, words, settings, function = entry
    name = f"{program}: {words}"
    if not (programs / program).exists():
        return "skipped", name, f"{program} is not installed"
    try:
        with Lab(lanes, programs, settings) as lab:
            function(lab)
        return "ok", name, ""
    except Skipped as reason:
        return "skipped", name, str(reason)
    except Failed as failure:
        line = traceback.extract_tb(failure.__traceback__)
        here = next(frame for frame in reversed(line) if frame.filename == __file__)
        return "FAILED", name, f"line {here.lineno}: {failure}"
    except Exception:  # any surprise is a failed check, and the others go on
        return "FAILED", name, traceback.format_exc()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lanes", required=True, type=pathlib.Path)
    parser.add_argument("--programs", required=True, type=pathlib.Path)
    parser.add_argument("--only", default="", help="only checks whose name contains this")
    options = parser.parse_args()
    chosen = [entry for entry in CHECKS if options.only in f"{entry[0]}: {entry[1]}"]
    started = time.monotonic()
    counts = {"ok": 0, "FAILED": 0, "skipped": 0}
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for verdict, name, words in pool.map(lambda entry: run(options.lanes, options.programs, entry), chosen):
            counts[verdict] += 1
            print(f"{verdict}: {name}" + (f": {words}" if words else ""), flush=True)
    print(
        f"{counts['ok']} passed, {counts['FAILED']} failed, {counts['skipped']} skipped"
        f" in {time.monotonic() - started:.0f} s"
    )
    sys.exit(1 if counts["FAILED"] or not chosen else 0)


if __name__ == "__main__":
    main()
