//! A prepared store that can be put back as it was, and ways to run the program on it.

use std::ffi::OsStr;
use std::fs::{File, FileTimes};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

use serde_json::Value;

use crate::scenarios::{self, Scenario};
use crate::testkit::command;

/// Returns whether the environment requests the long form of a test.
pub fn asked_for(name: &str) -> bool {
    setting(name).is_some()
}

/// Returns a directory in memory, where a sync costs nothing, if the machine has one.
pub fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// Returns a variable of the environment.
pub fn setting(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "tests have no cli/env.rs")]
    std::env::var(name).ok()
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
    pub dead: String,
    pub full: String,
    pub full_token: String,
}

/// A directory for one test: `w` with the workspace and its store in `w/state`, and the copies that it
/// is put back from: `t` as it was prepared, `s` with what the present scenario needs.
pub struct World {
    dir: tempfile::TempDir,
    pub tasks: Tasks,
    /// The scenario that `s` is for.
    staged: Mutex<Option<&'static str>>,
}

impl World {
    pub fn new() -> Self {
        Self::with(in_memory())
    }

    pub fn in_dir(parent: &Path) -> Self {
        Self::with(tempfile::tempdir_in(parent).unwrap())
    }

    fn with(dir: tempfile::TempDir) -> Self {
        let mut world = Self { dir, tasks: Tasks::default(), staged: Mutex::new(None) };
        std::fs::create_dir(world.home()).unwrap();
        std::fs::write(world.home().join("request.md"), "Look at this.\n").unwrap();
        std::fs::write(world.home().join("large.md"), "0123456789\n".repeat(4000)).unwrap();
        world.tasks = world.prepare();
        std::fs::write(world.home().join("exported.jsonl"), world.ok(&["export"]) + "\n").unwrap();
        std::fs::write(world.home().join("batch.jsonl"), scenarios::BATCH).unwrap();
        world.keep();
        world
    }

    pub fn home(&self) -> PathBuf {
        self.dir.path().join("w")
    }

    pub fn store(&self) -> PathBuf {
        self.home().join("state")
    }

    /// Returns the path of a file outside the workspace, which a reset does not restore.
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
        let dead = self.ok(&["submit", "--lane", "d", "--prompt", "too much", "--max-attempts", "1"]);
        self.ok(&["release", &dead, "--claim-token", &token(&dead), "--spent", "--reason", "it crashed"]);
        let held = submit(&["--task-id", "held"]);
        let full = submit(&["--task-id", "full"]);
        let (held_token, full_token) = (token(&held), token(&full));
        for n in 0..14 {
            self.ok(&["event", &full, "--type", "note", "--message", &n.to_string()]);
        }
        let waiting = submit(&["--task-id", "waiting", "--request-from", "request.md"]);
        let other = self.ok(&["submit", "--lane", "o", "--prompt", "another"]);
        for n in 0..18 {
            self.ok(&["event", &other, "--type", "note", "--message", &n.to_string()]);
        }
        Tasks { waiting, other, held, token: held_token, failed, answered, dead, full, full_token }
    }

    /// Makes the present state the one that [`World::reset`] restores.
    pub fn keep(&self) {
        *self.staged.lock().unwrap() = None;
        self.copy("w", "t");
    }

    pub fn reset(&self) {
        self.copy("t", "w");
    }

    fn copy(&self, from: &str, to: &str) {
        copy_tree(&self.dir.path().join(from), &self.dir.path().join(to));
    }

    /// A command in the workspace.
    fn in_workspace(&self, mut command: Command) -> Command {
        command.env("USER", "tester").env("PATH", "/usr/bin:/bin").current_dir(self.home());
        command
    }

    pub fn lanes(&self, words: &[&str]) -> Command {
        let mut command = self.in_workspace(command::lanes());
        command.arg("--store").arg(self.store()).args(words);
        command
    }

    pub fn run(&self, words: &[&str]) -> Output {
        self.lanes(words).output().unwrap()
    }

    /// The output of a command that must succeed.
    pub fn ok(&self, words: &[&str]) -> String {
        command::ok(&mut self.lanes(words))
    }

    pub fn json(&self, words: &[&str]) -> Value {
        let mut words = words.to_vec();
        words.push("--json");
        command::parse(&self.ok(&words))
    }

    /// Runs a scenario under strace with `options`.
    pub fn traced(&self, options: &[impl AsRef<OsStr>], scenario: &Scenario) -> Output {
        let mut command = self.in_workspace(command::clean("strace"));
        command.args(["-f", "-o"]).arg(self.aside("trace")).args(options);
        command.arg(command::LANES).arg("--store").arg(self.store()).args(&scenario.args);
        command.output().unwrap()
    }

    /// Runs a scenario through another program, such as `prlimit`.
    pub fn through(&self, program: &str, options: &[&str], scenario: &Scenario) -> Output {
        let mut command = self.in_workspace(command::clean(program));
        command.args(options).arg(command::LANES).arg("--store").arg(self.store());
        command.args(&scenario.args).output().unwrap()
    }

    pub fn trace(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.aside("trace")).unwrap()).into_owned()
    }

    /// Puts the store back and prepares it for `scenario`.
    pub fn set_up(&self, scenario: &Scenario) {
        match scenario.before {
            None => self.reset(),
            Some(_) if *self.staged.lock().unwrap() == Some(scenario.name) => self.copy("s", "w"),
            Some(before) => {
                self.reset();
                before(self);
                self.copy("w", "s");
                *self.staged.lock().unwrap() = Some(scenario.name);
            }
        }
    }
}

/// Makes `to` a copy of `from` with all times: an index is right only as long as they are.
pub fn copy_tree(from: &Path, to: &Path) {
    if to.exists() {
        std::fs::remove_dir_all(to).unwrap();
    }
    std::fs::DirBuilder::new().mode(0o700).create(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let copy = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &copy);
        } else {
            std::fs::copy(entry.path(), &copy).unwrap();
            copy_times(&entry.path(), &copy);
        }
    }
    copy_times(from, to);
}

fn copy_times(from: &Path, to: &Path) {
    let modified = std::fs::metadata(from).unwrap().modified().unwrap();
    let times = FileTimes::new().set_modified(modified).set_accessed(modified);
    File::open(to).unwrap().set_times(times).unwrap();
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

/// Returns whether a line of standard error reports an error, in words or, with `--json`, as an object.
pub fn reports(line: &str) -> bool {
    let is_object = serde_json::from_str::<Value>(line)
        .is_ok_and(|error| error["error"].is_string() && error["code"].is_string());
    is_object || line.starts_with("lanes: ")
}
