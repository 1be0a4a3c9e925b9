"""Real programs as clients of `lanes mcp`: a chat that delegates, and one that works on the queue."""

import json
import os
import re
import subprocess

from lab import BOUND, expect

#: What a client calls a tool of a server that is registered as `lanes`.
TOOL_NAMES = {
    "claude": "mcp__lanes__{}",
    "codex": "mcp__lanes__{}",
    "gemini": "mcp_lanes_{}",
    "opencode": "lanes_{}",
}


def register(lab, vendor, *more):
    """Registers the server as a person would; what else the client needs on its command line."""
    arguments = ["--config", str(lab.workspace / "handoff.yaml"), "mcp", *more]
    server = {"command": str(lab.lanes_binary), "args": arguments}
    if vendor == "claude":
        file = lab.dir / "mcp.json"
        file.write_text(json.dumps({"mcpServers": {"lanes": server}}))
        return ["--strict-mcp-config", "--mcp-config", str(file), "--allowedTools", "mcp__lanes"]
    if vendor == "codex":
        with open(lab.home / ".codex" / "config.toml", "a", encoding="utf-8") as config:
            config.write(f"[mcp_servers.lanes]\ncommand = {json.dumps(server['command'])}\n")
            config.write(f"args = {json.dumps(arguments)}\n")
            config.write('[mcp_servers.lanes.tools.delegate]\napproval_mode = "approve"\n')
        return []
    if vendor == "gemini":
        file = lab.home / ".gemini" / "settings.json"
        settings = json.loads(file.read_text())
        settings["mcpServers"] = {"lanes": {**server, "trust": True}}
        file.write_text(json.dumps(settings))
        return []
    file = lab.home / ".config" / "opencode" / "opencode.json"
    settings = json.loads(file.read_text())
    settings["mcp"] = {"lanes": {"type": "local", "command": [server["command"], *arguments], "enabled": True}}
    file.write_text(json.dumps(settings))
    return []


