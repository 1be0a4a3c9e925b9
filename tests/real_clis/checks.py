"""Real agents' programs under a real dispatcher: what becomes of each kind of run.

Run by tests/real_clis.sh, which prepares programs and namespaces. A check asserts on what `lanes`
says, on the store, and on what the scripted model was asked.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import sys
import time
import traceback

import chats
from lab import BOUND, Failed, Lab, Skipped, expect, wait_until

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


@for_each_vendor("a conversation goes on in the next task")
def conversations(lab, vendor):
    first = lab.submit("[[echo:one]]")
    lab.dispatch()
    session = lab.response(first)["metadata"]["session_id"]
    before = lab.requests()[-1]
    second = lab.submit("[[echo:two]]", session_id=session)
    lab.dispatch()
    answer = lab.response(second)
    expect(answer["body"] == "two", answer)
    expect(answer["metadata"]["session_id"] == session, answer)
    expect(lab.requests()[-1]["messages"] > before["messages"], "it began anew", lab.requests())
    tokens = answer["metadata"]["tokens"]
    expect(tokens["input"] == lab.requests()[-1]["usage"]["in"], "not this run's tokens alone:", tokens)


def endless_tool(lab, vendor):
    """A task whose tool never ends, and the file that appears when it runs."""
    file = lab.project / "started"
    script = f"import time; open('{file}', 'w').close(); time.sleep(600)"
    return lab.submit(f'[[usage:900,90,9,7]][[tool:bash:python3 -c "{script}"]]'), file


def with_python(vendor, more=""):
    """Settings under which a tool may run python3."""
    if vendor == "claude":
        return more + 'routes: {work: {vendor: claude, allowed_tools: ["Bash(python3 *)"]}}\n'
    return more + VENDORS[vendor]


@for_each_vendor("a run whose task is cancelled is ended with all that it started")
def cancelled(lab, vendor):
    lab.configure(with_python(vendor))
    task, file = endless_tool(lab, vendor)
    with lab.dispatching() as dispatcher:
        wait_until(file.exists, "the tool runs")
        lab.lanes("cancel", task)
        dispatcher.wait(timeout=BOUND)
    expect(lab.task(task)["failure_class"] == "cancelled", lab.task(task))
    expect(not lab.left_over(), "a run left processes behind:", lab.left_over())


def timed_out(lab, vendor):
    lab.configure(with_python(vendor, "timeout: 10\n"))
    task, file = endless_tool(lab, vendor)
    lab.dispatch()  # fails if anything is left behind
    expect(file.exists(), "the tool did not start within the time")
    ended = lab.task(task)
    expect(ended["state"] == "failed" and ended["failure_class"] == "timeout", ended)
    return lab.response(task)["metadata"], lab.json("stats")["stats"]["vendors"][vendor]


#: What each service answers to a key that it does not know.
REFUSED_KEY = {
    "claude": '401:{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}',
    "codex": '401:{"error":{"code":"invalid_api_key","message":"Incorrect API key provided: sk-dummy."}}',
    "gemini": '400:{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.",'
    '"status":"INVALID_ARGUMENT"}}',
    "opencode": '401:{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}',
}


@for_each_vendor("a refused key is the account's fault: tasks keep their attempts, one tries again")
def refused_keys(lab, vendor):
    lab.configure(f"max_concurrent: 1\n{VENDORS[vendor]}")
    tasks = [lab.submit(f"[[fail:{REFUSED_KEY[vendor]}]]"), lab.submit("[[echo:second]]"), lab.submit("[[echo:third]]")]
    lab.dispatch()
    expect(lab.unready().keys() == {vendor}, lab.unready())
    for task in tasks:
        expect(lab.task(task)["state"] in ("queued", "scheduled"), lab.task(task))
        expect(lab.task(task)["attempt"] == 0, lab.task(task))
    expect(lab.json("why", tasks[0])["reason"] == "vendor_unready", lab.json("why", tasks[0]))
    expect(not any("second" in row["prompt"] for row in lab.requests()), "another task was tried")
    lab.lanes("cancel", tasks[0])
    lab.lanes("resume", "--vendor", vendor)
    lab.dispatch()
    expect([lab.response(task)["body"] for task in tasks[1:]] == ["second", "third"], lab.response(tasks[1]))
    expect(not lab.unready(), lab.unready())


# --- claude ------------------------------------------------------------------------------------

CLAUDE = VENDORS["claude"]


@check("claude", "a tool that is not allowed is denied, and told", CLAUDE)
def claude_denied(lab):
    task = lab.submit("[[tool:bash:python3 -c 'open(\"forbidden\", \"w\")']] [[echo:done]]")
    lab.dispatch()
    answer = lab.response(task)
    expect(not (lab.project / "forbidden").exists(), "a tool ran that nobody allowed")
    denied = answer["metadata"]["denied_tools"]
    expect(len(denied) == 1 and denied[0].startswith("Bash: python3 -c"), denied)


@check(
    "claude",
    "a person is asked about tools that are not allowed",
    "routes: {work: {vendor: claude, permission_prompts: ask, silence_timeout: 10}}\n",
)
def claude_asks(lab):
    python = "python3 -c 'open(\"made-%s\", \"w\")'"
    calls = "".join(f"[[tool:bash:{python % name}]]" for name in ("one", "two"))
    task = lab.submit(f"{calls}[[echo:done]]")

    def question(number):
        questions = lab.task(task).get("questions") or []
        return next((each for each in questions if each["n"] == number and each["answer"] is None), None)

    with lab.dispatching():
        asked = wait_until(lambda: question(1), "the first question")
        expect(asked["tool"] == "Bash" and "made-one" in asked["question"], asked)
        lab.lanes("answer", task, "--choice", "allow")
        asked = wait_until(lambda: question(2), "the second question")
        expect("made-two" in asked["question"], asked)
        lab.lanes("answer", task, "--body", "Not in this directory.")
    answer = lab.response(task)
    expect(answer["body"] == "done", answer)
    expect((lab.project / "made-one").exists(), "what was allowed did not run")
    expect(not (lab.project / "made-two").exists(), "what was denied ran")
    expect(lab.task(task)["attempt"] == 1, lab.task(task))


TELLS = "routes: {work: {vendor: claude, allowed_tools: ['Bash(lanes tell *)']}}\n"


@check("claude", "a message reaches the model in the run, after a tool call", TELLS)
def claude_message(lab):
    prompt = "[[tool:bash:lanes tell --group here UseTheNewOne]] [[echo:done]]"
    task = lab.lanes("submit", "--lane", "work", "--group", "here", "--prompt", prompt,
                     "--worktree-path", str(lab.project))
    lab.dispatch()
    expect(lab.response(task)["body"] == "done", lab.response(task))
    expect(lab.task(task)["messages"][0]["read_by"], lab.task(task))
    expect(lab.response(task)["metadata"]["num_turns"] == 2, "it took another round", lab.response(task))
    last = lab.requests()[-1]["last"]
    expect("Message 1 from" in last and "UseTheNewOne" in last and "written by others" in last, last)


@check("claude", "no allowed command starts a program of the agent's choice", CLAUDE)
def claude_allowed_commands(lab):
    tools = (
        "lanes dispatch --command -- touch by-dispatch",
        "git -c alias.x='!touch by-alias' x",
        "git commit --allow-empty -m fine",
    )
    task = lab.submit("".join(f"[[tool:bash:{tool}]]" for tool in tools) + "[[echo:done]]")
    lab.dispatch()
    expect(len(lab.response(task)["metadata"]["denied_tools"]) == 2, lab.response(task))
    made = [path.name for path in lab.dir.rglob("by-*")]
    expect(not made, "an allowed command ran", made)
    expect("fine" in lab.git("log", "--oneline"), "a commit was refused")


@check("claude", "what a project brings starts nothing, and its CLAUDE.md is read", CLAUDE)
def claude_project_settings(lab):
    mark = f"touch {lab.dir}/ran-"
    hook = {"SessionStart": [{"hooks": [{"type": "command", "command": f"{mark}hook"}]}]}
    settings = {"hooks": hook, "apiKeyHelper": f"{mark}helper; echo sk-x", "env": {"FROM_PROJECT": "yes"}}
    (lab.project / ".claude").mkdir()
    for name in ("settings.json", "settings.local.json"):
        (lab.project / ".claude" / name).write_text(json.dumps(settings))
    server = {"command": "sh", "args": ["-c", f"{mark}server; cat"]}
    (lab.project / ".mcp.json").write_text(json.dumps({"mcpServers": {"theirs": server}}))
    (lab.project / "CLAUDE.md").write_text("PROJECT-NOTE: tests live in tests/.\n")
    task = lab.submit("[[echo:done]]")
    lab.dispatch()
    expect(lab.response(task)["status"] == "completed", lab.response(task))
    ran = [path.name for path in lab.dir.glob("ran-*")]
    expect(not ran, "the project ran programs:", ran)
    expect(lab.requests()[0]["has_project_note"], "CLAUDE.md of the project is not read")
    # The same project starts them once a route says that it is trusted: the check can fail.
    lab.configure("routes: {work: {vendor: claude, setting_sources: [user, project]}}\n")
    lab.submit("[[echo:done]]")
    lab.dispatch()
    expect((lab.dir / "ran-hook").exists(), "setting_sources has no effect")


SUB_AGENT = (
    '[[tool:Task:{"description":"d","prompt":"[[sleep:SLEEP]][[usage:5000,500,50,60]][[echo:found it]]",'
    '"subagent_type":"general-purpose","run_in_background":BACKGROUND}]]'
)


def sub_agent(background, sleep=0):
    return SUB_AGENT.replace("BACKGROUND", str(background).lower()).replace("SLEEP", str(sleep))


@check("claude", "an answer comes after agents in the background", CLAUDE)
def claude_background(lab):
    task = lab.submit(f"{sub_agent(True, sleep=4)}[[echo:all in]]")
    lab.dispatch()
    answer = lab.response(task)
    expect(answer["body"] == "all in", answer)
    expect("background_cut_short" not in answer["metadata"], answer)
    turns = [row for row in lab.requests() if "[[sleep" not in row["prompt"][:10]]
    expect(len(lab.requests()) == 4 and turns, "the last turn is missing", lab.requests())


@check("claude", "background agents that are cut short make an answer partial", CLAUDE)
def claude_cut_short(lab):
    task = lab.submit(f"{sub_agent(True, sleep=30)}[[echo:interim]]")
    lab.dispatch(env={"CLAUDE_CODE_PRINT_BG_WAIT_CEILING_MS": "1000"})
    answer = lab.response(task)
    expect(answer["body"] == "interim", answer)
    expect(answer["metadata"]["outcome"] == "partial", answer)
    expect(len(answer["metadata"]["background_cut_short"]) == 1, answer)


@check("claude", "a commit goes to the worktree's repository, whatever a git hook left in the environment", CLAUDE)
def claude_in_a_hook(lab):
    other = lab.workspace / "other"
    lab.git("init", "-q", str(other))
    hook = {"GIT_DIR": f"{other}/.git", "GIT_WORK_TREE": str(other), "GIT_INDEX_FILE": f"{other}/.git/index"}
    lab.submit("[[tool:bash:git commit --allow-empty -m from-agent]][[echo:done]]")
    lab.dispatch(env=hook)
    expect("from-agent" in lab.git("log", "--oneline"), "no commit")
    elsewhere = lab.git("-C", str(other), "log", "--all", "--oneline")
    expect("from-agent" not in elsewhere, "it went to the repository of the hook")


@check("claude", "tokens and costs of sub-agents count", CLAUDE)
def claude_sub_agents(lab):
    task = lab.submit(f"[[usage:1000,100,10,20]]{sub_agent(False)}[[echo:done]]")
    lab.dispatch()
    about = lab.response(task)["metadata"]
    billed = [row["usage"] for row in lab.requests()]
    expect(len(billed) == 3, billed)
    kinds = {"input": "in", "output": "out", "cache_read": "cache_read", "cache_write": "cache_write"}
    total = {kind: sum(usage[name] for usage in billed) for kind, name in kinds.items()}
    expect(about["tokens"] == total, about["tokens"], total)
    (by_model,) = about["model_usage"].values()
    expect(by_model["input"] == total["input"] and by_model["cost_usd"] == about["cost_usd"], by_model)
    all_runs = lab.json("stats")["stats"]["all"]
    expect(all_runs["tokens"] == total, all_runs)
    expect(all_runs["cost_usd"] == about["cost_usd"] and about["cost_usd"] > 0, all_runs)


@check("claude", "a run that takes too long counts with the least that it used")
def claude_timeout(lab):
    about, stats = timed_out(lab, "claude")
    expect(about["at_least_tokens"]["input"] == 900, about)
    expect(about["at_least_tokens"]["cache_read"] == 9, about)
    expect("cost_usd" not in about and "tokens" not in about, about)
    expect(stats["runs_at_least"] == 1 and stats["at_least_tokens"]["input"] == 900, stats)


def limit(kind, seconds, times="", more=""):
    """A refusal because of a limit of this kind, that ends in so many seconds."""
    head = f"anthropic-ratelimit-unified-representative-claim={kind};anthropic-ratelimit-unified-reset=+{seconds}"
    return f"[[fail:429{times}:limit]][[head:anthropic-ratelimit-unified-status=rejected;{head}{more}]]"


def pause_after(lab, task, vendor, env=None):
    """What is on record of the pause that a run of this task met, and in how many seconds it ends."""
    before = time.time()
    lab.dispatch(env=env)
    parked = lab.parked()[vendor]
    expect(lab.task(task)["state"] in ("queued", "scheduled"), lab.task(task))
    expect(lab.task(task)["attempt"] == 0, "a limit spent an attempt", lab.task(task)["attempt"])
    return parked, lab.instant(parked["until"]) - before


@check("claude", "a limit is waited for until just after the instant that its event names", CLAUDE)
def claude_limit(lab):
    task = lab.submit(limit("five_hour", 3600))
    parked, seconds = pause_after(lab, task, "claude", lab.subscription())
    expect(parked["named"] and parked["exact"], parked)
    expect(3600 <= seconds <= 3600 + 30, seconds)
    expect(len(lab.requests()) == 1, "it was asked again", len(lab.requests()))
    expect(lab.json("why", task)["reason"] == "vendor_parked", lab.json("why", task))


@check("claude", "a limit met in the minute of its reset is over in seconds, and then the task is done", CLAUDE)
def claude_limit_in_its_minute(lab):
    task = lab.submit(limit("five_hour", 2, times="x1") + "[[echo:after the limit]]")
    parked, seconds = pause_after(lab, task, "claude", lab.subscription())
    expect(seconds < 30, "left alone for", seconds, "s", parked)
    wait_until(lambda: time.time() > lab.instant(parked["until"]), "the pause is over", 60)
    lab.dispatch(env=lab.subscription())
    expect(lab.response(task)["body"] == "after the limit", lab.response(task))
    expect(lab.task(task)["attempt"] == 1, lab.task(task))


@check("claude", "a limit without a time is waited for by guess", CLAUDE)
def claude_limit_without_time(lab):
    task = lab.submit("[[fail:429:Number of request tokens has exceeded your rate limit]]")
    parked, seconds = pause_after(lab, task, "claude", {"CLAUDE_CODE_MAX_RETRIES": "1"})
    expect(not parked["named"], parked)
    expect(100 < seconds < 330, seconds)


@check("claude", "without a key nothing is spent: it is not logged in", CLAUDE)
def claude_not_logged_in(lab):
    task = lab.submit("[[echo:done]]")
    lab.dispatch(env={"ANTHROPIC_API_KEY": None})
    expect(lab.unready()["claude"]["kind"] == "account", lab.unready())
    expect(lab.task(task)["attempt"] == 0 and not lab.requests(), lab.task(task))


@check("claude", "a limit of one model leaves the others at work", CLAUDE)
def claude_limit_of_a_model(lab):
    opus = lab.submit(limit("seven_day_opus", 200000), model_class="opus")
    sonnet = lab.submit("[[echo:by sonnet]]", model_class="sonnet")
    lab.dispatch(env=lab.subscription())
    expect(list(lab.parked()) == ["claude/opus"], lab.parked())
    expect(lab.task(opus)["attempt"] == 0, lab.task(opus))
    expect(lab.response(sonnet)["body"] == "by sonnet", lab.task(sonnet))


@check("claude", "an overloaded service is a short pause", CLAUDE)
def claude_overloaded(lab):
    task = lab.submit("[[fail:529:Overloaded]]")
    parked, seconds = pause_after(lab, task, "claude")
    expect(parked["kind"] == "overloaded" and 20 < seconds < 90, parked)


@check("claude", "a warning about a limit is no limit", CLAUDE)
def claude_warning(lab):
    names = ("status=allowed_warning", "reset=+3600", "representative-claim=five_hour", "5h-utilization=0.95")
    head = ";".join(f"anthropic-ratelimit-unified-{name}" for name in names)
    task = lab.submit(f"[[head:{head}]][[echo:done]]")
    lab.dispatch(env=lab.subscription())
    expect(lab.response(task)["body"] == "done", lab.response(task))
    expect(not lab.parked(), lab.parked())


# --- codex -------------------------------------------------------------------------------------

CODEX = VENDORS["codex"]
COMMIT = "[[tool:bash:date +%N >>f && git add f && git commit -qm by-codex; echo code $?]]"


def sandbox_works(lab):
    """codex wraps tools in a sandbox of the kernel's, which not every kernel and container allows."""
    task = lab.submit("[[tool:bash:echo it $((40 + 2)) runs]]")
    lab.dispatch()
    body = (lab.response(task) or {}).get("body", "")
    if "it 42 runs" not in body:
        raise Skipped(f"codex has no sandbox here: {body[:100]}")


