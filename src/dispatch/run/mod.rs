//! One task, from the claim to the end of its run.

pub mod classify;
pub mod context;
pub mod evidence;
pub mod git_directories;
pub mod prepare;
pub mod prompt_input;
pub mod reset_time;
pub mod resume;
pub mod retry;
pub(crate) mod session_baseline;
pub mod usage_limit;
pub mod vendor_version;

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

use self::classify::judge;
use self::context::{Desk, Ended, Job, files, hide_token, read_card};
use self::evidence::Run;
use self::prepare::{CannotStart, Prepared};
use self::resume::Continuation;
use self::retry::{MAX_INTERRUPTIONS, Past};
use super::agent::process_tree;
use super::agent::{self, Finished, Happening, NoStart};
use super::event::Moment;
use super::outcome::{Exit, Failure, Outcome};
use super::output::{Baseline, LONGEST_TEXT, Note, RunReport};
use super::task_metadata::depth;
use crate::model::json::Object;
use crate::model::task::object;
use crate::model::{Event, Task, Time};
use crate::store::AttemptDir;
use crate::{Error, ErrorKind, Result};

/// Progress lines kept for one run.
const MOST_PROGRESS: u32 = 2000;
/// Least time between two of them.
const PROGRESS_PAUSE: Duration = Duration::from_secs(1);
/// How long leftovers of an earlier run may take to end politely.
const SWEEP_GRACE: Duration = Duration::from_secs(2);

/// What all runs of an attempt have in common.
#[derive(Clone, Copy)]
struct About<'a> {
    events: &'a [Event],
    attempt: &'a AttemptDir,
    begun: Instant,
    past: Past,
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
            Some(session) => session_baseline::baseline(&self.store.usage().unwrap_or_default(), session),
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
        let depth = depth(task);
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
