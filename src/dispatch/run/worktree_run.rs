//! The worktree of an attempt: made before its agent starts, inspected after it, and removed if the route does not keep it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use super::context::{ClaimedTask, FinishedRun, RunContext, RunEnd, files, run_id};
use super::earlier_work::earlier_work;
use super::prepare::{PrepareError, working_directory};
use super::worktree_record::{record, recorded_worktree};
use crate::dispatch::agent::log::CappedLog;
use crate::dispatch::agent::{self, AgentSpec, FinishedAgent};
use crate::dispatch::config::worktree_settings::KeepWorktree;
use crate::dispatch::outcome::{AgentExit, NotStarted, RunOutcome};
use crate::dispatch::output::{Baseline, Format, StreamParser};
use crate::dispatch::worktree::changes::WorktreeChanges;
use crate::dispatch::worktree::{TaskWorktree, WorktreeRequest};
use crate::error::{Result, printable};
use crate::model::TaskId;
use crate::model::json::{self, Object};
use crate::store::AttemptDir;

/// How long one command of the setup may take.
const SETUP_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// Number of bytes at the beginning and at the end of its log that are kept.
const SETUP_LOG: usize = 256 * 1024;
/// Number of characters of its output in a message.
const MAX_QUOTED: usize = 2000;

/// The worktree that the agent of an attempt works in.
pub(crate) struct AttemptWorktree {
    worktree: TaskWorktree,
    /// The working directory of the agent: the same in the worktree as it would be in the repository.
    pub cwd: PathBuf,
}

impl RunContext<'_> {
    /// Makes or finds the worktree of a task whose route asks for one.
    ///
    /// # Errors
    /// Why the agent cannot be started.
    pub(super) fn open_worktree(
        &self,
        claimed: &ClaimedTask,
        attempt: &AttemptDir,
    ) -> std::result::Result<Option<AttemptWorktree>, NotStarted> {
        let (task, route) = (&claimed.task, &claimed.served.route);
        let Some(settings) = &route.worktree else { return Ok(None) };
        let directory = working_directory(&self.plan, route, task).map_err(|error| match error {
            PrepareError::Task(failure) => NotStarted::Task(failure),
            error => NotStarted::permanent(error.to_string()),
        })?;
        let request = WorktreeRequest {
            settings,
            directory: &directory,
            task: &task.id,
            lane: &task.spec.lane,
            fence: task.fence,
            start: earlier_work(self.store, task).map(|work| work.head),
        };
        let (worktree, cwd) = request.open().map_err(|error| NotStarted::permanent(error.to_string()))?;
        let opened = AttemptWorktree { worktree, cwd };
        let place = opened.worktree.to_object();
        self.note_if_possible(
            claimed,
            "worktree_ready",
            format!("works in {} on {}", opened.worktree.path.display(), opened.worktree.branch),
            place.clone(),
        );
        let failed = |error: crate::Error| NotStarted::StoreFailed(error.to_string());
        attempt.write(files::WORKTREE, json::to_text(&place).as_bytes()).map_err(failed)?;
        if !settings.setup.is_empty() && !opened.worktree.is_set_up(&settings.setup) {
            for command in &settings.setup {
                if let Err(error) = self.set_up(claimed, attempt, &opened, command) {
                    // What keeps the lane from running leaves the worktree to the next attempt.
                    if matches!(error, NotStarted::Task(_)) {
                        self.discard(claimed, attempt, settings.keep, &opened);
                    }
                    return Err(error);
                }
            }
            opened.worktree.note_set_up(&settings.setup).map_err(failed)?;
        }
        Ok(Some(opened))
    }

    /// Runs a command of the setup, under a guard like an agent.
    fn set_up(
        &self,
        claimed: &ClaimedTask,
        attempt: &AttemptDir,
        opened: &AttemptWorktree,
        command: &[String],
    ) -> std::result::Result<(), NotStarted> {
        let failed = |error: crate::Error| NotStarted::StoreFailed(error.to_string());
        let log = |name| {
            attempt.create(name).map(|file| CappedLog::new(file, SETUP_LOG, SETUP_LOG)).map_err(failed)
        };
        let run = run_id(&claimed.token);
        let chain =
            self.chain_above(&claimed.task).map_err(|error| NotStarted::permanent(error.message()))?;
        let Some((program, args)) = command.split_first() else { return Ok(()) };
        let spec = AgentSpec {
            program: program.into(),
            args: args.to_vec(),
            env: self.environment(claimed, &chain, &run, &opened.cwd),
            cwd: opened.cwd.clone(),
            run,
            stdin: PathBuf::from("/dev/null"),
            lock: None,
            stdout: log(files::SETUP)?,
            log: None,
            stderr: log(files::SETUP_STDERR)?,
            parser: StreamParser::new(Format::Text),
            cost_limit: None,
            timeout: Some(SETUP_TIMEOUT),
            silence_timeout: None,
            grace: self.plan.grace,
            linger: self.plan.linger,
            expected_session: None,
        };
        let finished =
            agent::run(spec, self.guard_pool, &claimed.stop, &mut |_| {}).map_err(|error| match error {
                NotStarted::LaneUnready(reason) => {
                    NotStarted::LaneUnready(format!("`worktree.setup` cannot run: {reason}"))
                }
                error => error,
            })?;
        if let Some(reason) = claimed.stop.reason() {
            return Err(NotStarted::Stopped(reason));
        }
        if finished.exit == AgentExit::Code(0) && finished.stopped.is_none() {
            return Ok(());
        }
        Err(NotStarted::permanent(setup_failure(command, finished)))
    }

    /// Removes the worktree of a run that has failed before its agent was started, unless it is kept.
    fn discard(
        &self,
        claimed: &ClaimedTask,
        attempt: &AttemptDir,
        keep: KeepWorktree,
        opened: &AttemptWorktree,
    ) {
        self.leave(claimed, attempt, opened, |changes| !TaskWorktree::is_kept(keep, changes, true));
    }

    /// Records what the agent has changed in the worktree, and removes it unless it is kept.
    pub(super) fn close_worktree(
        &self,
        claimed: &ClaimedTask,
        attempt: &AttemptDir,
        opened: &AttemptWorktree,
        finished: &mut FinishedRun,
    ) {
        let place = self.leave(claimed, attempt, opened, |changes| self.removes(claimed, finished, changes));
        finished.worktree = place.or(finished.worktree.take());
    }

    /// Records what was changed in a worktree, and removes it if `removes` says so. Returns what was recorded.
    fn leave(
        &self,
        claimed: &ClaimedTask,
        attempt: &AttemptDir,
        opened: &AttemptWorktree,
        removes: impl Fn(&WorktreeChanges) -> bool,
    ) -> Option<Object> {
        let warn = |what: &str, error: &dyn std::fmt::Display| {
            self.warn(format!("{}: {what}: {error}", claimed.task.id));
        };
        let changes = match opened.worktree.changes() {
            Ok(changes) => changes,
            Err(error) => {
                warn("the changes in its worktree cannot be read", &error);
                return None;
            }
        };
        let mut place = opened.worktree.to_object();
        place.extend(changes.to_object());
        if removes(&changes) {
            match opened.worktree.remove(false) {
                Ok(()) => drop(place.insert("removed".to_string(), true.into())),
                Err(error) => warn("its worktree was not removed", &error),
            }
        }
        if let Err(error) = record(attempt, &place, &changes) {
            warn("the changes in its worktree are not recorded", &error);
        }
        Some(place)
    }

    fn removes(&self, claimed: &ClaimedTask, finished: &FinishedRun, changes: &WorktreeChanges) -> bool {
        let Some(settings) = &claimed.served.route.worktree else { return false };
        let has_failed = match &finished.end {
            RunEnd::Ran(run) => match run.outcome {
                RunOutcome::Completed(_) => false,
                RunOutcome::Failed(_) => true,
                // Another attempt continues in it.
                RunOutcome::Stopped(_) => return false,
            },
            RunEnd::NotStarted(_) => return false,
        };
        !TaskWorktree::is_kept(settings.keep, changes, has_failed)
    }
}

