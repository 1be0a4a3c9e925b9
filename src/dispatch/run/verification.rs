//! Runs the commands that verify the work of an agent.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::context::{ClaimedTask, RunContext, files, run_id};
use crate::dispatch::agent::log::CappedLog;
use crate::dispatch::agent::{self, AgentSpec, FinishedAgent};
use crate::dispatch::event::DispatchEvent;
use crate::dispatch::outcome::{AgentExit, NotStarted, RunFailure, StopReason};
use crate::dispatch::output::{Format, StreamParser, one_line};
use crate::error::printable;
use crate::model::{FailureClass, duration};
use crate::store::AttemptDir;

/// Number of bytes at the beginning and at the end of the log that are kept.
const LOG_HEAD: usize = 1024 * 1024;
const LOG_TAIL: usize = 1024 * 1024;
/// Number of bytes of the output of a failed command that its agent and people get.
const MAX_OUTPUT: u64 = 16 * 1024;
/// Number of characters of a command in a message.
const MAX_COMMAND: usize = 200;

/// Result of the commands that verify the work of an agent.
pub(super) enum Verification {
    /// All have succeeded.
    Passed,
    /// One has failed.
    Failed(FailedCommand),
    /// The run was stopped meanwhile.
    Stopped(StopReason),
    /// They cannot be run: the next round of the agent would change nothing.
    Impossible(RunFailure),
}

/// A command that has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FailedCommand {
    /// How it has failed, in one line with the command.
    pub reason: String,
    /// The end of its output.
    pub output: String,
}

impl RunContext<'_> {
    /// Runs commands one after the other in `cwd`, each under a guard like an agent, until one fails. `limit` is the time
    /// for all of them.
    pub(super) fn verify(
        &self,
        claimed: &ClaimedTask,
        attempt: &AttemptDir,
        cwd: &Path,
        commands: &[Vec<String>],
        limit: Option<Duration>,
    ) -> Verification {
        let begun = Instant::now();
        for command in commands {
            let left = limit.map(|limit| limit.saturating_sub(begun.elapsed()));
            let shown = shown(command);
            self.note_progress(claimed, format!("verifies: {shown}"));
            let finished = match self.run_command(claimed, attempt, cwd, command, left) {
                Ok(finished) => finished,
                Err(NotStarted::Stopped(reason)) => return Verification::Stopped(reason),
                Err(reason) => return Verification::Impossible(not_run(&shown, reason)),
            };
            if finished.survivors > 0 {
                let count = finished.survivors;
                self.warn(format!("{}: {count} processes of `{shown}` could not be killed", claimed.task.id));
            }
            if let Some(reason) = claimed.stop.reason() {
                return Verification::Stopped(reason);
            }
            let how = match (finished.stopped, finished.exit) {
                (Some(_), _) => {
                    let limit = limit.map(duration::format_coarse).unwrap_or_default();
                    format!("was stopped: the commands of verify took longer than {limit} (verify_timeout)")
                }
                (None, AgentExit::Code(0)) if !cwd.is_dir() => {
                    let reason = format!("`{shown}` has removed the directory that it verifies");
                    return Verification::Impossible(RunFailure::permanent(reason));
                }
                (None, AgentExit::Code(0)) => continue,
                (None, AgentExit::Code(code)) => format!("exited with code {code}"),
                (None, AgentExit::Signal(signal)) => format!("was killed by signal {signal}"),
            };
            let output = end_of_output(attempt).unwrap_or_default();
            return Verification::Failed(FailedCommand { reason: format!("`{shown}` {how}"), output });
        }
        Verification::Passed
    }

    fn run_command(
        &self,
        claimed: &ClaimedTask,
        attempt: &AttemptDir,
        cwd: &Path,
        command: &[String],
        timeout: Option<Duration>,
    ) -> Result<FinishedAgent, NotStarted> {
        let failed = |error: crate::Error| NotStarted::StoreFailed(error.to_string());
        let run = run_id(&claimed.token);
        let chain =
            self.chain_above(&claimed.task).map_err(|error| NotStarted::permanent(error.message()))?;
        // One stream, so that messages of both keep their order.
        let merged = ["-c", "exec \"$@\" 2>&1", "verify"].map(str::to_string);
        let spec = AgentSpec {
            program: "/bin/sh".into(),
            args: merged.into_iter().chain(command.iter().cloned()).collect(),
            env: self.environment(claimed, &chain, &run, cwd),
            cwd: cwd.to_path_buf(),
            run,
            stdin: PathBuf::from("/dev/null"),
            lock: None,
            stdout: CappedLog::new(attempt.create(files::VERIFY).map_err(failed)?, LOG_HEAD, LOG_TAIL),
            log: None,
            stderr: CappedLog::new(nowhere().map_err(failed)?, 0, 0),
            parser: StreamParser::new(Format::Text),
            cost_limit: None,
            timeout,
            silence_timeout: None,
            grace: self.plan.grace,
            linger: self.plan.linger,
            expected_session: None,
        };
        let finished = agent::run(spec, self.guard_pool, &claimed.stop, &mut |_| {})?;
        attempt.redact(files::VERIFY, claimed.token.as_str().as_bytes()).map_err(failed)?;
        Ok(finished)
    }

    /// Shows what is done for a task at the moment.
    pub(super) fn note_progress(&self, claimed: &ClaimedTask, text: String) {
        self.registration.set_progress(&claimed.task.id, &text);
        (self.observe)(DispatchEvent::Progress { task_id: claimed.task.id.clone(), text });
    }
}

fn nowhere() -> crate::Result<File> {
    let path = Path::new("/dev/null");
    File::options().write(true).open(path).map_err(|error| crate::Error::io("open", path, error))
}

/// Returns a command as one line for people.
fn shown(command: &[String]) -> String {
    let words = match command {
        [shell, flag, text] if shell == "sh" && flag == "-c" => printable(text),
        words => words.iter().map(|word| printable(word)).collect::<Vec<_>>().join(" "),
    };
    one_line(&words, MAX_COMMAND)
}

/// Returns the failure of a command that was not started.
fn not_run(shown: &str, reason: NotStarted) -> RunFailure {
    match reason {
        NotStarted::Task(failure) => {
            RunFailure { message: format!("`{shown}` was not run: {}", failure.message), ..failure }
        }
        NotStarted::LaneUnready(reason) | NotStarted::StoreFailed(reason) => {
            RunFailure::new(FailureClass::Error, format!("`{shown}` was not run: {reason}"))
        }
        NotStarted::Busy | NotStarted::Stopped(_) => {
            RunFailure::new(FailureClass::Error, format!("`{shown}` was not run"))
        }
    }
}

/// Returns the end of the output of the last command as text.
fn end_of_output(attempt: &AttemptDir) -> Option<String> {
    let mut file = attempt.open(files::VERIFY).ok()??;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_OUTPUT))).ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_OUTPUT).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_string())
}
