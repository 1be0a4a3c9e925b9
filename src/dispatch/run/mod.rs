//! Runs the agent for one task, from the claim to the result.

pub(crate) mod answer_check;
pub(crate) mod classify;
pub(crate) mod context;
mod conversation;
pub(crate) mod diagnosis;
pub(crate) mod earlier_work;
pub(crate) mod evidence;
pub(crate) mod git_directories;
pub(crate) mod message_hook;
pub(crate) mod prepare;
pub(crate) mod prompt_input;
mod proof;
pub(crate) mod reset_time;
pub(crate) mod resume;
pub(crate) mod retry;
mod rounds;
pub(crate) mod route_keys;
pub(crate) mod session_baseline;
mod told;
pub(crate) mod vendor_version;
mod verification;
pub(crate) mod worktree_record;
pub(crate) mod worktree_run;

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

use self::classify::classify;
use self::context::{
    AgentRun, ClaimedTask, FinishedRun, RunContext, RunEnd, RunFile, files, hide_token, read_run_file,
};
use self::evidence::RunEvidence;
use self::prepare::{PrepareError, PreparedRun};
use self::resume::ConversationToResume;
use self::retry::{MAX_INTERRUPTIONS, PastAttempts};
use self::worktree_record::recorded_worktree;
use super::agent::{self, AgentEvent, FinishedAgent};
use super::config::route::Route;
use super::event::DispatchEvent;
use super::outcome::{NotStarted, RunFailure, RunOutcome, StopReason};
use super::output::{Baseline, MAX_TEXT_BYTES, Note, StreamParser};
use super::prompt::Rejection;
use crate::guard::process_tree;
use crate::model::task::object;
use crate::model::{AgentChain, Event, RecursionLimits, Task, Time};
use crate::store::AttemptDir;
use crate::{Error, ErrorKind, Result};

/// Maximum number of progress lines kept for one run.
const MAX_PROGRESS_LINES: u32 = 2000;
/// Minimum time between two of them.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// Time between SIGTERM and SIGKILL for processes of an earlier run.
const TERMINATE_GRACE: Duration = Duration::from_secs(2);

/// What both runs of an attempt have in common: the one that resumes a conversation and the one that starts anew.
#[derive(Clone, Copy)]
struct AttemptContext<'a> {
    events: &'a [Event],
    attempt: &'a AttemptDir,
    started: Instant,
    past: PastAttempts,
    /// The working directory of the agent, if the task has a worktree.
    cwd: Option<&'a Path>,
    /// Why the agent is to continue, if an earlier round of the attempt was not accepted.
    rejection: Option<&'a Rejection>,
    /// Lines about the earlier rounds, as they would be in the usage log.
    usage_so_far: &'a str,
}

