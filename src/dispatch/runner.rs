//! One task, from the claim to the report.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::agent::log::CappedLog;
use super::agent::stop::StopHandle;
use super::agent::tree::{self, MARKER, RunId};
use super::agent::{self, AgentSpec, Finished, Happening};
use super::brief::{self, word};
use super::journal::Record;
use super::judge::judge;
use super::moment::Moment;
use super::outcome::{Failure, Outcome, Run};
use super::plan::{DEPTH, Plan, Service};
use super::policy::{self, MAX_INTERRUPTIONS, Past};
use super::prompt;
use super::roster::Roster;
use super::stream::{Baseline, Note, RunReport, StreamParser, Totals};
use super::vendor::{SessionIds, Slots, agent_environment};
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
    /// Its progress, one JSON object a line.
    pub const PROGRESS: &str = "progress.jsonl";
    /// What must be known to put a run in order whose dispatcher died.
    pub const RUN: &str = "run.json";
}

/// Beginning and end of a log that are kept.
const LOG_HEAD: usize = 16 * 1024 * 1024;
const LOG_TAIL: usize = 1024 * 1024;
/// Progress lines kept for one run.
const MOST_PROGRESS: u32 = 2000;
/// Least time between two of them.
const PROGRESS_PAUSE: Duration = Duration::from_secs(1);
/// How long leftovers of an earlier run may take to end politely.
const SWEEP_GRACE: Duration = Duration::from_secs(2);

/// What a run needs from its dispatcher.
#[derive(Clone, Copy)]
pub struct Desk<'a> {
    /// The store.
    pub store: &'a Store,
    /// The plan.
    pub plan: &'a Plan,
    /// The dispatcher's card.
    pub roster: &'a Roster,
    /// Versions of the vendors' programs, by account.
    pub versions: &'a BTreeMap<String, String>,
    /// Hears what happens.
    pub observe: &'a (dyn Fn(Moment) + Sync),
}

/// A claimed task and what serves it.
pub struct Job<'a> {
    /// The task.
    pub task: Task,
    /// Proof of the claim.
    pub token: ClaimToken,
    /// What serves it.
    pub service: &'a Service,
    /// Ends the run.
    pub stop: StopHandle,
}

/// A run as it is written down before it starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunCard {
    /// The run's name.
    pub run: String,
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
    /// What came of the attempts before.
    pub past: Past,
}

/// The name of the run under a claim: anybody who knows the claim knows it.
pub fn run_id(token: &ClaimToken) -> RunId {
    let digest = crate::digest::sha256_bytes(format!("run:{}", token.as_str()).as_bytes());
    // Always an id: the digest is longer than one and hexadecimal.
    RunId::parse(&digest[..32]).unwrap_or_else(|| RunId::from_random(0))
}

