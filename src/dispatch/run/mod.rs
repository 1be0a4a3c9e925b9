//! One task, from the claim to the report.

pub mod answer;
pub mod classify;
pub(crate) mod conversation;
pub mod git_directories;
pub mod outcome;
pub mod prepare;
pub mod reset_time;
pub mod resume;
pub mod retry;
pub(crate) mod said;
pub mod usage_limit;

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use self::classify::judge;
use self::outcome::{Exit, Failure, Outcome, Run};
use self::prepare::{CannotStart, Prepared};
use self::resume::Continuation;
use self::retry::{MAX_INTERRUPTIONS, Past};
use super::agent::process_tree::{self, RunId};
use super::agent::reaper::Household;
use super::agent::stop::StopHandle;
use super::agent::{self, Finished, Happening, NoStart};
use super::config::plan::Plan;
use super::config::served_lane::Service;
use super::event::Moment;
use super::output::{Baseline, Format, LONGEST_TEXT, Note, RunReport, StreamParser};
use super::prompt::input;
use super::registration::Roster;
use super::vendor::VersionCache;
use crate::model::json::Object;
use crate::model::task::object;
use crate::model::{ClaimToken, Command, Event, Task, Time};
use crate::store::{Attempt, Store};
use crate::{Error, ErrorKind, Result};

/// File names in an attempt's directory.
pub mod files {
    /// What the agent read.
    pub const PROMPT: &str = "prompt.md";
    /// What it printed.
    pub const STDOUT: &str = "stdout.log";
    /// What it complained about.
    pub const STDERR: &str = "stderr.log";
    /// Its answer, from vendors that write it into a file besides.
    pub const LAST_MESSAGE: &str = "last.md";
    /// Its progress, one line each: when, and what.
    pub const PROGRESS: &str = "progress.log";
    /// What must be known to put a run in order whose dispatcher died.
    pub const RUN: &str = "run.json";
}

/// Progress lines kept for one run.
const MOST_PROGRESS: u32 = 2000;
/// Least time between two of them.
const PROGRESS_PAUSE: Duration = Duration::from_secs(1);
/// Most of a run's output that is read again, in bytes.
const LARGEST_LOG: u64 = 64 * 1024 * 1024;
/// How long leftovers of an earlier run may take to end politely.
const SWEEP_GRACE: Duration = Duration::from_secs(2);

/// What a run needs from its dispatcher.
#[derive(Clone)]
pub struct Desk<'a> {
    /// The store.
    pub store: &'a Store,
    /// The plan, as it was when the run began.
    pub plan: Arc<Plan>,
    /// The dispatcher's card.
    pub roster: &'a Roster,
    /// Starts the agents.
    pub household: &'a Household,
    /// VersionCache of the vendors' programs.
    pub versions: &'a VersionCache,
    /// Hears what happens.
    pub observe: &'a (dyn Fn(Moment) + Sync),
}

/// A claimed task and what serves it.
pub struct Job {
    /// The task.
    pub task: Task,
    /// Proof of the claim.
    pub token: ClaimToken,
    /// What serves it.
    pub service: Arc<Service>,
    /// Ends the run.
    pub stop: StopHandle,
}

/// A run as it is written down before it starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunCard {
    /// The run's name.
    pub run: RunId,
    /// When it started.
    pub started_at: String,
    /// Who works on it.
    pub vendor: String,
    /// What its output is like.
    pub format: String,
    /// The command line.
    pub argv: Vec<String>,
    /// Conversation chosen for it.
    pub session_id: Option<String>,
    /// Conversation it continues.
    pub resume_id: Option<String>,
    /// Model asked for.
    pub model: Option<String>,
    /// The answer is to be JSON.
    pub wants_json: bool,
    /// Lane of the task that follows.
    pub move_to: Option<String>,
}

/// A run that is over, before anybody was told.
pub struct Ended {
    /// How it ended.
    pub outcome: Outcome,
    /// What its output said.
    pub report: RunReport,
    /// How long it took.
    pub duration: Duration,
    /// An agent was started.
    pub is_started: bool,
    /// What came of the attempts before.
    pub past: Past,
    /// Version of the vendor's program, if it was asked.
    pub version: Option<String>,
}

