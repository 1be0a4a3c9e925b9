//! One agent process, from its start until nothing of it is left.
//!
//! One thread starts it, reads both of its pipes as they fill, watches the clock and the
//! [`StopHandle`], and ends it: asks the group (TERM), waits, then kills the group and every process
//! found to belong to the run. The first process is collected only after that, so that its number
//! cannot come to mean another group while signals are sent to it.
//!
//! The end never depends on the end of a pipe: a descendant may hold it open for ever. Once the first
//! process is gone and its family ended, what is in the pipes is read and they are closed.

pub mod log;
mod pipes;
mod spawn;
pub mod stop;
mod supervision;
pub mod tree;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Pid;

use self::log::CappedLog;
use self::pipes::Output;
use self::stop::StopHandle;
use self::supervision::{Ending, Limits, Supervision};
use self::tree::RunId;
use super::outcome::{Exit, Failure, StopReason};
use super::stream::{Note, StreamParser};
use crate::model::FailureClass;

/// What to run.
#[derive(Debug)]
pub struct AgentSpec {
    /// Program, looked up on the PATH of `env` unless it contains a slash.
    pub program: OsString,
    /// Arguments.
    pub args: Vec<String>,
    /// Working directory; must exist.
    pub cwd: PathBuf,
    /// The whole environment.
    pub env: BTreeMap<OsString, OsString>,
    /// The run's random name; must also be in `env` as [`tree::MARKER`].
    pub run: RunId,
    /// Standard input: the file that holds the prompt. A file needs no feeding and no reader.
    pub stdin: File,
    /// Receives standard output.
    pub stdout: CappedLog<File>,
    /// Receives standard error.
    pub stderr: CappedLog<File>,
    /// Reads standard output.
    pub parser: StreamParser,
    /// How long the run may take.
    pub timeout: Option<Duration>,
    /// Time between the polite and the final signal.
    pub grace: Duration,
    /// How long the process may stay, silent, after it has reported its result.
    pub linger: Duration,
    /// The conversation that must be continued: a run that announces another one is ended.
    pub expected_session: Option<String>,
}

/// What happens during a run.
#[derive(Debug)]
pub enum Happening<'a> {
    /// The process runs under this number.
    Started(u32),
    /// The agent said which conversation this is.
    Session(&'a str),
    /// Progress for people.
    Note(Note),
}

/// A run that is over.
#[derive(Debug)]
pub struct Finished {
    /// How the first process ended.
    pub exit: Exit,
    /// Why it was ended, if it was.
    pub stopped: Option<StopReason>,
    /// Has read everything.
    pub parser: StreamParser,
    /// The end of standard error.
    pub stderr: String,
    /// How long it took.
    pub duration: Duration,
    /// How many processes had to be ended after the first one was gone.
    pub leftovers: usize,
    /// How many processes could not be ended.
    pub survivors: usize,
    /// How many bytes of output are missing in the logs.
    pub dropped: u64,
    /// Why the logs are incomplete, if they are.
    pub log_error: Option<io::Error>,
}

/// Runs one agent to its end. Fails only if it cannot be started.
///
/// A reason given to `stop` before the start wins: nothing is started then.
pub fn run(
    spec: AgentSpec,
    stop: &StopHandle,
    observe: &mut dyn FnMut(Happening<'_>),
) -> Result<Finished, Failure> {
    let started = Instant::now();
    let mut output = Output::new(spec.stdout, spec.stderr, spec.parser, spec.expected_session);
    if let Some(reason) = stop.reason() {
        return Ok(finished(Exit::NotStarted, Some(reason), started, Ending::default(), output));
    }
    let mut command = Command::new(&spec.program);
    command
        .args(&spec.args)
        .current_dir(&spec.cwd)
        .env_clear()
        .envs(&spec.env)
        .stdin(Stdio::from(spec.stdin))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    spawn::tie_to_this_thread(&mut command);
    let mut child = command.spawn().map_err(|error| cannot_start(&spec.program, &spec.cwd, &error))?;
    observe(Happening::Started(child.id()));
    output.take_pipes(&mut child);
    let limits = Limits {
        deadline: spec.timeout.and_then(|limit| started.checked_add(limit)),
        grace: spec.grace,
        linger: spec.linger,
    };
    let mut supervision = Supervision::new(Pid::from_child(&child), spec.run, limits, stop.clone());
    let has_ended = supervision.until_leader_ends(&mut output, observe);
    let ending = supervision.end_family(&mut output, observe);
    let exit = if has_ended {
        // Until here the uncollected process kept its number.
        child.wait().map_or(Exit::Signal(9), exit_of)
    } else {
        // Killed, but stuck in the kernel: somebody has to collect it whenever it gets out.
        std::thread::spawn(move || child.wait());
        Exit::Signal(9)
    };
    output.drain(observe);
    Ok(finished(exit, supervision.stopped(), started, ending, output))
}

fn finished(
    exit: Exit,
    stopped: Option<StopReason>,
    started: Instant,
    ending: Ending,
    output: Output,
) -> Finished {
    let read = output.finish();
    Finished {
        exit,
        stopped,
        parser: read.parser,
        stderr: read.stderr,
        duration: started.elapsed(),
        leftovers: ending.leftovers,
        survivors: ending.survivors,
        dropped: read.dropped,
        log_error: read.log_error,
    }
}

fn cannot_start(program: &OsStr, cwd: &Path, error: &io::Error) -> Failure {
    let program = crate::error::printable(&program.to_string_lossy());
    let cwd_text = crate::error::printable(&cwd.to_string_lossy());
    if !cwd.is_dir() {
        return Failure::permanent(format!("the working directory {cwd_text} does not exist"));
    }
    match error.kind() {
        io::ErrorKind::NotFound => {
            Failure::permanent(format!("{program} is not installed, or not on the PATH of the dispatcher"))
        }
        io::ErrorKind::PermissionDenied => {
            Failure::permanent(format!("{program} may not be executed here: {error}"))
        }
        io::ErrorKind::ArgumentListTooLong => {
            Failure::permanent(format!("the arguments of {program} are too long"))
        }
        _ => Failure::new(FailureClass::Error, format!("{program} could not be started: {error}")),
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or(0)),
    }
}