/// Records what an attempt has changed whose dispatcher died, unless that was done. Returns its worktree, if it had one.
///
/// # Errors
/// When git fails, or the changes cannot be written.
pub(crate) fn record_changes_of(attempt: &AttemptDir, task: &TaskId) -> Result<Option<Object>> {
    let Some(mut place) = recorded_worktree(attempt) else { return Ok(None) };
    if place.contains_key("head_commit") {
        return Ok(Some(place));
    }
    let Some(worktree) = TaskWorktree::from_object(&place, task.as_str()) else { return Ok(Some(place)) };
    let changes = worktree.changes()?;
    place.extend(changes.to_object());
    record(attempt, &place, &changes)?;
    Ok(Some(place))
}

/// Says how a command of the setup failed, with the end of its output.
fn setup_failure(command: &[String], finished: FinishedAgent) -> String {
    let how = match (finished.stopped, finished.exit) {
        (Some(_), _) => format!("took longer than {} minutes", SETUP_TIMEOUT.as_secs() / 60),
        (None, AgentExit::Code(code)) => format!("exited with code {code}"),
        (None, AgentExit::Signal(signal)) => format!("was killed by signal {signal}"),
    };
    let mut output = finished.parser.finish(&Baseline::Fresh).text;
    // Writing to a text cannot fail.
    let _ = write!(output, "\n{}", finished.stderr);
    let output: Vec<char> = output.trim().chars().collect();
    let end: String = output[output.len().saturating_sub(MAX_QUOTED)..].iter().collect();
    let command = command.iter().map(|word| printable(word)).collect::<Vec<_>>().join(" ");
    let message = format!("the setup of its worktree failed: `{command}` {how}");
    if end.is_empty() { message } else { format!("{message}\n\n{end}") }
}