/// What all runs of an attempt have in common.
#[derive(Clone, Copy)]
struct About<'a> {
    events: &'a [Event],
    attempt: &'a Attempt,
    begun: Instant,
    past: Past,
}

/// The name of the run under a claim: anybody who knows the claim knows it.
pub fn run_id(token: &ClaimToken) -> RunId {
    let digest = crate::digest::sha256_bytes(format!("run:{}", token.as_str()).as_bytes());
    // Always an id: the digest is longer than one and hexadecimal.
    RunId::parse(&digest[..32]).unwrap_or_else(|| RunId::from_random(0))
}

impl Desk<'_> {
    /// Runs the agent for a task; whatever goes wrong is an outcome.
    pub fn run(&self, job: &Job) -> Ended {
        let begun = Instant::now();
        self.try_run(job).unwrap_or_else(|error| {
            // Nothing fails that way once the agent has been started.
            let outcome = match error.kind() {
                ErrorKind::Io | ErrorKind::Locked => Outcome::NotBegun(error.to_string()),
                _ => Outcome::Failed(Failure::permanent(error.to_string())),
            };
            self.ended(outcome, begun, Past::default())
        })
    }

    fn ended(&self, outcome: Outcome, begun: Instant, past: Past) -> Ended {
        let (report, duration) = (RunReport::default(), begun.elapsed());
        Ended { outcome, report, duration, is_started: false, past, version: None }
    }

    fn try_run(&self, job: &Job) -> Result<Ended> {
        let begun = Instant::now();
        let task = &job.task;
        let events = self.store.events(&task.id)?;
        let past = retry::past(&events);
        self.note_if_possible(
            job,
            "dispatcher_started",
            format!("{} runs it", self.plan.owner),
            object([
                ("owner", self.plan.owner.clone().into()),
                ("vendor", job.service.vendor.name.clone().into()),
            ]),
        );
        let refused = |failure| Ok(self.ended(Outcome::Failed(failure), begun, past));
        if let Some(failure) = self.refusal(task, past) {
            return refused(failure);
        }
        // Nobody else runs it: what an earlier dispatcher left of it is ended first.
        self.sweep_earlier(task)?;
        let attempt = self.store.attempt(&task.id, task.fence)?;
        let about = About { events: &events, attempt: &attempt, begun, past };
        let Some(continued) = resume::continuation(self.store, task, &events, &job.service, task.fence)?
        else {
            return self.run_agent(job, &about, None);
        };
        let ended = self.run_agent(job, &about, Some(&continued))?;
        let is_refused = resume::is_refused(&ended.outcome, &ended.report, &continued.session);
        if !is_refused || job.stop.reason().is_some() {
            return Ok(ended);
        }
        let message = format!("its conversation {} cannot be continued; begun anew", continued.session);
        self.note_if_possible(job, "resume_refused", message, Object::new());
        self.run_agent(job, &about, None)
    }

    /// Runs the agent once, in a new conversation unless it is to continue one.
    fn run_agent(&self, job: &Job, about: &About<'_>, continued: Option<&Continuation>) -> Result<Ended> {
        let (task, About { events, attempt, begun, past }) = (&job.task, *about);
        let refused = |failure| Ok(self.ended(Outcome::Failed(failure), begun, past));
        let prepared = match self.prepare(job, events, attempt, continued) {
            Ok(prepared) => prepared,
            Err(CannotStart::Task(failure)) => return refused(failure),
            Err(CannotStart::Lane(missing)) => {
                return Ok(self.ended(Outcome::Unready(missing), begun, past));
            }
            Err(CannotStart::Error(error)) => return Err(error),
        };
        let Prepared { spec, card, version } = prepared;
        let resumed = card.resume_id.clone();
        let baseline = match &resumed {
            Some(session) => conversation::baseline(&self.store.usage().unwrap_or_default(), session),
            None => Baseline::Fresh,
        };
        self.note_if_possible(
            job,
            "headless_started",
            match continued {
                Some(continued) => format!("{} goes on after {}", card.vendor, continued.cut.as_str()),
                None => format!("{} runs", card.vendor),
            },
            object([
                ("vendor", card.vendor.clone().into()),
                ("model", card.model.clone().into()),
                ("run", card.run.as_str().into()),
                ("session_id", resumed.clone().or(card.session_id.clone()).into()),
            ]),
        );
        let (timeout, silence) = (spec.timeout, spec.silence);
        let mut progress = Progress::new(attempt.create(files::PROGRESS)?);
        let finished = match agent::run(spec, self.household, &job.stop, &mut |happening| {
            self.happened(task, happening, &mut progress);
        }) {
            Ok(finished) => finished,
            Err(NoStart::Task(failure)) => return refused(failure),
            Err(NoStart::Program(message)) => {
                return Ok(self.ended(Outcome::Unready(message), begun, past));
            }
        };
        if let Some(error) = &finished.log_error {
            self.warn(format!("{}: the log is incomplete: {error}", task.id));
        }
        if let Err(error) = hide_token(attempt, &job.token) {
            self.warn(format!("{}: its logs may show the claim token of the run: {error}", task.id));
        }
        if finished.survivors > 0 {
            self.warn(format!(
                "{}: {} processes of the agent could not be ended",
                task.id, finished.survivors
            ));
        }
        let Finished { exit, stopped, parser, stderr, duration, .. } = finished;
        let mut report = parser.finish(&baseline);
        if report.session_id.is_none() {
            report.session_id.clone_from(&card.session_id);
        }
        report.name_model(card.model.as_deref());
        self.plan.prices.complete(&mut report);
        if report.complete && report.text.is_empty() {
            // The stream may lack a line that was too long to be read.
            let last = attempt.read(files::LAST_MESSAGE, LONGEST_TEXT as u64).ok().flatten();
            report.text = String::from_utf8_lossy(&last.unwrap_or_default()).into_owned();
        }
        let outcome = judge(
            &Run {
                report: &report,
                format: job.service.vendor.format,
                exit,
                stopped,
                stderr: &stderr,
                resumed: resumed.as_deref(),
                timeout,
                silence,
                now: self.store.now().wall,
                notices: &job.service.vendor.notices,
                zone: &TimeZone::system(),
            },
            card.wants_json,
        );
        let is_started = exit != Exit::NotStarted;
        Ok(Ended { outcome, report, duration, is_started, past, version })
    }

    /// Why a task is not run at all.
    fn refusal(&self, task: &Task, past: Past) -> Option<Failure> {
        let depth = input::depth(task);
        if depth >= self.plan.max_depth {
            return Some(Failure::permanent(format!(
                "agents that hand tasks to agents are {depth} levels deep, at most {} are allowed",
                self.plan.max_depth
            )));
        }
        (past.interruptions > MAX_INTERRUPTIONS).then(|| {
            Failure::permanent(format!(
                "its worker vanished {} times without an answer; something about this task ends its workers",
                past.interruptions
            ))
        })
    }

    fn sweep_earlier(&self, task: &Task) -> Result<()> {
        let earlier = self.store.attempt_numbers(&task.id)?.into_iter().rfind(|fence| *fence < task.fence);
        let Some(attempt) =
            earlier.and_then(|fence| self.store.existing_attempt(&task.id, fence).ok().flatten())
        else {
            return Ok(());
        };
        let card = read_card(&attempt);
        match card.map(|card| process_tree::sweep(&card.run, SWEEP_GRACE)) {
            Some(Ok(ended)) if ended > 0 => {
                self.warn(format!("{}: {ended} processes of an earlier run were ended", task.id));
                Ok(())
            }
            // Running it twice at once is worse than not running it.
            Some(Err(left)) => Err(Error::new(
                ErrorKind::Locked,
                format!("{left} processes of an earlier run of this task cannot be ended"),
            )),
            _ => Ok(()),
        }
    }

    fn happened(&self, task: &Task, happening: Happening<'_>, progress: &mut Progress) {
        let id = task.id.as_str();
        match happening {
            Happening::Started(pid) => {
                self.roster.change(id, |entry| entry.pid = Some(pid));
                (self.observe)(Moment::Started { task_id: id.to_string(), pid });
            }
            Happening::Session(session) => {
                self.roster.change(id, |entry| entry.session_id = Some(session.to_string()));
            }
            Happening::Note(note) => {
                if progress.take(&note, self.store.now().wall) {
                    self.roster.progress(id, &note.text);
                    (self.observe)(Moment::Progress { task_id: id.to_string(), text: note.text });
                }
            }
        }
    }

    /// Adds to the task's history, as the holder of the claim; the run is as good without it.
    pub(super) fn note_if_possible(&self, job: &Job, kind: &str, message: String, data: Object) {
        if let Err(error) = self.note(job, kind, message, data) {
            self.warn(format!("{}: its history lacks a line: {error}", job.task.id));
        }
    }

    fn note(&self, job: &Job, kind: &str, message: String, data: Object) -> Result<()> {
        let token = Some(job.token.clone());
        let command = Command::Note { kind: kind.to_string(), message, data, token };
        match self.store.apply(&job.task.id, &command) {
            Ok(_) => Ok(()),
            // The claim is over: the keeper stops the run, and until it does nothing is lost.
            Err(error) if error.refusal().is_some_and(|refusal| refusal.claim_state().is_some()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn warn(&self, message: String) {
        (self.observe)(Moment::Warning { message });
    }
}

/// Takes the proof of a claim out of what a run has left to read, once nobody writes there any more.
pub fn hide_token(attempt: &Attempt, token: &ClaimToken) -> Result<()> {
    let mut all =
        [files::PROMPT, files::STDOUT, files::STDERR, files::LAST_MESSAGE, files::PROGRESS].into_iter();
    all.try_for_each(|name| attempt.hide(name, token.as_str().as_bytes()))
}

/// What is known of a run from its attempt's directory.
pub fn read_card(attempt: &Attempt) -> Option<RunCard> {
    let bytes = attempt.read(files::RUN, 1024 * 1024).ok().flatten()?;
    serde_json::from_slice(&bytes).ok()
}

/// What a run printed, as far as it was written down. `None` when there is no output, or when its format is
/// one of a later version.
pub(super) fn read_output(attempt: &Attempt, card: &RunCard) -> Result<Option<StreamParser>> {
    let Some(format) = Format::parse(&card.format) else { return Ok(None) };
    let Some(output) = attempt.read(files::STDOUT, LARGEST_LOG)? else { return Ok(None) };
    let mut parser = StreamParser::new(format);
    parser.feed(&output, &mut |_| {});
    Ok(Some(parser))
}

/// The progress file of a run: bounded in lines and in lines per second.
struct Progress {
    file: File,
    last: Option<Instant>,
    left: u32,
}

impl Progress {
    fn new(file: File) -> Self {
        Self { file, last: None, left: MOST_PROGRESS }
    }

    /// Whether this note is to be shown; if so it is written down as well.
    fn take(&mut self, note: &Note, now: Time) -> bool {
        if self.last.is_some_and(|last| last.elapsed() < PROGRESS_PAUSE) {
            return false;
        }
        self.last = Some(Instant::now());
        if self.left > 0 {
            self.left -= 1;
            // Progress is for people who look; the run does not depend on it.
            let _ = writeln!(self.file, "{now} {}", note.text);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_cards_of_earlier_versions_are_read_and_written_byte_for_byte() {
        let text = r#"{"run":"a28edc4b2189fe1baaab0797b163e1b7","started_at":"2026-11-28T20:34:05.844651Z","vendor":"command","format":"text","argv":["/usr/bin/sh","-c","exit 3"],"session_id":null,"resume_id":null,"model":null,"wants_json":false,"move_to":null}"#;
        let card: RunCard = serde_json::from_str(text).expect("a card");
        assert_eq!(serde_json::to_string(&card).expect("JSON"), text);
    }

    #[test]
    fn a_claim_names_its_run() {
        let token = |text| ClaimToken::from_text(text);
        assert_eq!(run_id(&token("a")), run_id(&token("a")));
        assert_ne!(run_id(&token("a")), run_id(&token("b")));
    }
}
