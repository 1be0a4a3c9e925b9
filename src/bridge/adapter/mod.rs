//! A board behind a program that speaks the adapter protocol (`docs/bridge.md`): lines of JSON over its standard input
//! and output.
//!
//! The program is started under a [guard](crate::guard), which ends it with all of its descendants, also when the
//! bridge is killed. A program that does not answer, or answers something else, is ended and started again, after a
//! delay that grows.

mod environment;
mod message;
mod process;
mod redaction;
mod restart;
mod results;
mod stderr;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::message::{AdapterMessage, MAX_LINE_BYTES, PROTOCOL};
use self::process::{AdapterCommand, AdapterFault, AdapterProcess};
use self::redaction::Redaction;
use self::restart::RestartDelay;
pub(crate) use self::stderr::AdapterLog;
use super::board::{
    Board, BoardError, BoardErrorCode, BoardIdentity, BoardQueue, BoardResult, Card, CardChange, NewCard,
    QueueRef,
};
use super::stop::StopFlag;
use crate::error::{brief, printable};
use crate::guard::AgentExit;
use crate::guard::process_tree::RUN_ID_VARIABLE;
use crate::model::json::Object;
use crate::workspace::{Secret, Secrets};

/// How long an adapter may take for an answer, unless its settings say otherwise.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the file of a program may be open for writing when it is started.
const BUSY_FILE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an adapter may take to exit after `shutdown`, and when the bridge is being stopped.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
const SHUTDOWN_TIMEOUT_AT_STOP: Duration = Duration::from_millis(500);

/// The program of an adapter, and what it is told.
#[derive(Clone)]
pub(crate) struct AdapterProgram {
    /// Its command line; a relative program path is relative to `directory`.
    pub argv: Vec<String>,
    /// The directory that it runs in.
    pub directory: PathBuf,
    /// The file with its secrets.
    pub env_file: Option<PathBuf>,
    /// The names of its secrets.
    pub secrets: Vec<String>,
    /// Its settings, for `initialize`.
    pub config: Object,
    /// How long it may take for an answer.
    pub call_timeout: Duration,
    /// The environment of this process.
    pub environment: Vec<(OsString, OsString)>,
    /// Receives the lines of its log.
    pub log: AdapterLog,
    /// Once it is set, an answer is not waited for any more: the program is ended.
    pub stop: Arc<StopFlag>,
}

impl AdapterProgram {
    /// Returns its name for messages.
    fn name(&self) -> String {
        brief(self.argv.first().map_or("", String::as_str))
    }

    fn command(&self) -> AdapterCommand {
        let program = self.argv.first().map_or("", String::as_str);
        let program = match program.contains('/') {
            true => self.directory.join(program).into_os_string(),
            false => OsString::from(program),
        };
        let marker = self.environment.iter().find(|(name, _)| name == RUN_ID_VARIABLE);
        AdapterCommand {
            program,
            args: self.argv.get(1..).unwrap_or_default().to_vec(),
            directory: self.directory.clone(),
            environment: environment::adapter_environment(&self.environment),
            enclosing_runs: marker.and_then(|(_, runs)| runs.to_str().map(str::to_string)),
        }
    }

    /// Reads its secrets, which may have changed since the last start.
    fn read_secrets(&self) -> BoardResult<Vec<(String, Secret)>> {
        if self.secrets.is_empty() && self.env_file.is_none() {
            return Ok(Vec::new());
        }
        let secrets = Secrets::read(self.env_file.as_deref(), self.environment.clone())
            .map_err(|error| BoardError::new(BoardErrorCode::Invalid, error.to_string()))?;
        if let Some(warning) = secrets.warning() {
            (self.log)(warning);
        }
        let find = |name: &String| match secrets.get(name) {
            Some(secret) => Ok((name.clone(), secret.clone())),
            None => {
                let message = format!(
                    "the adapter {} needs the secret {}: put it into {}",
                    self.name(),
                    brief(name),
                    secrets.place()
                );
                Err(BoardError::new(BoardErrorCode::Auth, message))
            }
        };
        self.secrets.iter().map(find).collect()
    }
}

/// A board behind a program.
pub(crate) struct ProgramBoard {
    program: AdapterProgram,
    running: Option<RunningAdapter>,
    identity: BoardIdentity,
    restart: RestartDelay,
    /// Hides the secrets of the last start.
    redaction: Redaction,
    /// Id of the last request to the running process.
    last_id: u64,
    /// Whether a `changed` notification has come since the last wait.
    has_changed: bool,
}

struct RunningAdapter {
    process: AdapterProcess,
    started: Instant,
}