@check("codex", "it can commit in its sandbox, also in a linked worktree", CODEX)
def codex_commits(lab):
    sandbox_works(lab)
    task = lab.submit(COMMIT)
    lab.dispatch()
    expect("by-codex" in lab.git("log", "--oneline"), lab.response(task))
    linked = lab.workspace / "linked"
    lab.git("worktree", "add", "-q", str(linked), "-b", "side")
    task = lab.submit(COMMIT.replace("-qm by-codex", "-qm by-codex-there"), worktree=linked)
    lab.dispatch()
    expect("by-codex-there" in lab.git("log", "--oneline", "side"), lab.response(task))


@check("codex", "git_writable: false keeps the repository read-only", CODEX)
def codex_does_not_commit(lab):
    sandbox_works(lab)
    lab.configure("routes: {work: {vendor: codex, git_writable: false}}\n")
    task = lab.submit(COMMIT)
    lab.dispatch()
    expect("by-codex" not in lab.git("log", "--oneline"), "it could commit", lab.response(task))
    denied = lab.response(task)["metadata"]["denied_tools"]
    expect(len(denied) == 1 and "Read-only file system" in denied[0], "it is not told", denied)


@check("codex", "what an untrusted project brings starts nothing", CODEX)
def codex_project_settings(lab):
    mark = f"touch {lab.dir}/ran-"
    (lab.project / ".codex").mkdir()
    (lab.project / ".codex" / "config.toml").write_text(
        f'notify = ["touch", "{lab.dir}/ran-notify"]\n'
        f'[mcp_servers.theirs]\ncommand = "sh"\nargs = ["-c", "{mark}server; cat"]\n'
    )
    hook = {"hooks": {"SessionStart": [{"hooks": [{"type": "command", "command": f"{mark}hook"}]}]}}
    (lab.project / ".codex" / "hooks.json").write_text(json.dumps(hook))
    task = lab.submit("[[echo:done]]")
    lab.dispatch()
    expect(lab.response(task)["body"] == "done", lab.response(task))
    ran = [path.name for path in lab.dir.glob("ran-*")]
    expect(not ran, "the project ran programs:", ran)


