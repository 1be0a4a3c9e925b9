"""What the checks share: a workspace, a home, the scripted model and `lanes`, all in one directory."""

import contextlib
import datetime
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent

#: Longer than anything here takes on a loaded machine; a hang ends, and fails its check.
BOUND = 120


class Failed(AssertionError):
    """A check that did not see what it expects."""


class Skipped(Exception):
    """A check that cannot be made here."""


def expect(condition, *words):
    if not condition:
        raise Failed(" ".join(str(word) for word in words))


def wait_until(condition, what, bound=BOUND):
    """The value of `condition` once it is true; it is asked again and again."""
    end = time.monotonic() + bound
    while True:
        value = condition()
        if value:
            return value
        expect(time.monotonic() < end, "not within", bound, "seconds:", what)
        time.sleep(0.05)


class Lab:
    """One check's world. Use as a context manager: it ends what it started."""

    def __init__(self, lanes, programs, settings=""):
        self.lanes_binary, self.programs = lanes, programs
        self.settings = settings
        self.children = []

    def __enter__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="real-clis-"))
        self.home = self.dir / "home"
        self.workspace = self.dir / "ws"
        self.project = self.workspace / "project"
        for made in (self.project, self.dir / "tmp", self.home / ".claude"):
            made.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        self.git("commit", "-q", "--allow-empty", "-m", "start")
        self.start_model()
        self.write_settings_of_clis()
        self.configure(self.settings)
        return self

    def __exit__(self, *_):
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()
        left = self.left_over()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.dir, ignore_errors=True)

    def left_over(self):
        """Processes that still live in this home: there must be none once a run is over."""
        mark = f"HOME={self.home}\0".encode()
        found = []
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                # A zombie has no environment left.
                if mark in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def start_model(self):
        port = self.dir / "port"
        self.log_file = self.dir / "model.log"
        self.log_file.touch()
        words = [sys.executable, str(HERE / "fake_llm.py"), "--log", str(self.log_file), "--portfile", str(port)]
        model = subprocess.Popen(words, env={"PATH": os.environ["PATH"]})
        self.children.append(model)
        wait_until(lambda: port.exists() and port.read_text(), "the scripted model listens")
        self.url = f"http://127.0.0.1:{port.read_text()}"

    def write_settings_of_clis(self):
        """Where each program finds the scripted model, and that it looks for nothing else."""
        codex = self.home / ".codex"
        codex.mkdir()
        (codex / "config.toml").write_text(
            'model = "gpt-5.5"\nmodel_provider = "fake"\ncheck_for_update_on_startup = false\n'
            "[analytics]\nenabled = false\n"
            f'[model_providers.fake]\nname = "fake"\nbase_url = "{self.url}/v1"\n'
            'env_key = "FAKE_KEY"\nwire_api = "responses"\n'
        )
        gemini = self.home / ".gemini"
        gemini.mkdir()
        settings = {
            "general": {"enableAutoUpdate": False},
            "privacy": {"usageStatisticsEnabled": False},
            "telemetry": {"enabled": False},
            "security": {"auth": {"selectedType": "gemini-api-key"}},
        }
        (gemini / "settings.json").write_text(json.dumps(settings))
        opencode = self.home / ".config" / "opencode"
        opencode.mkdir(parents=True)
        provider = {
            "npm": "@ai-sdk/anthropic",
            "name": "fake",
            "options": {"baseURL": f"{self.url}/v1", "apiKey": "sk-dummy"},
            "models": {"m1": {"name": "m1", "tool_call": True, "limit": {"context": 200000, "output": 8000}}},
        }
        settings = {
            "autoupdate": False,
            "share": "disabled",
            "model": "fake/m1",
            "small_model": "fake/m1",
            "provider": {"fake": provider},
        }
        (opencode / "opencode.json").write_text(json.dumps(settings))

    def environment(self):
        """Nothing of whoever runs the checks, and no way out."""
        return {
            "HOME": str(self.home),
            "PATH": f"{self.programs}:{self.lanes_binary.parent}:{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "TZ": "UTC",
            "TMPDIR": str(self.dir / "tmp"),
            "CODEX_HOME": str(self.home / ".codex"),
            "GIT_AUTHOR_NAME": "check",
            "GIT_AUTHOR_EMAIL": "check@example.org",
            "GIT_COMMITTER_NAME": "check",
            "GIT_COMMITTER_EMAIL": "check@example.org",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_ERROR_REPORTING": "1",
            "ANTHROPIC_BASE_URL": self.url if hasattr(self, "url") else "",
            "ANTHROPIC_API_KEY": "sk-dummy",
            "FAKE_KEY": "sk-dummy",
            "GEMINI_API_KEY": "dummy",
            "GOOGLE_GEMINI_BASE_URL": self.url if hasattr(self, "url") else "",
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
            "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
            "DO_NOT_TRACK": "1",
        }

    def subscription(self):
        """claude with a subscription instead of a key: only then it tells of limits in events."""
        return {"ANTHROPIC_API_KEY": None, "CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-dummy"}

    def git(self, *words):
        done = subprocess.run(
            ["git", *words], cwd=self.project, env=self.environment(), capture_output=True, text=True, check=False
        )
        expect(done.returncode == 0, "git", words, done.stderr)
        return done.stdout

    def configure(self, settings):
        """handoff.yaml, with this below `dispatch:`."""
        text = "workspace_id: checks\nworkspace_root: .\nqueue_root: state\nlanes: {work: ''}\n"
        dispatch = "".join(f"  {line}\n" for line in ("grace: 2", "retry_delay: 0", *settings.splitlines()))
        (self.workspace / "handoff.yaml").write_text(f"{text}dispatch:\n{dispatch}")

    def command(self, *words, env=None):
        own = self.environment()
        for key, value in (env or {}).items():
            if value is None:
                own.pop(key)
            else:
                own[key] = value
        program = [str(self.lanes_binary), "--config", str(self.workspace / "handoff.yaml"), *words]
        return {"args": program, "env": own, "cwd": self.workspace, "stdin": subprocess.DEVNULL}

    def lanes(self, *words, code=0):
        done = subprocess.run(
            **self.command(*words), capture_output=True, text=True, timeout=BOUND, check=False
        )
        expect(done.returncode == code, "lanes", words, "exits with", done.returncode, done.stderr)
        return done.stdout.strip()

    def json(self, *words):
        return json.loads(self.lanes(*words, "--json"))

    def submit(self, prompt, worktree=None, **metadata):
        where = str(worktree or self.project)
        words = ["submit", "--lane", "work", "--prompt", prompt, "--worktree-path", where]
        for key, value in metadata.items():
            words += ["--metadata", f"{key}={value}"]
        return self.lanes(*words)

    def dispatch(self, *words, env=None):
        """Runs a dispatcher until nothing is left to claim; what it logged, one object a line."""
        command = self.command("dispatch", "--once", "--log", "json", *words, env=env)
        done = subprocess.run(**command, capture_output=True, text=True, timeout=BOUND, check=False)
        expect(done.returncode == 0, "dispatch exits with", done.returncode, done.stderr[-2000:], done.stdout[-2000:])
        left = self.left_over()
        expect(not left, "a run left processes behind:", left)
        return [json.loads(line) for line in done.stdout.splitlines()]

    @contextlib.contextmanager
    def dispatching(self):
        """Runs a dispatcher next to the check; it ends when nothing is left to claim."""
        log = self.dir / "dispatch.log"
        with open(log, "w", encoding="utf-8") as output:
            dispatcher = subprocess.Popen(**self.command("dispatch", "--once"), stdout=output, stderr=output)
        self.children.append(dispatcher)
        yield dispatcher
        dispatcher.wait(timeout=BOUND)
        expect(dispatcher.returncode == 0, "dispatch exits with", dispatcher.returncode, log.read_text()[-2000:])

    @contextlib.contextmanager
    def dispatching_for_others(self, *words):
        """A dispatcher that waits for tasks until the check is over."""
        log = self.dir / "dispatch.log"
        with open(log, "w", encoding="utf-8") as output:
            dispatcher = subprocess.Popen(**self.command("dispatch", *words), stdout=output, stderr=output)
        self.children.append(dispatcher)
        yield dispatcher
        dispatcher.terminate()
        dispatcher.wait(timeout=BOUND)
        expect(dispatcher.returncode == 0, "dispatch exits with", dispatcher.returncode, log.read_text()[-2000:])

    @contextlib.contextmanager
    def serving(self, *words):
        """The address of a server that runs until the check is over."""
        log = self.dir / "serve.log"
        with open(log, "w", encoding="utf-8") as output:
            server = subprocess.Popen(**self.command("serve", "--port", "0", *words), stdout=output, stderr=output)
        self.children.append(server)
        yield wait_until(lambda: re.search(r"http://127\.0\.0\.1:[1-9][0-9]*", log.read_text()), "the server listens")[0]
        server.terminate()
        server.wait(timeout=BOUND)
        expect(server.returncode == 0, "serve exits with", server.returncode, log.read_text()[-2000:])

    def task(self, task):
        return self.json("status", task)["task"]

    def response(self, task):
        return self.json("show", task)["response"]

    def refusals(self, kind):
        file = self.workspace / "state" / "vendors.json"
        return json.loads(file.read_text()).get(kind, {}) if file.exists() else {}

    def parked(self):
        """The vendors that are left alone, as the store has them; `status` must name the same."""
        parked = self.refusals("parked")
        told = self.json("status")["parked"]
        for vendor, entry in parked.items():
            if self.instant(entry["until"]) > time.time() + 1:
                expect(told[vendor]["until"] == entry["until"], told, parked)
        return parked

    def end_pauses(self):
        (self.workspace / "state" / "vendors.json").unlink()

    def unready(self):
        """The vendors that refuse their account."""
        return self.refusals("unready")

    @staticmethod
    def instant(text):
        return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()

    def requests(self):
        """What the model was asked, oldest first; without the questions for lists and titles."""
        rows = [json.loads(line) for line in self.log_file.read_text().splitlines()]
        return [row for row in rows if row["method"] == "POST" and "prompt" in row]