impl ProgramBoard {
    /// Starts the program, and asks it what it is.
    ///
    /// # Errors
    /// `Invalid` when the program cannot be started or speaks another version of the protocol, `Auth` when it lacks a
    /// secret, `Unavailable` when it does not behave, and what it answers itself.
    pub(crate) fn connect(program: AdapterProgram) -> BoardResult<Self> {
        Self::connect_with(program, PROTOCOL)
    }

    /// Does the same with another version of the protocol, to see what the program answers.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub(crate) fn connect_with(program: AdapterProgram, protocol: u64) -> BoardResult<Self> {
        let mut board = Self {
            program,
            running: None,
            identity: BoardIdentity::default(),
            restart: RestartDelay::default(),
            redaction: Redaction::default(),
            last_id: 0,
            has_changed: false,
        };
        board.start(protocol)?;
        Ok(board)
    }

    /// Starts the program, if it is not running and may be started now.
    fn ensure_running(&mut self) -> BoardResult<()> {
        if self.running.is_some() {
            return Ok(());
        }
        if let Some((delay, why)) = self.restart.pending(Instant::now()) {
            let message = why.to_string();
            return Err(BoardError { code: BoardErrorCode::Unavailable, message, retry_after: Some(delay) });
        }
        self.start(PROTOCOL)
    }

    fn start(&mut self, protocol: u64) -> BoardResult<()> {
        let secrets = self.program.read_secrets()?;
        self.redaction = Redaction::new(secrets.iter().map(|(_, secret)| secret.clone()));
        let started = Instant::now();
        let process = match self.start_process() {
            Ok(process) => process,
            Err(AdapterFault::NotStarted(errno)) => return Err(self.cannot_start(errno)),
            Err(fault) => return Err(self.failed(&fault, "the start", started, "")),
        };
        self.running = Some(RunningAdapter { process, started });
        self.last_id = 0;
        let revealed = secrets.iter().map(|(name, secret)| (name.clone(), secret.reveal().into()));
        let params = json!({
            "protocol": protocol,
            "client": {"name": "lanes", "version": env!("CARGO_PKG_VERSION")},
            "config": self.program.config,
            "secrets": Object::from_iter(revealed),
        });
        let identity = self.request("initialize", params).and_then(results::identity);
        match identity {
            Ok(identity) => {
                self.identity = identity;
                Ok(())
            }
            Err(error) => {
                // An adapter that has refused to work has nothing to lose.
                self.running = None;
                Err(error)
            }
        }
    }

    /// Starts the process; again for a moment while somebody is writing the file of the program.
    fn start_process(&self) -> Result<AdapterProcess, AdapterFault> {
        let give_up = Instant::now() + BUSY_FILE_TIMEOUT;
        loop {
            let process = AdapterProcess::start(
                &self.program.command(),
                self.program.call_timeout,
                self.redaction.clone(),
                (AdapterLog::clone(&self.program.log), Arc::clone(&self.program.stop)),
            );
            let is_busy = matches!(process, Err(AdapterFault::NotStarted(errno))
                if errno == rustix::io::Errno::TXTBSY.raw_os_error());
            if !is_busy || Instant::now() >= give_up {
                return process;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn cannot_start(&self, errno: i32) -> BoardError {
        let (program, directory) = (&self.program, self.program.directory.display().to_string());
        let error = std::io::Error::from_raw_os_error(errno);
        let way_out = match error.kind() {
            _ if !program.directory.is_dir() => {
                format!("the directory {} does not exist", printable(&directory))
            }
            std::io::ErrorKind::NotFound if self.names_a_file() => {
                "the program that its first line (#!…) names does not exist".to_string()
            }
            std::io::ErrorKind::NotFound => {
                format!("there is no such program; a relative path starts in {}", printable(&directory))
            }
            std::io::ErrorKind::PermissionDenied => "it is not executable: `chmod +x` it".to_string(),
            _ => error.to_string(),
        };
        let message = format!("the adapter {} cannot be started: {way_out}", program.name());
        BoardError::new(BoardErrorCode::Invalid, message)
    }

    fn names_a_file(&self) -> bool {
        Path::new(&self.program.command().program).is_file()
    }

    /// Makes a request of the running adapter, and returns its result.
    fn request(&mut self, method: &str, params: Value) -> BoardResult<Value> {
        let Value::Object(params) = params else {
            return Err(BoardError::new(BoardErrorCode::Invalid, "parameters are an object"));
        };
        self.last_id += 1;
        let id = self.last_id;
        let line = message::request(id, method, params);
        if line.len() > MAX_LINE_BYTES {
            let message = format!(
                "{method} is too long for the adapter protocol: {} MiB at most",
                MAX_LINE_BYTES >> 20
            );
            return Err(BoardError::new(BoardErrorCode::Invalid, message));
        }
        let Some(running) = &mut self.running else {
            return Err(BoardError::new(BoardErrorCode::Unavailable, "the adapter is not running"));
        };
        let deadline = Instant::now() + self.program.call_timeout;
        let (has_changed, redaction) = (&mut self.has_changed, &self.redaction);
        let answer =
            running.process.exchange(&line, deadline, &mut |line| match message::read(line, redaction)
                .map_err(AdapterFault::Misbehaved)?
            {
                AdapterMessage::Answer(answered, result) if answered == id => Ok(Some(result)),
                AdapterMessage::Answer(other, _) => {
                    let why = format!("answered request {other} when {id} was asked");
                    Err(AdapterFault::Misbehaved(why))
                }
                AdapterMessage::Changed => {
                    *has_changed = true;
                    Ok(None)
                }
                AdapterMessage::UnknownNotification => Ok(None),
            });
        match answer {
            Ok(result) => result,
            Err(fault) => Err(self.end_failed(&fault, method)),
        }
    }

    /// Ends the running adapter because of a fault.
    fn end_failed(&mut self, fault: &AdapterFault, during: &str) -> BoardError {
        let now = Instant::now();
        let (started, last_line) = match self.running.take() {
            Some(mut running) => (running.started, running.process.end()),
            None => (now, String::new()),
        };
        self.failed(fault, during, started, &last_line)
    }

    /// Records a fault of an adapter that is not running any more.
    fn failed(
        &mut self,
        fault: &AdapterFault,
        during: &str,
        started: Instant,
        last_line: &str,
    ) -> BoardError {
        let what = match fault {
            AdapterFault::NotStarted(errno) => std::io::Error::from_raw_os_error(*errno).to_string(),
            AdapterFault::GuardFailed(why) => format!("failed during {during}: {why}"),
            AdapterFault::Exited(AgentExit::Code(code)) => format!("exited with code {code} during {during}"),
            AdapterFault::Exited(AgentExit::Signal(signal)) => {
                format!("was killed by signal {signal} during {during}")
            }
            AdapterFault::ClosedInput => format!("closed its standard input during {during}"),
            AdapterFault::TimedOut => {
                format!("did not answer {during} within {}", seconds(self.program.call_timeout))
            }
            AdapterFault::LineTooLong => {
                format!("wrote a line of more than {} MiB during {during}", MAX_LINE_BYTES >> 20)
            }
            AdapterFault::Misbehaved(why) => format!("{why} (during {during})"),
            AdapterFault::Stopped => format!("was ended during {during}, since the bridge is being stopped"),
        };
        let log = match last_line {
            "" => String::new(),
            line => format!("; its log ends with: {}", line.chars().take(200).collect::<String>()),
        };
        let message = self.redaction.hide(&format!("the adapter {} {what}{log}", self.program.name()));
        let delay = self.restart.failed(started, Instant::now(), &message);
        BoardError { code: BoardErrorCode::Unavailable, message, retry_after: Some(delay) }
    }

    /// Makes a request, of a program that is started if it is not running.
    ///
    /// # Errors
    /// What it answers; `Unavailable` when it does not behave, or may not be started again yet.
    pub(crate) fn call(&mut self, method: &str, params: Value) -> BoardResult<Value> {
        self.ensure_running()?;
        self.request(method, params)
    }

    /// Waits for a notification until `deadline`. Returns whether one came.
    fn read_notifications(&mut self, deadline: Instant) -> BoardResult<bool> {
        let redaction = &self.redaction;
        let Some(running) = &mut self.running else { return Ok(false) };
        let notification =
            running.process.read_until(deadline, &mut |line| match message::read(line, redaction)
                .map_err(AdapterFault::Misbehaved)?
            {
                AdapterMessage::Changed => Ok(Some(())),
                AdapterMessage::UnknownNotification => Ok(None),
                AdapterMessage::Answer(id, _) => {
                    Err(AdapterFault::Misbehaved(format!("answered request {id}, which was not open")))
                }
            });
        match notification {
            Ok(notification) => Ok(notification.is_some()),
            Err(fault) => Err(self.end_failed(&fault, "a wait for changes")),
        }
    }

    /// Asks the program to exit, and ends it if it does not. Returns whether it exited by itself.
    ///
    /// # Errors
    /// What it answers, and the faults of [`Self::call`].
    pub(crate) fn end_by_shutdown(&mut self) -> BoardResult<bool> {
        if let Some(running) = &mut self.running {
            running.process.ignore_stop();
        }
        self.request("shutdown", json!({}))?;
        Ok(self.end_by_closing())
    }

    fn shutdown_timeout(&self) -> Duration {
        if self.program.stop.is_set() { SHUTDOWN_TIMEOUT_AT_STOP } else { SHUTDOWN_TIMEOUT }
    }

    /// Closes the standard input of the program, and ends it if it does not exit. Returns whether it exited by itself.
    pub(crate) fn end_by_closing(&mut self) -> bool {
        let Some(mut running) = self.running.take() else { return true };
        running.process.ignore_stop();
        running.process.close_input();
        let has_exited = running.process.has_exited_by(Instant::now() + self.shutdown_timeout());
        running.process.end();
        has_exited
    }
}

impl Drop for ProgramBoard {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.program.call_timeout = self.program.call_timeout.min(self.shutdown_timeout());
            // It is ended in any case.
            let _ = self.end_by_shutdown();
        }
    }
}