@check("codex", "a run that takes too long says that it told nothing")
def codex_timeout(lab):
    about, stats = timed_out(lab, "codex")
    expect("cost_usd" not in about and "tokens" not in about, about)
    expect(stats["runs_untold"] == 1, stats)


PRICED = "prices: {gpt-5.5: {input: 2, output: 10, cache_read: 1}}\nroutes: {work: {vendor: codex, model: gpt-5.5}}\n"


@check("codex", "costs come from the prices in the configuration", PRICED)
def codex_prices(lab):
    task = lab.submit("[[usage:1000,100,200,0]][[echo:done]]")
    lab.dispatch()
    about = lab.response(task)["metadata"]
    expect(about["cost_source"] == "computed", about)
    expect(abs(about["cost_usd"] - (800 * 2 + 100 * 10 + 200 * 1) / 1e6) < 1e-9, about)


def codex_refusal(seconds, times=""):
    error = f'{{"type":"usage_limit_reached","message":"m","plan_type":"plus","resets_at":+{seconds}s}}'
    return f'[[fail:429{times}:{{"error":{error}}}]]'


@check("codex", "a limit is waited for until after the minute that its words name", CODEX)
def codex_limit(lab):
    task = lab.submit(codex_refusal(7200))
    parked, seconds = pause_after(lab, task, "codex")
    expect(parked["named"], parked)
    # The words are cut to the minute.
    expect(7200 - 60 + 60 <= seconds <= 7200 + 100, seconds)


