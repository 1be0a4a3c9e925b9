//! A pool with dispatchers whose agents are scripts.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output};

use serde_json::Value;

use super::command;
use super::wait::{SOON, end_of, eventually};

/// The stand-in agent called `name`.
pub fn stand_in(name: &str) -> String {
    format!("{}/tests/agents/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A workspace in a directory of its own.
pub struct Pool {
    dir: tempfile::TempDir,
}

impl Pool {
    /// A pool whose handoff.yaml has this `dispatch:` section; `AGENT` stands for the scripted agent.
    pub fn new(dispatch: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let dispatch = dispatch.replace("AGENT", &stand_in("obeys.sh"));
        let text = format!(
            "workspace_id: pool\nworkspace_root: .\nqueue_root: state\nlanes: {{work: '', next: ''}}\n{dispatch}"
        );
        std::fs::write(dir.path().join("handoff.yaml"), text).unwrap();
        Self { dir }
    }

    /// A pool whose claude is the scripted agent.
    pub fn scripted(more: &str) -> Self {
        Self::new(&format!(
            "dispatch:\n  vendor: claude\n  grace: 0.5\n  retry_delay: 0\n{more}  vendors:\n    claude: {{command: AGENT}}\n"
        ))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `lanes` with an environment of its own.
    pub fn lanes(&self, words: &[&str]) -> Command {
        let mut command = command::lanes();
        command
            .env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", bin_dir()))
            .env("LANES_CONFIG", self.path("handoff.yaml"))
            .current_dir(self.dir.path())
            .args(words);
        command
    }

    pub fn output(&self, words: &[&str]) -> Output {
        self.lanes(words).output().unwrap()
    }

    /// Returns the output of a command, which must succeed.
    pub fn ok(&self, words: &[&str]) -> String {
        command::ok(&mut self.lanes(words))
    }

    /// Returns the error output of a command, which must fail.
    pub fn refused(&self, words: &[&str]) -> String {
        let output = self.output(words);
        assert!(!output.status.success(), "{words:?} succeeded");
        String::from_utf8(output.stderr).unwrap()
    }

    pub fn json(&self, words: &[&str]) -> Value {
        command::parse(&self.ok(&[words, &["--json"]].concat()))
    }

    /// Submits a task to lane `work` whose agent executes `script`.
    pub fn submit(&self, script: &str, more: &[&str]) -> String {
        let prompt = script.lines().map(|line| format!("DO: {line}\n")).collect::<String>();
        self.ok(&[&["submit", "--lane", "work", "--prompt", &prompt], more].concat())
    }

    pub fn task(&self, id: &str) -> Value {
        self.json(&["status", id])["task"].clone()
    }

    pub fn state(&self, id: &str) -> String {
        self.task(id)["state"].as_str().unwrap().to_string()
    }

    /// The answer to a task that has ended.
    pub fn response(&self, id: &str) -> Value {
        self.json(&["show", id])["response"].clone()
    }

    pub fn events(&self, id: &str) -> Vec<String> {
        let events = self.json(&["show", id])["events"].clone();
        events.as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap().to_string()).collect()
    }

    /// Runs a dispatcher until the lanes are empty and returns its output.
    pub fn dispatch_once(&self, more: &[&str]) -> String {
        self.ok(&[&["dispatch", "--once"], more].concat())
    }

    /// Starts a dispatcher; it is killed when the value is dropped.
    pub fn dispatcher(&self, more: &[&str]) -> Dispatcher {
        // The tests themselves may run with signals ignored, as below nohup.
        self.dispatcher_under(&["env", "--default-signal=HUP,INT"], more)
    }

    /// Starts a dispatcher by way of another program, given with its first arguments.
    pub fn dispatcher_under(&self, program: &[&str], more: &[&str]) -> Dispatcher {
        let lanes = self.lanes(&[&["dispatch"], more].concat());
        let mut command = command::clean(program[0]);
        command.args(&program[1..]).arg(lanes.get_program()).args(lanes.get_args());
        command::with_variables_of(&mut command, &lanes);
        command.current_dir(self.path(""));
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        Dispatcher(command.spawn().unwrap())
    }

    /// Waits until `is_so`.
    #[track_caller]
    pub fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let log = LogOnPanic(self);
        eventually(what, is_so);
        drop(log);
    }

    /// Waits until a file of the pool exists and has content, which it returns.
    pub fn until_file(&self, name: &str) -> String {
        self.until(name, || std::fs::metadata(self.path(name)).is_ok_and(|meta| meta.len() > 0));
        std::fs::read_to_string(self.path(name)).unwrap().trim_end().to_string()
    }

    /// The agents and their children that are alive: processes whose environment names the store.
    pub fn processes(&self) -> Vec<String> {
        let mark = format!("LANES_STORE={}", self.path("state").display());
        let pids = std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().into_string().ok());
        pids.filter(|pid| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            super::wait::is_alive(pid)
                && environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        })
        .collect()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

fn bin_dir() -> String {
    let binary = Path::new(command::LANES);
    binary.parent().unwrap().to_str().unwrap().to_string()
}

/// Shows what the dispatchers of a pool printed when a wait for them fails.
struct LogOnPanic<'a>(&'a Pool);

impl Drop for LogOnPanic<'_> {
    #[expect(clippy::print_stderr, reason = "a failed test shows it")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0.log());
        }
    }
}

/// A running `lanes dispatch`.
pub struct Dispatcher(Child);

impl Dispatcher {
    /// Starts a dispatcher with the output of `command`.
    pub fn of(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.0), signal).unwrap();
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    /// Waits for its end.
    pub fn wait(mut self) -> ExitStatus {
        end_of(&mut self.0, SOON).expect("the dispatcher ends")
    }

    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