impl RunContext<'_> {
    /// Runs the agent for a task. Every error becomes an outcome.
    pub(crate) fn run(&self, claimed: &ClaimedTask) -> FinishedRun {
        let started = Instant::now();
        self.try_run(claimed).unwrap_or_else(|error| {
            // Such errors occur only before the agent is started.
            let reason = match error.kind() {
                ErrorKind::Io | ErrorKind::Locked => NotStarted::StoreFailed(error.to_string()),
                _ => NotStarted::permanent(error.to_string()),
            };
            not_started(reason, started, PastAttempts::default())
        })
    }

    fn try_run(&self, claimed: &ClaimedTask) -> Result<FinishedRun> {
        let started = Instant::now();
        let task = &claimed.task;
        let events = self.store.events(&task.id)?;
        let past = retry::count_past_attempts(&events);
        self.note_if_possible(
            claimed,
            "dispatcher_started",
            format!("{} runs it", self.plan.owner),
            object([
                ("owner", self.plan.owner.clone().into()),
                ("vendor", claimed.served.vendor.name.clone().into()),
                ("max_attempts", retry::max_attempts(task, &claimed.served.route).into()),
            ]),
        );
        if let Some(failure) = self.reason_not_to_run(task, &claimed.served.route, past) {
            return Ok(not_started(NotStarted::Task(failure), started, past));
        }
        // The claim is exclusive: processes that an earlier dispatcher left are ended first.
        self.terminate_earlier_run(task)?;
        let attempt = self.store.spool().attempt(&task.id, task.fence)?;
        let worktree = match self.open_worktree(claimed, &attempt) {
            Ok(worktree) => worktree,
            // A person looks there for what the setup has left.
            Err(reason) => {
                let worktree = recorded_worktree(&attempt);
                return Ok(FinishedRun { worktree, ..not_started(reason, started, past) });
            }
        };
        let cwd = worktree.as_ref().map(|opened| opened.cwd.as_path());
        let attempt_context = AttemptContext {
            events: &events,
            attempt: &attempt,
            started,
            past,
            cwd,
            rejection: None,
            usage_so_far: "",
        };
        let finished = self.run_in_conversation(claimed, &attempt_context)?;
        let mut finished = self.prove(claimed, &attempt_context, finished)?;
        if let Some(opened) = &worktree {
            self.close_worktree(claimed, &attempt, opened, &mut finished);
        }
        Ok(finished)
    }

    /// Runs the agent in the conversation of an earlier attempt if there is one to resume, else in a new one.
    fn run_in_conversation(
        &self,
        claimed: &ClaimedTask,
        attempt_context: &AttemptContext<'_>,
    ) -> Result<FinishedRun> {
        let (task, events) = (&claimed.task, attempt_context.events);
        let Some(conversation) =
            resume::conversation_to_resume(self.store, task, events, &claimed.served, task.fence)?
        else {
            return self.run_agent(claimed, attempt_context, None);
        };
        let resumed = self.run_agent(claimed, attempt_context, Some(&conversation))?;
        if !resume::is_refused(&resumed, &conversation.session) || claimed.stop.reason().is_some() {
            return Ok(resumed);
        }
        self.note_resume_refused(claimed, &conversation.session);
        self.run_agent(claimed, attempt_context, None)
    }

    /// Runs the agent once, in a new conversation unless it is to resume one.
    fn run_agent(
        &self,
        claimed: &ClaimedTask,
        attempt_context: &AttemptContext<'_>,
        conversation: Option<&ConversationToResume>,
    ) -> Result<FinishedRun> {
        let (task, AttemptContext { attempt, started, past, usage_so_far, .. }) =
            (&claimed.task, *attempt_context);
        let prepared = match self.prepare(claimed, attempt_context, conversation) {
            Ok(prepared) => prepared,
            Err(PrepareError::Task(failure)) => {
                return Ok(not_started(NotStarted::Task(failure), started, past));
            }
            Err(PrepareError::Lane(missing)) => {
                return Ok(not_started(NotStarted::LaneUnready(missing), started, past));
            }
            Err(PrepareError::Error(error)) => return Err(error),
        };
        let PreparedRun { spec, run_file, version, messages_through } = prepared;
        let resumed = run_file.conversation.resumed_id();
        let baseline = match resumed {
            Some(session) => {
                let log = self.store.usage_log_text().unwrap_or_default() + usage_so_far;
                session_baseline::baseline(&log, session)
            }
            None => Baseline::Fresh,
        };
        self.note_if_possible(
            claimed,
            "headless_started",
            match conversation {
                Some(conversation) => {
                    format!("{} continues after {}", run_file.vendor, conversation.interruption.as_str())
                }
                None => format!("{} runs", run_file.vendor),
            },
            object([
                ("vendor", run_file.vendor.clone().into()),
                ("model", run_file.model.clone().into()),
                ("run", run_file.run.as_str().into()),
                ("session_id", run_file.conversation.id().into()),
            ]),
        );
        let (timeout, silence_timeout) = (spec.timeout, spec.silence_timeout);
        let mut progress = ProgressFile::new(attempt.create(files::PROGRESS)?);
        let finished = match agent::run(spec, self.guard_pool, &claimed.stop, &mut |event| {
            if let AgentEvent::Started(_) = event {
                self.note_messages_read(claimed, messages_through);
            }
            self.handle_agent_event(task, event, &mut progress);
        }) {
            Ok(finished) => finished,
            Err(reason) => return Ok(not_started(reason, started, past)),
        };
        if let Some(error) = &finished.log_error {
            self.warn(format!("{}: the log is incomplete: {error}", task.id));
        }
        if let Err(error) = hide_token(attempt, &claimed.token) {
            self.warn(format!("{}: its logs may show the claim token of the run: {error}", task.id));
        }
        if finished.survivors > 0 {
            self.warn(format!(
                "{}: {} processes of the agent could not be killed",
                task.id, finished.survivors
            ));
        }
        let FinishedAgent { exit, stopped, parser, stderr, duration, .. } = finished;
        let over_budget = self.over_budget(claimed, &run_file, stopped, &parser);
        let mut report = parser.finish(&baseline);
        if report.session_id.is_none() {
            report.session_id = run_file.conversation.new_id().map(str::to_string);
        }
        report.attribute_to_model(run_file.model.as_deref());
        self.plan.prices.complete(&mut report);
        if report.current_result().is_some() && report.text.is_empty() {
            // The stream lacks a line that was too long to be parsed.
            let last = attempt.read(files::LAST_MESSAGE, MAX_TEXT_BYTES as u64).ok().flatten();
            report.text = String::from_utf8_lossy(&last.unwrap_or_default()).into_owned();
        }
        let outcome = classify(
            &RunEvidence {
                report: &report,
                format: claimed.served.vendor.format,
                exit,
                stopped,
                stderr: &stderr,
                resumed,
                timeout,
                silence_timeout,
                now: self.store.now().wall,
                vendor_messages: &claimed.served.vendor.messages,
                zone: &TimeZone::system(),
            },
            run_file.wants_json,
        );
        let outcome = match over_budget {
            // What it did answer counts.
            Some(failure) if !matches!(outcome, RunOutcome::Completed(_)) => RunOutcome::Failed(failure),
            _ => outcome,
        };
        Ok(FinishedRun {
            end: RunEnd::Ran(AgentRun { outcome, report, version }),
            duration,
            past,
            worktree: None,
            proof: None,
        })
    }

    /// Returns the failure of a run that was ended because of its cost.
    fn over_budget(
        &self,
        claimed: &ClaimedTask,
        run_file: &RunFile,
        stopped: Option<StopReason>,
        parser: &StreamParser,
    ) -> Option<RunFailure> {
        let usage = parser.usage_so_far().filter(|_| stopped == Some(StopReason::OverBudget))?;
        let limit = prepare::cost_limit(&self.plan, &claimed.served, run_file.model.as_deref())?;
        Some(limit.failure(&usage))
    }

    /// Returns why a task must not be run, if so.
    fn reason_not_to_run(&self, task: &Task, route: &Route, past: PastAttempts) -> Option<RunFailure> {
        let chain = match self.chain_above(task) {
            Ok(chain) => chain,
            Err(error) => return Some(RunFailure::permanent(error.message())),
        };
        let limits = RecursionLimits { max_depth: self.plan.max_depth, allows_cycles: route.allow_cycles };
        if let Err(recursion) = chain.check(&task.spec.lane, limits) {
            return Some(RunFailure::permanent(format!("{recursion}; {}", recursion.remedy())));
        }
        (past.interruptions > MAX_INTERRUPTIONS).then(|| {
            RunFailure::permanent(format!(
                "its worker disappeared {} times without an answer; something about this task ends its workers",
                past.interruptions
            ))
        })
    }

    /// Returns the agents above a task: those of its submitter, and those above this dispatcher.
    ///
    /// # Errors
    /// `Invalid` when the metadata of the task names them in another form than a dispatcher does.
    fn chain_above(&self, task: &Task) -> Result<AgentChain> {
        Ok(AgentChain::above_task(&task.spec.metadata)?.inside(&self.plan.chain))
    }

    fn terminate_earlier_run(&self, task: &Task) -> Result<()> {
        let earlier =
            self.store.spool().attempt_numbers(&task.id)?.into_iter().rfind(|fence| *fence < task.fence);
        let Some(attempt) =
            earlier.and_then(|fence| self.store.spool().existing_attempt(&task.id, fence).ok().flatten())
        else {
            return Ok(());
        };
        let run_file = read_run_file(&attempt);
        match run_file.map(|run_file| process_tree::terminate(&run_file.run, TERMINATE_GRACE)) {
            Some(Ok(ended)) if ended > 0 => {
                self.warn(format!("{}: {ended} processes of an earlier run were killed", task.id));
                Ok(())
            }
            // Two runs at once are worse than none.
            Some(Err(left)) => Err(Error::new(
                ErrorKind::Locked,
                format!("{left} processes of an earlier run of this task cannot be killed"),
            )),
            _ => Ok(()),
        }
    }

    fn handle_agent_event(&self, task: &Task, event: AgentEvent<'_>, progress: &mut ProgressFile) {
        let id = &task.id;
        match event {
            AgentEvent::Started(pid) => {
                self.registration.update_run(id, |entry| entry.pid = Some(pid));
                (self.observe)(DispatchEvent::Started { task_id: id.clone(), pid });
            }
            AgentEvent::Session(session) => {
                self.registration.update_run(id, |entry| entry.session_id = Some(session.to_string()));
            }
            AgentEvent::Note(note) => {
                if progress.take(&note, self.store.now().wall) {
                    self.registration.set_progress(id, &note.text);
                    (self.observe)(DispatchEvent::Progress { task_id: id.clone(), text: note.text });
                }
            }
        }
    }
}

fn not_started(reason: NotStarted, started: Instant, past: PastAttempts) -> FinishedRun {
    let duration = started.elapsed();
    FinishedRun { end: RunEnd::NotStarted(reason), duration, past, worktree: None, proof: None }
}

/// The progress file of a run, limited in lines and in lines per second.
struct ProgressFile {
    file: File,
    last: Option<Instant>,
    left: u32,
}

impl ProgressFile {
    fn new(file: File) -> Self {
        Self { file, last: None, left: MAX_PROGRESS_LINES }
    }

    /// Writes a note unless one was written a moment ago. Returns whether it is to be shown.
    fn take(&mut self, note: &Note, now: Time) -> bool {
        if self.last.is_some_and(|last| last.elapsed() < PROGRESS_INTERVAL) {
            return false;
        }
        self.last = Some(Instant::now());
        if self.left > 0 {
            self.left -= 1;
            // Progress only informs people; the run does not depend on it.
            let _ = writeln!(self.file, "{now} {}", note.text);
        }
        true
    }
}