@check("codex", "a limit met in the minute of its reset is over in minutes, not tomorrow", CODEX)
def codex_limit_in_its_minute(lab):
    task = lab.submit(codex_refusal(1))
    parked, seconds = pause_after(lab, task, "codex")
    expect(0 < seconds < 200, seconds, parked)


@check("codex", "a cap on what may be spent leaves the vendor alone", CODEX)
def codex_spend_cap(lab):
    head = "x-codex-rate-limit-reached-type=workspace_member_usage_limit_reached"
    task = lab.submit(f"{codex_refusal(3600)}[[head:{head}]]")
    lab.dispatch()
    expect("codex" in {**lab.parked(), **lab.unready()}, lab.task(task))
    expect(lab.task(task)["attempt"] == 0, lab.task(task))


@check("codex", "a model that the service does not have fails at once, for good", CODEX)
def codex_no_such_model(lab):
    lab.configure("max_retries: 3\n" + CODEX)
    task = lab.submit('[[fail:400:{"detail":"The model is not supported when using Codex with a ChatGPT account."}]]')
    lab.dispatch()
    expect(lab.task(task)["failure_class"] == "permanent", lab.task(task))
    expect(len(lab.requests()) == 1, "it was tried again", len(lab.requests()))


@check("codex", "a limit of days is read with its date", CODEX)
def codex_limit_of_days(lab):
    task = lab.submit(codex_refusal(3 * 86400))
    parked, seconds = pause_after(lab, task, "codex")
    expect(3 * 86400 <= seconds <= 3 * 86400 + 100, seconds, parked)