/// Formats a duration for messages.
fn seconds(duration: Duration) -> String {
    format!("{} s", (duration.as_secs_f64() * 10.0).ceil() / 10.0)
}

impl Board for ProgramBoard {
    fn identity(&self) -> &BoardIdentity {
        &self.identity
    }

    fn get_ready_tasks(&mut self, queue: &QueueRef, limit: usize) -> BoardResult<Vec<Card>> {
        let method = "get_ready_tasks";
        let result = self.call(method, json!({"queue": queue, "limit": limit}))?;
        let mut cards = results::cards(method, result)?;
        cards.truncate(limit);
        Ok(cards)
    }

    fn get_task(&mut self, id: &str) -> BoardResult<Card> {
        let result = self.call("get_task", json!({"id": id}))?;
        results::card("get_task", result)
    }

    fn move_task(&mut self, id: &str, queue: &QueueRef, expected: Option<&QueueRef>) -> BoardResult<()> {
        let mut params = json!({"id": id, "queue": queue});
        if let Some(expected) = expected {
            params["expect_queue"] = json!(expected);
        }
        let moved = self.call("move_task", params).map(drop);
        match moved {
            // The protocol does not say what was not found, and a card that is gone is given up.
            Err(error) if error.code == BoardErrorCode::NotFound && self.get_task(id).is_ok() => {
                Err(BoardError { code: BoardErrorCode::Invalid, ..error })
            }
            moved => moved,
        }
    }