impl Desk<'_> {
    /// Runs the agent for a task; whatever goes wrong is an outcome.
    pub fn run(&self, job: &Job<'_>) -> Ended {
        let begun = Instant::now();
        self.try_run(job).unwrap_or_else(|error| {
            let failure = match error.kind() {
                ErrorKind::Io | ErrorKind::Locked => {
                    Failure::new(crate::model::FailureClass::Error, error.to_string())
                }
                _ => Failure::permanent(error.to_string()),
            };
            self.ended(Outcome::Failed(failure), begun, Past::default())
        })
    }

    fn ended(&self, outcome: Outcome, begun: Instant, past: Past) -> Ended {
        Ended { outcome, report: RunReport::default(), duration: begun.elapsed(), past }
    }

    fn try_run(&self, job: &Job<'_>) -> Result<Ended> {
        let begun = Instant::now();
        let task = &job.task;
        let events = self.store.events(&task.id)?;
        let past = policy::past(&events);
        self.note(
            job,
            "dispatcher_started",
            format!("{} runs it", self.plan.owner),
            object([
                ("owner", self.plan.owner.clone().into()),
                ("vendor", job.service.vendor.name.clone().into()),
            ]),
        )?;
        let refused = |failure| Ok(self.ended(Outcome::Failed(failure), begun, past));
        if let Some(failure) = self.refusal(task, past) {
            return refused(failure);
        }
        // Nobody else runs it: what an earlier dispatcher left of it is ended first.
        self.sweep_earlier(task)?;
        let attempt = self.store.attempt(&task.id, task.fence)?;
        let prepared = match self.prepare(job, &events, &attempt)? {
            Ok(prepared) => prepared,
            Err(failure) => return refused(failure),
        };
        let card = &prepared.card;
        let resumed = card.resume_id.clone();
        let baseline = match &resumed {
            Some(session) => Baseline::Resumed(self.totals(session)),
            None => Baseline::Fresh,
        };
        self.note(
            job,
            "headless_started",
            format!("{} runs", card.vendor),
            object([
                ("vendor", card.vendor.clone().into()),
                ("model", card.model.clone().into()),
                ("run", card.run.clone().into()),
                ("session_id", resumed.clone().or(card.session_id.clone()).into()),
            ]),
        )?;
        let timeout = prepared.spec.timeout;
        let mut progress = Progress::new(attempt.create(files::PROGRESS)?);
        let finished = match agent::run(prepared.spec, &job.stop, &mut |happening| {
            self.happened(task, happening, &mut progress);
        }) {
            Ok(finished) => finished,
            Err(failure) => return refused(failure),
        };
        if let Some(error) = &finished.log_error {
            self.warn(format!("{}: the log is incomplete: {error}", task.id));
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
        let outcome = judge(
            &Run {
                report: &report,
                format: job.service.vendor.format,
                exit,
                stopped,
                stderr: &stderr,
                resumed: resumed.as_deref(),
                timeout,
                now: self.store.now().wall,
                zone: &TimeZone::system(),
            },
            card.wants_json,
        );
        Ok(Ended { outcome, report, duration, past })
    }

    /// Why a task is not run at all.
    fn refusal(&self, task: &Task, past: Past) -> Option<Failure> {
        let depth = task.metadata.get("dispatch_depth").and_then(serde_json::Value::as_u64).unwrap_or(0);
        if depth >= u64::from(self.plan.max_depth) {
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
        match card.and_then(|card| RunId::parse(&card.run)).map(|run| tree::sweep(&run, SWEEP_GRACE)) {
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

    fn totals(&self, session: &str) -> Totals {
        let usage = self.store.usage().unwrap_or_default();
        let last = usage
            .lines()
            .rev()
            .filter_map(Record::from_line)
            .find(|record| record.session_id.as_deref() == Some(session));
        last.map_or_else(Totals::default, |record| Totals {
            cost_usd: record.session_cost_usd,
            tokens: record.session_tokens,
        })
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

    /// Adds to the task's history, as the holder of the claim.
    pub fn note(&self, job: &Job<'_>, kind: &str, message: String, data: Object) -> Result<()> {
        let token = Some(job.token.clone());
        let command = Command::Note { kind: kind.to_string(), message, data, token };
        match self.store.apply(&job.task.id, &command) {
            Ok(_) => Ok(()),
            // The claim is over: the keeper stops the run, and until it does nothing is lost.
            Err(error) if error.kind() == ErrorKind::Refused => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn warn(&self, message: String) {
        (self.observe)(Moment::Warning { message });
    }
}

/// What is known of a run from its attempt's directory.
pub fn read_card(attempt: &Attempt) -> Option<RunCard> {
    let bytes = attempt.read(files::RUN, 1024 * 1024).ok().flatten()?;
    serde_json::from_slice(&bytes).ok()
}

/// Everything ready for the start.
struct Prepared {
    spec: AgentSpec,
    card: RunCard,
}

impl Desk<'_> {
    /// Brings together what the agent gets. The inner error is a failure of the task.
    fn prepare(
        &self,
        job: &Job<'_>,
        events: &[Event],
        attempt: &Attempt,
    ) -> Result<std::result::Result<Prepared, Failure>> {
        let Job { task, service, token, .. } = job;
        let (route, vendor) = (&service.route, &service.vendor);
        let cwd = match &route.cwd {
            Some(cwd) => self.plan.surroundings.cwd.join(cwd),
            None => PathBuf::from(task.worktree_path.as_ref().unwrap_or(&task.workspace_root)),
        };
        if !cwd.is_dir() {
            let cwd = crate::error::printable(&cwd.to_string_lossy());
            return Ok(Err(Failure::permanent(format!("the working directory {cwd} does not exist"))));
        }
        let resume_id = word(task, "session_id").map(str::to_string);
        if resume_id.is_some() && vendor.resume_args.is_none() {
            let message = format!("{} cannot continue a conversation", vendor.name);
            return Ok(Err(Failure::permanent(message)));
        }
        let session_id =
            (resume_id.is_none() && vendor.session == SessionIds::Uuid).then(|| uuid(self.store.random()));
        let model = self.model(task, service);
        let (effort, warning) = brief::effort(task, route);
        let effort = effort.or_else(|| vendor.effort.clone());
        if let Some(warning) = warning {
            self.warn(format!("{}: {warning}", task.id));
        }
        let mut input = brief::brief(self.store, task, events, route, &self.plan.surroundings)?;
        if !vendor.takes_effort() {
            input.effort_hint.clone_from(&effort);
        }
        attempt.put(files::PROMPT, prompt::build(&input).as_bytes())?;
        let mut add_dirs = vec![self.store.root().to_string_lossy().into_owned()];
        add_dirs.extend(route.add_dirs.iter().cloned());
        let slots = Slots {
            session_id: session_id.clone(),
            resume_id: resume_id.clone(),
            model: model.clone(),
            effort,
            permission_mode: route.permission_mode.clone().over(vendor.permission_mode.clone()),
            max_budget_usd: route.max_budget_usd.map(|amount| amount.to_string()),
            mcp_config: route.mcp_config.clone(),
            cwd: Some(cwd.to_string_lossy().into_owned()),
            allowed_tools: route
                .allowed_tools
                .clone()
                .over(Some(vendor.allowed_tools.clone()))
                .unwrap_or_default(),
            disallowed_tools: route
                .disallowed_tools
                .clone()
                .over(Some(vendor.disallowed_tools.clone()))
                .unwrap_or_default(),
            add_dirs,
            extra_args: route.args.clone(),
        };
        let template = if resume_id.is_some() { vendor.resume_args.as_ref() } else { None };
        let args = template.unwrap_or(&vendor.args).render(&slots)?;
        let run = run_id(token);
        let started_at = self.store.now().wall;
        let card = RunCard {
            run: run.as_str().to_string(),
            started_at: started_at.to_string(),
            vendor: vendor.name.clone(),
            format: vendor.format.name().to_string(),
            argv: std::iter::once(service.program.to_string_lossy().into_owned())
                .chain(args.iter().cloned())
                .collect(),
            session_id,
            resume_id: resume_id.clone(),
            model,
            wants_json: input.wants_json,
            move_to: route.move_to.clone(),
        };
        let text = serde_json::to_vec(&card).map_err(|error| Error::corrupt(format!("a run: {error}")))?;
        attempt.put(files::RUN, &text)?;
        let prompt_path = attempt.file_path(files::PROMPT);
        let log = |name| Ok::<_, Error>(CappedLog::new(attempt.create(name)?, LOG_HEAD, LOG_TAIL));
        let task_timeout = task.timeout_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let spec = AgentSpec {
            program: service.program.clone().into_os_string(),
            args,
            env: self.environment(job, &run),
            cwd,
            run,
            stdin: File::open(&prompt_path).map_err(|error| Error::io("open", &prompt_path, error))?,
            stdout: log(files::STDOUT)?,
            stderr: log(files::STDERR)?,
            parser: StreamParser::new(vendor.format),
            timeout: task_timeout.or(route.timeout),
            grace: self.plan.grace,
            linger: self.plan.linger,
            expected_session: resume_id,
        };
        self.roster.change(task.id.as_str(), |entry| {
            entry.session_id = card.resume_id.clone().or(card.session_id.clone());
            entry.deadline =
                spec.timeout.map(|limit| started_at.plus_seconds(limit.as_secs_f64()).to_string());
        });
        Ok(Ok(Prepared { spec, card }))
    }

    /// The model: what the task's class means, else what the route says, else the vendor's default.
    fn model(&self, task: &Task, service: &Service) -> Option<String> {
        let class = word(task, "model_class").map(|class| service.vendor.model_for_class(class));
        let asked = match class {
            Some(Ok(model)) => model,
            Some(Err(warning)) => {
                self.warn(format!("{}: {warning}", task.id));
                None
            }
            None => None,
        };
        asked.or_else(|| service.route.model.clone()).or_else(|| service.vendor.model.clone())
    }

    fn environment(&self, job: &Job<'_>, run: &RunId) -> BTreeMap<OsString, OsString> {
        let around = &self.plan.surroundings;
        let task = &job.task;
        let path = |path: &std::path::Path| Some(path.to_string_lossy().into_owned());
        let own = BTreeMap::from(
            [
                ("LANES_TASK_ID", Some(task.id.to_string())),
                ("LANES_CLAIM_TOKEN", Some(job.token.as_str().to_string())),
                ("LANES_STORE", path(self.store.root())),
                ("LANES_CONFIG", self.plan.config_path.as_deref().and_then(path)),
                ("LANES_LANE", Some(task.lane.clone())),
                ("LANES_ATTEMPT", Some(task.attempt.to_string())),
                ("LANES_FENCE", Some(task.fence.to_string())),
                ("LANES_API_URL", around.variable("LANES_API_URL").map(str::to_string)),
                (DEPTH, Some(self.plan.depth.to_string())),
                (MARKER, Some(run.marker(around.variable(MARKER)))),
            ]
            .map(|(name, value)| (name.to_string(), value)),
        );
        agent_environment(
            around.environment.clone(),
            &[&job.service.vendor.env, &job.service.route.env, &own],
        )
    }
}

/// A random UUID (version 4).
fn uuid(random: u128) -> String {
    let bits = (random & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
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
            let line = object([("at", now.to_string().into()), ("text", note.text.clone().into())]);
            // Progress is for people who look; the run does not depend on it.
            let _ = self.file.write_all(crate::model::json::to_ascii_line(&line).as_bytes());
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_of_version_4() {
        assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    #[test]
    fn a_claim_names_its_run() {
        let token = |text| ClaimToken::from_text(text);
        assert_eq!(run_id(&token("a")), run_id(&token("a")));
        assert_ne!(run_id(&token("a")), run_id(&token("b")));
    }
}