# --- claude and codex --------------------------------------------------------------------------


def resumes(lab, vendor, refusal, env=None):
    """A run that had begun its work meets a limit; the next attempt goes on with its conversation."""
    lab.configure(f"resume_on: [limit]\n{VENDORS[vendor]}")
    task = lab.submit(f"[[tool:bash:git status]]{refusal}[[echo:not again]]")
    lab.dispatch(env=env)
    expect(vendor in lab.parked(), lab.parked(), lab.task(task))
    expect([row["status"] for row in lab.requests()] == [200, 429], lab.requests())
    lab.end_pauses()
    lab.dispatch(env=env)
    answer = lab.response(task)
    expect(answer["status"] == "completed" and answer["body"] != "not again", answer)
    last, refused = lab.requests()[-1], lab.requests()[1]
    expect(last["messages"] >= refused["messages"] > 2, "it began anew", last["messages"], refused["messages"])
    expect(lab.task(task)["attempt"] == 1, "a limit spent an attempt", lab.task(task))


@check("claude", "after a limit it goes on with its conversation where resume_on says so")
def claude_resumes(lab):
    resumes(lab, "claude", limit("five_hour", 3600, times="x2-2"), lab.subscription())


@check("codex", "after a limit it goes on with its conversation where resume_on says so")
def codex_resumes(lab):
    resumes(lab, "codex", codex_refusal(3600, times="x2-2"))


# --- as clients of `lanes mcp` -------------------------------------------------------------------

for_each_vendor("a chat lists what there is")(chats.lists)
for_each_vendor("a chat delegates to an agent and reads its answer")(chats.delegates)
for_each_vendor("a chat takes a task of the queue")(chats.works)
check("codex", "a chat that nobody watches runs the tools that it may")(chats.unattended)
for client in ("claude", "codex"):
    check(client, "a chat delegates over HTTP")(lambda lab, client=client: chats.delegates_over_http(lab, client))
for client in ("claude", "codex"):
    check(client, "an agent that delegates to itself is refused")(lambda lab, client=client: chats.recurs(lab, client))
check("mcp-inspector", "it lists the tools and calls one of each kind")(chats.inspects)
check("codex", "a run outlasts the calls of a chat")(chats.outlasts)
for client in ("claude", "codex"):
    check(client, "a chat whose call is cut off finds its run again")(
        lambda lab, client=client: chats.repeats(lab, client)
    )


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
