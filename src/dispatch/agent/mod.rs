//! Runs one agent, from its start until none of its processes is running.
//!
//! Two processes take part. The dispatcher reads both pipes as they fill, watches the time limits and the
//! [`StopHandle`], and decides when a run must end (`supervisor.rs`). A [`crate::guard`] between dispatcher and agent ends
//! the agent and everything that the agent has started: on request, when the agent has exited, and when the
//! dispatcher has died.
//!
//! The end of a run never depends on the end of a pipe, which an unrelated process may keep open forever. When the
//! guard has finished, the remaining output is read and the pipes are closed.

#[cfg(feature = "mcp")]
pub(crate) mod enclosing_run;
pub(crate) mod log;
pub(crate) mod mcp_access;
mod person_wait;
mod pipes;
pub(crate) mod reaper;
mod supervisor;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use self::log::CappedLog;
pub use self::pipes::AgentEvent;
use self::pipes::AgentPipes;
use self::reaper::GuardPool;
pub use self::supervisor::StopHandle;
use self::supervisor::{GuardOutcome, LeftoverProcesses, RunLimits, Supervisor};
use super::cost_limit::CostLimit;
use super::outcome::{AgentExit, NotStarted, StopReason};
use super::output::StreamParser;
use crate::guard::GuardCommand;
use crate::model::RunId;

/// Specification of an agent process.
#[derive(Debug)]
pub struct AgentSpec {
    /// Program, looked up on the PATH of `env` unless it contains a slash.
    pub program: OsString,
    /// Arguments.
    pub args: Vec<String>,
    /// Working directory; must exist.
    pub cwd: PathBuf,
    /// Complete environment.
    pub env: BTreeMap<OsString, OsString>,
    /// Id of the run; must also be in `env` as [`RUN_ID_VARIABLE`](crate::guard::process_tree::RUN_ID_VARIABLE).
    pub run: RunId,
    /// The file with the prompt, for standard input. Unlike a pipe, a file needs no process that writes to it.
    pub stdin: PathBuf,
    /// File that is locked during the run; the agent is not started while another run holds the lock.
    pub lock: Option<PathBuf>,
    /// Receives standard output.
    pub stdout: CappedLog<File>,
    /// Path of that log; the guard appends the rest of the output if this process dies.
    pub log: Option<PathBuf>,
    /// Receives standard error.
    pub stderr: CappedLog<File>,
    /// Reads standard output.
    pub parser: StreamParser,
    /// The most that the run may cost, if the agent's program does not see to that itself.
    pub cost_limit: Option<CostLimit>,
    /// Timeout of the run.
    pub timeout: Option<Duration>,
    /// Maximum time without output on standard output and standard error.
    pub silence_timeout: Option<Duration>,
    /// Time between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// Maximum time without output after the agent has reported its result, until the process is ended.
    pub linger: Duration,
    /// Session id of the conversation to resume; a run that reports another one is ended.
    pub expected_session: Option<String>,
}

/// An agent process that has ended, and its output.
#[derive(Debug)]
pub struct FinishedAgent {
    /// Exit of the agent's process.
    pub exit: AgentExit,
    /// Reason for which it was stopped, if it was.
    pub stopped: Option<StopReason>,
    /// The parser, which has read all output.
    pub parser: StreamParser,
    /// The end of standard error.
    pub stderr: String,
    /// Duration of the run.
    pub duration: Duration,
    /// Number of processes that were left when the agent had exited.
    pub leftovers: usize,
    /// Number of processes that could not be ended.
    pub survivors: usize,
    /// Number of output bytes that are missing in the logs.
    pub dropped: u64,
    /// Error for which the logs are incomplete, if they are.
    pub log_error: Option<io::Error>,
}