def chat(lab, vendor, prompt, options, env=None, bound=BOUND):
    """What a client prints after one prompt."""
    program = {
        "claude": ["claude", "-p", *options],
        "codex": ["codex", "exec", "--skip-git-repo-check", "-s", "read-only", *options, "-"],
        "gemini": ["gemini", "-m", "gemini-2.5-flash", "--skip-trust", "--approval-mode", "yolo", *options],
        "opencode": ["opencode", "run", *options],
    }[vendor]
    done = subprocess.run(
        program,
        input=prompt,
        env={**lab.environment(), **(env or {})},
        cwd=lab.project,
        capture_output=True,
        text=True,
        timeout=bound,
        check=False,
    )
    expect(done.returncode == 0, program, "exits with", done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


def call(vendor, tool, **arguments):
    """The marker by which the scripted model calls a tool."""
    return f"[[tool:{TOOL_NAMES[vendor].format(tool)}:{json.dumps(arguments)}]]"


def lists(lab, vendor):
    options = register(lab, vendor)
    printed = chat(lab, vendor, call(vendor, "jobs"), options)
    expect("no tasks" in printed, printed)


def delegates_over_http(lab, vendor):
    """The client is registered with the lines of docs/mcp.md."""
    lab.configure("routes: {agent/words: {command: /usr/bin/wc, args: [-w]}}\n")
    with lab.serving("--mcp") as address:
        url, options = f"{address}/mcp", []
        token = (lab.workspace / "state" / "serve.token").read_text().strip()
        if vendor == "claude":
            words = ["claude", "mcp", "add", "--transport", "http", "lanes", url]
            words += ["--header", f"Authorization: Bearer {token}"]
            subprocess.run(words, env=lab.environment(), cwd=lab.project, capture_output=True, timeout=BOUND, check=True)
            options = ["--allowedTools", "mcp__lanes"]
        else:
            with open(lab.home / ".codex" / "config.toml", "a", encoding="utf-8") as config:
                config.write(f'[mcp_servers.lanes]\nurl = "{url}"\nbearer_token_env_var = "LANES_TOKEN"\n')
                config.write('tool_timeout_sec = 900\n[mcp_servers.lanes.tools.delegate]\napproval_mode = "approve"\n')
        with lab.dispatching_for_others("--lane", "agent/words"):
            prompt = call(vendor, "delegate", agent="words", task="one two three", wait=60)
            printed = chat(lab, vendor, prompt, options, {"LANES_TOKEN": token})
    expect("done " in printed and "agent=words" in printed, printed)


def delegates(lab, vendor):
    lab.configure("routes: {agent/words: {command: /usr/bin/wc, args: [-w]}}\n")
    options = register(lab, vendor)
    with lab.dispatching_for_others("--lane", "agent/words"):
        prompt = call(vendor, "delegate", agent="words", task="one two three", wait=60)
        printed = chat(lab, vendor, prompt, options)
    expect("done " in printed and "agent=words" in printed, printed)


def repeats(lab, vendor):
    """The client gives up on the first call; the second is the same, and finds the run that goes on."""
    script = "echo run >> runs; sleep 6; echo finished"
    lab.configure(f"routes: {{agent/slow: {{command: /bin/sh, args: [-c, '{script}'], cwd: {lab.project}}}}}\n")
    options = register(lab, vendor)
    env = {}
    if vendor == "claude":
        env = {"MCP_TOOL_TIMEOUT": "3000"}
    else:
        config = lab.home / ".codex" / "config.toml"
        config.write_text(config.read_text().replace("[mcp_servers.lanes]\n", "[mcp_servers.lanes]\ntool_timeout_sec = 3\n"))
    with lab.dispatching_for_others("--lane", "agent/slow"):
        marker = call(vendor, "delegate", agent="slow", task="go", wait=45)
        # Two calls of three seconds end before the run does, the third sees its answer.
        printed = chat(lab, vendor, " ".join([marker] * 3), options, env)
    expect("done " in printed and "finished" in printed, printed)
    expect((lab.project / "runs").read_text() == "run\n", "it ran more than once")


def outlasts(lab):
    """A run takes longer than codex lets a call take, which is 300 seconds: the first call returns before that.

    LANES_SLOW_RUN_SECONDS=360 waits that long. By default the server is told that calls are short.
    """
    seconds = int(os.environ.get("LANES_SLOW_RUN_SECONDS", "8"))
    script = f"echo run >> runs; sleep {seconds}; echo finished"
    lab.configure(f"routes: {{agent/slow: {{command: /bin/sh, args: [-c, '{script}'], cwd: {lab.project}}}}}\n")
    register(lab, "codex", *([] if seconds > 240 else ["--max-wait", "5"]))
    delegate = call("codex", "delegate", agent="slow", task="go", wait=600)
    with lab.dispatching_for_others("--lane", "agent/slow"):
        printed = chat(lab, "codex", delegate, [], bound=BOUND + seconds)
        expect("running " in printed and "agent=slow" in printed, printed)
        task = re.search(r"running (\S+)", printed)[1]
        printed = chat(lab, "codex", call("codex", "wait", ids=[task], seconds=600), [], bound=BOUND + seconds)
    expect("done " in printed and "finished" in printed, printed)
    expect((lab.project / "runs").read_text() == "run\n", "it ran more than once")


def recurs(lab, vendor):
    """An agent that delegates to itself, by a server that codex starts without the environment of the run."""
    options = register(lab, vendor)
    route = f"vendor: {vendor}, mcp: inherit"
    if vendor == "claude":
        route += f", mcp_config: {options[2]}, allowed_tools: [mcp__lanes]"
    lab.configure(f"routes: {{agent/self: {{{route}}}}}\n")
    prompt = call(vendor, "delegate", agent="self", task="again", wait=0)
    task = lab.lanes("submit", "--lane", "agent/self", "--prompt", prompt)
    lab.dispatch("--lane", "agent/self")
    body = lab.response(task)["body"]
    expect("error (recursion): the agent self is already above this task: self" in body, body)
    expect(len(lab.json("list", "--lane", "agent/self")["tasks"]) == 1, "it was submitted")
    lab.configure(f"routes: {{agent/self: {{{route.replace('inherit', 'off')}}}}}\n")
    task = lab.lanes("submit", "--lane", "agent/self", "--prompt", prompt + " without tools")
    lab.dispatch("--lane", "agent/self")
    body = lab.response(task)["body"]
    expect("recursion" not in body and "queued " not in body, body)


def works(lab, vendor):
    task = lab.lanes("submit", "--lane", "work", "--prompt", "Say yes.")
    options = register(lab, vendor)
    printed = chat(lab, vendor, call(vendor, "claim_next", lane="work", wait=0), options)
    expect(f"claimed {task}" in printed, printed)
    expect(lab.task(task)["state"] == "claimed", lab.task(task))


def inspects(lab):
    """The inspector of the protocol checks what it gets against its schemas."""
    lab.configure("routes: {agent/words: {command: /usr/bin/wc, args: [-w]}}\n")

    def ask(*request):
        variable = f"LANES_CONFIG={lab.workspace / 'handoff.yaml'}"
        command = ["mcp-inspector", "--cli", "-e", variable, str(lab.lanes_binary), "mcp", "--method", *request]
        done = subprocess.run(
            command, env=lab.environment(), cwd=lab.project, capture_output=True, text=True, timeout=BOUND
        )
        expect(done.returncode == 0, done.stdout, done.stderr)
        return json.loads(done.stdout)

    def text_of(tool, *arguments):
        given = [word for argument in arguments for word in ("--tool-arg", argument)]
        return ask("tools/call", "--tool-name", tool, *given)["content"][0]["text"]

    names = {tool["name"] for tool in ask("tools/list")["tools"]}
    expect({"delegate", "wait", "result", "jobs", "claim_next", "respond"} <= names, names)
    expect("- words" in text_of("agents"), "no agent")
    with lab.dispatching_for_others("--lane", "agent/words"):
        answer = text_of("delegate", "agent=words", "task=one two three", "wait=60")
    expect(answer.startswith("done ") and "agent=words" in answer, answer)
    expect(text_of("wait", 'ids=["nothing"]', "seconds=0").startswith("error (not_found)"), "an unknown id")


def unattended(lab):
    """Where nobody can be asked, codex runs what only reads or works on the queue, and `--approve` adds the rest."""
    lab.configure("routes: {agent/words: {command: /usr/bin/wc, args: [-w]}}\n")
    task = lab.lanes("submit", "--lane", "work", "--prompt", "Say yes.")
    delegate = call("codex", "delegate", agent="words", task="one two three", wait=60)
    lab.lanes("mcp", "install", "--client", "codex")
    with lab.dispatching_for_others("--lane", "agent/words"):
        for tool, arguments, expected in [
            ("jobs", {}, task),
            ("wait", {"ids": [task], "seconds": 0}, "queued"),
            ("result", {"id": task, "part": "prompt"}, "Say yes."),
            ("claim_next", {"lane": "work", "wait": 0}, f"claimed {task}"),
        ]:
            printed = chat(lab, "codex", call("codex", tool, **arguments), [])
            expect(expected in printed, tool, printed)
        token = re.search(r"token[=: ]+([0-9a-f]{32})", printed)[1]
        report = call("codex", "report", id=task, token=token, do="renew")
        respond = call("codex", "respond", id=task, token=token, text="yes")
        chat(lab, "codex", f"{report} {respond}", [])
        expect(lab.task(task)["state"] == "completed", lab.task(task))
        printed = chat(lab, "codex", delegate, [])
        expect("done " not in printed and "approval" in printed, printed)
        lab.lanes("mcp", "install", "--client", "codex", "--approve")
        printed = chat(lab, "codex", delegate, [])
        expect("done " in printed and "agent=words" in printed, printed)