    fn add_comment(&mut self, id: &str, text: &str, marker: &str) -> BoardResult<()> {
        self.call("add_comment", json!({"id": id, "text": text, "marker": marker})).map(drop)
    }

    fn update_task(&mut self, id: &str, change: &CardChange) -> BoardResult<()> {
        let mut params = json!(change);
        params["id"] = json!(id);
        self.call("update_task", params).map(drop)
    }

    fn assign_task(&mut self, id: &str) -> BoardResult<bool> {
        let Some(user) = self.identity.user.clone() else {
            // On a board without users nobody can have assigned the card before.
            return Ok(true);
        };
        if self.identity.can.assign_once {
            let params = json!({"id": id, "assignees": [user.name], "assign_once": true});
            return match self.call("update_task", params) {
                Ok(_) => Ok(true),
                Err(error) if error.code == BoardErrorCode::Conflict => Ok(false),
                Err(error) => Err(error),
            };
        }
        let mut assignees = self.get_task(id)?.assignees;
        if assignees.contains(&user.name) {
            return Ok(false);
        }
        assignees.push(user.name);
        self.update_task(id, &CardChange { assignees: Some(assignees), ..CardChange::default() })?;
        Ok(true)
    }

    fn create_task(&mut self, card: &NewCard) -> BoardResult<Card> {
        let result = self.call("create_task", json!(card))?;
        results::card("create_task", result)
    }

    fn list_queues(&mut self) -> BoardResult<Vec<BoardQueue>> {
        let result = self.call("list_queues", json!({}))?;
        results::queues("list_queues", result)
    }

    fn get_queue(&mut self, queue: &QueueRef) -> BoardResult<BoardQueue> {
        let result = self.call("get_queue", json!({"queue": queue}))?;
        results::queue("get_queue", result)
    }

    fn create_queue(&mut self, name: &str) -> BoardResult<BoardQueue> {
        let result = self.call("create_queue", json!({"name": name}))?;
        results::queue("create_queue", result)
    }

    fn update_queue(&mut self, queue: &QueueRef, new_name: &str) -> BoardResult<BoardQueue> {
        let result = self.call("update_queue", json!({"queue": queue, "new_name": new_name}))?;
        results::queue("update_queue", result)
    }

    fn delete_queue(&mut self, queue: &QueueRef) -> BoardResult<()> {
        self.call("delete_queue", json!({"queue": queue})).map(drop)
    }

    fn wait_for_change(&mut self, timeout: Duration) -> BoardResult<bool> {
        if std::mem::take(&mut self.has_changed) {
            return Ok(true);
        }
        if self.running.is_none() {
            let delay = self.restart.pending(Instant::now()).map_or(timeout, |(delay, _)| delay);
            self.program.stop.sleep(timeout.min(delay));
            return Ok(false);
        }
        self.read_notifications(Instant::now() + timeout)
    }
}
