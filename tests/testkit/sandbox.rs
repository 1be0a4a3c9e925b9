//! A workspace in a temporary directory, and ways to run `lanes` in it.

use std::cell::Cell;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use super::command;
use super::wait::{SOON, end_of, eventually};

/// 2026-11-21T07:00:00Z, where every sandbox's clock starts.
const START: i64 = 1_795_244_400;

/// A temporary directory with its own clock.
///
/// The clock stands still within a command and advances by one second from each command to the next, so that
/// every id and every time is the same in every run.
pub struct Sandbox {
    // Dropped last, so that the directory outlives whatever uses it.
    dir: tempfile::TempDir,
    seconds: Cell<i64>,
}

impl Sandbox {
    /// An empty directory.
    pub fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("project")).unwrap();
        Self { dir, seconds: Cell::new(0) }
    }

    /// A directory with a fresh workspace.
    pub fn new() -> Self {
        let sandbox = Self::empty();
        sandbox.ok(&["init"]);
        sandbox
    }

    /// The current directory of every command, which is also the workspace root.
    pub fn root(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join("project")
    }

    /// A path in the workspace.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// The directory of a task.
    pub fn task_dir(&self, id: &str) -> PathBuf {
        self.path("handoff/state/tasks").join(id)
    }

    /// Writes a file of the workspace.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Reads a text file of the workspace.
    pub fn read(&self, name: impl AsRef<Path>) -> String {
        std::fs::read_to_string(self.root().join(name)).unwrap()
    }

    /// Lets time pass.
    pub fn pass(&self, seconds: i64) {
        self.seconds.set(self.seconds.get() + seconds);
    }

    /// A command with an empty environment, a fixed clock and fixed random numbers.
    pub fn command(&self, args: &[&str]) -> Command {
        self.pass(1);
        let mut command = self.live_command(args);
        let now = jiff::Timestamp::from_second(START + self.seconds.get()).unwrap();
        command.env("LANES_TEST_NOW", now.to_string()).env("LANES_TEST_SEED", "1");
        command
    }

    /// The same by the system's clock, for commands that wait for it.
    pub fn live_command(&self, args: &[&str]) -> Command {
        let mut command = command::lanes();
        command.env("USER", "tester").current_dir(self.root()).args(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Outcome {
        self.outcome(self.command(args).output().unwrap())
    }

    /// The same with something on standard input.
    pub fn run_with(&self, args: &[&str], input: impl AsRef<[u8]>) -> Outcome {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        // A command that refuses early need not read its input.
        let _ = child.stdin.take().unwrap().write_all(input.as_ref());
        self.outcome(child.wait_with_output().unwrap())
    }

    /// Runs a command that must succeed; its standard output without the last newline.
    pub fn ok(&self, args: &[&str]) -> String {
        let outcome = self.run(args);
        assert_eq!(outcome.code, 0, "{args:?}\n{outcome}");
        outcome.stdout.trim_end().to_string()
    }

    /// Runs a command with `--json` that must succeed; what it printed.
    pub fn json(&self, args: &[&str]) -> Value {
        let outcome = self.run(&[&["--json"], args].concat());
        assert_eq!(outcome.code, 0, "{args:?}\n{outcome}");
        outcome.json()
    }

    /// Runs a command while another one waits: the sandbox's clock does not advance.
    pub fn peek(&self, args: &[&str]) -> Value {
        let output = self.live_command(&[&["--json"], args].concat()).output().unwrap();
        self.outcome(output).json()
    }

    /// Submits a prompt to a lane; the id of the new task.
    pub fn submit(&self, lane: &str, more: &[&str]) -> String {
        self.ok(&[&["submit", "--lane", lane, "--prompt", "do it"], more].concat())
    }

    /// Claims the next task of a lane; its id and its token.
    pub fn claim(&self, lane: &str) -> (String, String) {
        let claim = self.json(&["claim", "--lane", lane]);
        (text(&claim["task_id"]), text(&claim["claim_token"]))
    }

    /// Submits to a lane, claims and answers; the id.
    pub fn answered(&self, lane: &str, status: &str, body: &str) -> String {
        self.submit(lane, &[]);
        let (id, token) = self.claim(lane);
        self.ok(&["respond", &id, "--claim-token", &token, "--status", status, "--body", body]);
        id
    }

    /// Returns the output of a finished process, with the path of the sandbox replaced.
    pub fn outcome(&self, output: Output) -> Outcome {
        let dir = self.dir.path().canonicalize().unwrap();
        let text = |bytes: Vec<u8>| {
            String::from_utf8(bytes).expect("output is UTF-8").replace(dir.to_str().unwrap(), "$DIR")
        };
        Outcome {
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            // A process that a signal ended has no exit code; no test expects 0 here.
            code: output.status.code().unwrap_or(-1),
        }
    }
}

/// The output and exit code of a command.
pub struct Outcome {
    pub stdout: String,
    pub stderr: String,
    pub code: i32,
}

impl Outcome {
    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{self}"))
    }

    /// Asserts that standard error contains `words`, whatever the command has ended with.
    #[track_caller]
    pub fn told(&self, words: &str) {
        assert!(self.stderr.contains(words), "no '{words}' in:\n{self}");
    }

    /// Asserts a refusal in one line on standard error that contains `expected`, and nothing on standard output.
    #[track_caller]
    pub fn refused(&self, code: i32, words: &str) {
        assert_eq!(self.code, code, "{self}");
        assert_eq!(self.stdout, "", "{self}");
        assert_eq!(self.stderr.lines().count(), 1, "{self}");
        assert!(self.stderr.contains(words), "no '{words}' in:\n{self}");
        if self.stderr.starts_with('{') {
            let error: Value = serde_json::from_str(&self.stderr).unwrap();
            assert_eq!(error["exit_code"], code, "{self}");
            assert!(error["code"].is_string() && error["error"].is_string(), "{self}");
        } else {
            assert!(self.stderr.starts_with("lanes: "), "{self}");
        }
        assert!(!self.stderr.trim_end().contains(char::is_control), "{self}");
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.stdout)?;
        if !self.stderr.is_empty() {
            write!(f, "--- stderr\n{}", self.stderr)?;
        }
        write!(f, "--- exit {}", self.code)
    }
}

/// A command that runs in the background; killed at the end of the test.
pub struct Running {
    child: Option<Child>,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        Self { child: Some(command.spawn().unwrap()) }
    }

    /// Waits for its end.
    pub fn finish(mut self, sandbox: &Sandbox) -> Outcome {
        let mut child = self.child.take().unwrap();
        let ended = end_of(&mut child, SOON).is_some();
        let outcome = sandbox.outcome(child.wait_with_output().unwrap());
        assert!(ended, "it does not end:\n{outcome}");
        outcome
    }

    pub fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Waits until the command watches `directory`, which it keeps open for that.
    #[track_caller]
    pub fn until_it_watches(&self, directory: &Path) {
        let opened = format!("/proc/{}/fd", self.id());
        eventually("the command waits", || {
            let descriptors = std::fs::read_dir(&opened).into_iter().flatten().flatten();
            descriptors
                .filter_map(|entry| std::fs::read_link(entry.path()).ok())
                .any(|path| path == directory)
        });
    }

    pub fn child(&mut self) -> &mut Child {
        self.child.as_mut().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A JSON text.
#[track_caller]
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_string()
}

/// Splits a command line whose arguments contain no spaces.
pub fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}