/// Runs one agent to its end.
///
/// If `stop` has a reason before the start, the agent is not started.
///
/// # Errors
/// When the agent was not started.
pub fn run(
    spec: AgentSpec,
    guard_pool: &GuardPool,
    stop: &StopHandle,
    observe: &mut dyn FnMut(AgentEvent<'_>),
) -> Result<FinishedAgent, NotStarted> {
    let started = Instant::now();
    let mut output =
        AgentPipes::new(spec.stdout, spec.stderr, spec.parser, spec.cost_limit, spec.expected_session);
    if let Some(reason) = stop.reason() {
        return Err(NotStarted::Stopped(reason));
    }
    let guard_command = GuardCommand {
        run: &spec.run,
        grace: spec.grace,
        lock: spec.lock.as_deref(),
        log: spec.log.as_deref(),
        stdin: &spec.stdin,
        cwd: &spec.cwd,
        program: &spec.program,
        args: &spec.args,
    };
    let with_environment = |command: &mut std::process::Command| {
        command.env_clear().envs(&spec.env).stdout(Stdio::piped()).stderr(Stdio::piped());
    };
    let (mut guard, control) =
        guard_pool.start(&guard_command, with_environment).map_err(|error| match error.kind() {
            io::ErrorKind::ArgumentListTooLong => cannot_start(&spec.program, &spec.cwd, &error),
            _ => NotStarted::retryable(format!("the agent's guard cannot be started: {error}")),
        })?;
    output.take_pipes(&mut guard);
    let limits = RunLimits {
        deadline: spec.timeout.and_then(|limit| started.checked_add(limit)),
        silence_timeout: spec.silence_timeout,
        grace: spec.grace,
        linger: spec.linger,
    };
    let mut supervisor = Supervisor::new(guard_pool, (guard, control), spec.run, limits, stop.clone());
    let (guard_outcome, leftover_processes) = supervisor.run_to_end(&mut output, observe);
    match guard_outcome {
        GuardOutcome::Exited(exit) => {
            Ok(finished(exit, supervisor.stopped(), started, leftover_processes, output))
        }
        GuardOutcome::Locked => Err(NotStarted::Busy),
        GuardOutcome::SpawnFailed(errno) => {
            Err(cannot_start(&spec.program, &spec.cwd, &io::Error::from_raw_os_error(errno)))
        }
        GuardOutcome::GuardFailed(why) => {
            Err(NotStarted::retryable(format!("the agent's guard failed: {why}")))
        }
    }
}

fn finished(
    exit: AgentExit,
    stopped: Option<StopReason>,
    started: Instant,
    leftover_processes: LeftoverProcesses,
    output: AgentPipes,
) -> FinishedAgent {
    let read = output.finish();
    FinishedAgent {
        exit,
        stopped,
        parser: read.parser,
        stderr: read.stderr,
        duration: started.elapsed(),
        leftovers: leftover_processes.leftovers,
        survivors: leftover_processes.survivors,
        dropped: read.dropped,
        log_error: read.log_error,
    }
}

fn cannot_start(program: &OsStr, cwd: &Path, error: &io::Error) -> NotStarted {
    let program = crate::error::printable(&program.to_string_lossy());
    if !cwd.is_dir() {
        let cwd = crate::error::printable(&cwd.to_string_lossy());
        return NotStarted::permanent(format!("the working directory {cwd} does not exist"));
    }
    if rustix::fs::access(cwd, rustix::fs::Access::EXEC_OK).is_err() {
        let cwd = crate::error::printable(&cwd.to_string_lossy());
        return NotStarted::permanent(format!("the working directory {cwd} cannot be entered"));
    }
    match error.kind() {
        io::ErrorKind::NotFound => {
            NotStarted::LaneUnready(format!("{program} is not installed, or its interpreter is missing"))
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ExecutableFileBusy => {
            NotStarted::LaneUnready(format!("{program} cannot be executed here: {error}"))
        }
        io::ErrorKind::ArgumentListTooLong => {
            NotStarted::permanent(format!("the arguments of {program} are too long"))
        }
        _ if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
            NotStarted::LaneUnready(format!("{program} is not a program for this machine"))
        }
        _ => NotStarted::retryable(format!("{program} could not be started: {error}")),
    }
}
