//! What the tests of crashes and faults share: a prepared store that can be put back as it was, the
//! commands tried on it, strace, and a reader of its files that knows nothing of the library.

#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(clippy::print_stdout, reason = "tests say what they tried")]

pub mod disk;
pub mod points;
pub mod reader;
pub mod usage;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Whether a command of this machine can be started.
pub fn have(program: &str) -> bool {
    let found = Command::new(program).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
}

/// Says that a test did nothing, for want of `what`.
#[expect(clippy::print_stdout, reason = "whoever runs the tests must see what was not tested")]
pub fn skipped(what: &str) {
    println!("skipped: {what}");
}

/// Whether the environment asks for the long form of a test.
pub fn asked_for(name: &str) -> bool {
    #[expect(clippy::disallowed_methods, reason = "tests have no cli/env.rs")]
    std::env::var_os(name).is_some()
}

/// The prepared tasks, one in every state that the commands need.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    pub waiting: String,
    pub other: String,
    pub held: String,
    pub token: String,
    pub failed: String,
    pub answered: String,
    pub full: String,
    pub full_token: String,
}

/// A directory for one test: `w` with the workspace and its store in `w/state`, and `t`, a copy of
/// `w` that it is put back from.
pub struct World {
    dir: tempfile::TempDir,
    pub tasks: Tasks,
}

/// One command that is tried.
pub struct Scenario {
    pub name: &'static str,
    pub args: Vec<String>,
    /// What is done to the prepared store first.
    pub before: fn(&World),
    /// How often the command has to be repeated before it has its whole effect: each of its tasks,
    /// or each of its steps, is a change of its own.
    pub steps: bool,
}

impl World {
    pub fn new() -> Self {
        Self::in_dir(&std::env::temp_dir())
    }

    pub fn in_dir(parent: &Path) -> Self {
        let dir = tempfile::tempdir_in(parent).unwrap();
        let mut world = Self { dir, tasks: Tasks::default() };
        std::fs::create_dir(world.home()).unwrap();
        std::fs::write(world.home().join("request.md"), "Look at this.\n").unwrap();
        std::fs::write(world.home().join("large.md"), "0123456789\n".repeat(4000)).unwrap();
        world.tasks = world.prepare();
        world.keep();
        world
    }

    pub fn home(&self) -> PathBuf {
        self.dir.path().join("w")
    }

    pub fn store(&self) -> PathBuf {
        self.home().join("state")
    }

    /// A file beside the workspace that is not put back.
    pub fn aside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn prepare(&self) -> Tasks {
        let submit = |more: &[&str]| {
            let mut words = vec!["submit", "--lane", "l", "--prompt", "do it"];
            words.extend(more);
            self.ok(&words)
        };
        let token = |id: &str| {
            let reply = self.ok(&["claim", id, "--owner", "me", "--json"]);
            let reply: Value = serde_json::from_str(&reply).unwrap();
            reply["task"]["claim_token"].as_str().unwrap().to_string()
        };
        let answered = submit(&["--task-id", "answered", "--response-to", "answer.md"]);
        self.ok(&["respond", &answered, "--body", "the answer"]);
        let failed = submit(&["--task-id", "failed", "--key", "again"]);
        self.ok(&["respond", &failed, "--status", "failed", "--body", "no"]);
        let held = submit(&["--task-id", "held"]);
        let full = submit(&["--task-id", "full"]);
        let (held_token, full_token) = (token(&held), token(&full));
        for n in 0..14 {
            self.ok(&["event", &full, "--type", "note", "--message", &n.to_string()]);
        }
        let waiting = submit(&["--task-id", "waiting", "--request-from", "request.md"]);
        let other = self.ok(&["submit", "--lane", "o", "--prompt", "another"]);
        Tasks { waiting, other, held, token: held_token, failed, answered, full, full_token }
    }

    /// Makes what is there now what [`World::reset`] goes back to.
    pub fn keep(&self) {
        self.copy("w", "t");
    }

    pub fn reset(&self) {
        self.copy("t", "w");
    }

    fn copy(&self, from: &str, to: &str) {
        let to = self.dir.path().join(to);
        if to.exists() {
            std::fs::remove_dir_all(&to).unwrap();
        }
        // With all times: the index is right only as long as they are.
        let copied = Command::new("cp").arg("-a").arg(self.dir.path().join(from)).arg(&to).status();
        assert!(copied.unwrap().success());
    }

    /// `command` with nothing of our environment, in the workspace.
    fn in_workspace(&self, mut command: Command) -> Command {
        command.env_clear().env("USER", "tester").env("PATH", "/usr/bin:/bin");
        command.current_dir(self.home()).stdin(Stdio::null());
        command
    }

    pub fn lanes(&self, words: &[&str]) -> Command {
        let mut command = self.in_workspace(Command::new(env!("CARGO_BIN_EXE_lanes")));
        command.arg("--store").arg(self.store()).args(words);
        command
    }

    pub fn run(&self, words: &[&str]) -> Output {
        self.lanes(words).output().unwrap()
    }

    /// The output of a command that must succeed.
    pub fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_string()
    }

    pub fn json(&self, words: &[&str]) -> Value {
        let mut words = words.to_vec();
        words.push("--json");
        serde_json::from_str(&self.ok(&words)).unwrap()
    }

    /// Runs a scenario under strace with `options`.
    pub fn traced(&self, options: &[&str], scenario: &Scenario) -> Output {
        let mut command = self.in_workspace(Command::new("strace"));
        command.args(["-f", "-o"]).arg(self.aside("trace")).args(options);
        command.arg(env!("CARGO_BIN_EXE_lanes")).arg("--store").arg(self.store()).args(&scenario.args);
        command.output().unwrap()
    }

    /// Runs a scenario through another program, such as `prlimit`.
    pub fn through(&self, program: &str, options: &[&str], scenario: &Scenario) -> Output {
        let mut command = self.in_workspace(Command::new(program));
        command.args(options).arg(env!("CARGO_BIN_EXE_lanes")).arg("--store").arg(self.store());
        command.args(&scenario.args).output().unwrap()
    }

    pub fn trace(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.aside("trace")).unwrap()).into_owned()
    }

    /// Puts the store back and prepares it for `scenario`.
    pub fn set_up(&self, scenario: &Scenario) {
        self.reset();
        (scenario.before)(self);
    }

    pub fn scenario(&self, name: &'static str, words: &[&str]) -> Scenario {
        Scenario { name, args: words.iter().map(ToString::to_string).collect(), before: |_| {}, steps: false }
    }

    /// Every command that changes something.
    pub fn scenarios(&self) -> Vec<Scenario> {
        let Tasks { waiting, held, token, failed, answered, full, full_token, .. } = &self.tasks;
        let plain = |name, words: &[&str]| self.scenario(name, words);
        let large = self.home().join("large.md");
        let large = large.to_str().unwrap();
        vec![
            plain("submit", &["submit", "--lane", "l", "--prompt", "new"]),
            plain("submit a file", &["submit", "--lane", "n", "--request-from", "request.md"]),
            plain("submit a key", &["submit", "--lane", "l", "--prompt", "new", "--key", "k"]),
            Scenario {
                before: |world| std::fs::remove_dir_all(world.store()).unwrap(),
                ..plain("submit into nothing", &["submit", "--lane", "l", "--prompt", "new"])
            },
            Scenario {
                before: |world| std::fs::remove_dir_all(world.store().join("indexes")).unwrap(),
                ..plain("submit without an index", &["submit", "--lane", "l", "--prompt", "new"])
            },
            plain("claim", &["claim", waiting]),
            plain("claim next", &["claim", "--lane", "l"]),
            Scenario {
                before: |world| std::fs::remove_dir_all(world.store().join("indexes")).unwrap(),
                ..plain("claim next without an index", &["claim", "--lane", "l"])
            },
            Scenario { before: interrupted_claim, ..plain("claim after a crash", &["claim", "--lane", "l"]) },
            Scenario {
                before: interrupted_submit,
                ..plain("submit after a crash", &["submit", "--lane", "l", "--prompt", "new"])
            },
            plain("renew", &["renew", held, "--claim-token", token, "--lease-seconds", "9000"]),
            plain("release", &["release", held, "--claim-token", token]),
            plain("release later", &["release", held, "--claim-token", token, "--delay", "3600"]),
            plain("respond", &["respond", held, "--claim-token", token, "--body", "done"]),
            plain("respond at length", &["respond", held, "--claim-token", token, "--file", large]),
            plain(
                "respond after many events",
                &["respond", full, "--claim-token", full_token, "--body", "ok"],
            ),
            plain("wait", &["wait", answered, "--timeout", "0"]),
            plain("wait for our own file", &["wait", failed, "--timeout", "0"]),
            plain("cancel", &["cancel", waiting]),
            plain("cancel a claim", &["cancel", held]),
            plain("move", &["move", waiting, "--to", "m"]),
            Scenario { steps: true, ..plain("retry", &["retry", failed]) },
            plain("pause", &["pause", "l"]),
            plain("event", &["event", held, "--type", "note", "--message", "half way"]),
            plain("event after many", &["event", full, "--type", "note", "--message", "more"]),
        ]
    }
}

/// Ends a command by SIGKILL at its `n`th `call`.
fn interrupt(world: &World, call: &str, n: usize, words: &[&str]) {
    let inject = format!("inject={call}:signal=KILL:when={n}");
    let output = world.traced(&["-e", &inject], &world.scenario("", words));
    assert_eq!(output.status.signal(), Some(9));
}

/// Leaves a claim that was committed and nothing more: the rename is done, the next write is not.
fn interrupted_claim(world: &World) {
    interrupt_after_commit(world, &["claim", &world.tasks.other.clone()]);
}

fn interrupted_submit(world: &World) {
    interrupt_after_commit(world, &["submit", "--lane", "l", "--prompt", "crashed", "--key", "crashed"]);
}

/// Kills a command right after its first rename into `tasks/`.
fn interrupt_after_commit(world: &World, words: &[&str]) {
    let dry = world.scenario("", words);
    let copy = world.aside("before-crash");
    if !copy.exists() {
        let copied = Command::new("cp").arg("-a").arg(world.home()).arg(&copy).status();
        assert!(copied.unwrap().success());
    }
    let points = points::of_run(world, &dry);
    let commit = points.iter().position(|point| point.commits).unwrap();
    let next = &points[commit + 1];
    std::fs::remove_dir_all(world.home()).unwrap();
    let moved = Command::new("mv").arg(&copy).arg(world.home()).status();
    assert!(moved.unwrap().success());
    interrupt(world, &next.call, next.nth, words);
}

/// Everything below `root` as relative paths, sorted.
pub fn files_below(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![root.to_path_buf()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
            }
            found.push(entry.path().strip_prefix(root).unwrap().to_path_buf());
        }
    }
    found.sort();
    found
}
