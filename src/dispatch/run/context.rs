//! What a run works with and leaves behind: its context, the claimed task, the files of its attempt.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::retry::PastAttempts;
use super::vendor_version::VersionCache;
use crate::Result;
use crate::dispatch::agent::StopHandle;
use crate::dispatch::agent::process_tree::RunId;
use crate::dispatch::agent::reaper::GuardPool;
use crate::dispatch::config::plan::Plan;
use crate::dispatch::config::served_lane::Service;
use crate::dispatch::event::DispatchEvent;
use crate::dispatch::outcome::Outcome;
use crate::dispatch::output::{Format, RunReport, StreamParser};
use crate::dispatch::registration::DispatcherRegistration;
use crate::model::json::Object;
use crate::model::{ClaimToken, Command, Task};
use crate::store::{AttemptDir, Store};

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

/// Most of a run's output that is read again, in bytes.
const LARGEST_LOG: u64 = 64 * 1024 * 1024;
/// What a run needs from its dispatcher.
#[derive(Clone)]
pub struct RunContext<'a> {
    /// The store.
    pub store: &'a Store,
    /// The plan, as it was when the run began.
    pub plan: Arc<Plan>,
    /// The dispatcher's card.
    pub registration: &'a DispatcherRegistration,
    /// Starts the agents.
    pub guard_pool: &'a GuardPool,
    /// Versions of the vendors' programs.
    pub versions: &'a VersionCache,
    /// Hears what happens.
    pub observe: &'a (dyn Fn(DispatchEvent) + Sync),
}

/// A claimed task and what serves it.
pub struct ClaimedTask {
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
pub struct RunRecord {
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
pub struct RunResult {
    /// How it ended.
    pub outcome: Outcome,
    /// What its output said.
    pub report: RunReport,
    /// How long it took.
    pub duration: Duration,
    /// An agent was started.
    pub is_started: bool,
    /// What came of the attempts before.
    pub past: PastAttempts,
    /// Version of the vendor's program, if it was asked.
    pub version: Option<String>,
}

impl RunContext<'_> {
    /// Adds to the task's history, as the holder of the claim; the run is as good without it.
    pub fn note_if_possible(&self, claimed: &ClaimedTask, kind: &str, message: String, data: Object) {
        if let Err(error) = self.note(claimed, kind, message, data) {
            self.warn(format!("{}: its history lacks a line: {error}", claimed.task.id));
        }
    }

    fn note(&self, claimed: &ClaimedTask, kind: &str, message: String, data: Object) -> Result<()> {
        let token = Some(claimed.token.clone());
        let command = Command::Note { kind: kind.to_string(), message, data, token };
        match self.store.apply(&claimed.task.id, &command) {
            Ok(_) => Ok(()),
            // The claim is over: the keeper stops the run, and until it does nothing is lost.
            Err(error) if error.refusal().is_some_and(|refusal| refusal.claim_state().is_some()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Prints a warning; the work goes on.
    pub fn warn(&self, message: String) {
        (self.observe)(DispatchEvent::Warning { message });
    }
}

/// The name of the run under a claim: anybody who knows the claim knows it.
pub fn run_id(token: &ClaimToken) -> RunId {
    let digest = crate::digest::sha256_bytes(format!("run:{}", token.as_str()).as_bytes());
    // Always an id: the digest is longer than one and hexadecimal.
    RunId::parse(&digest[..32]).unwrap_or_else(|| RunId::from_random(0))
}

/// Takes the proof of a claim out of what a run has left to read, once nobody writes there any more.
pub fn hide_token(attempt: &AttemptDir, token: &ClaimToken) -> Result<()> {
    let mut all =
        [files::PROMPT, files::STDOUT, files::STDERR, files::LAST_MESSAGE, files::PROGRESS].into_iter();
    all.try_for_each(|name| attempt.redact(name, token.as_str().as_bytes()))
}

/// What is known of a run from its attempt's directory.
pub fn read_run_record(attempt: &AttemptDir) -> Option<RunRecord> {
    let bytes = attempt.read(files::RUN, 1024 * 1024).ok().flatten()?;
    serde_json::from_slice(&bytes).ok()
}

/// What a run printed, as far as it was written down. `None` when there is no output, or when its format is
/// one of a later version.
pub fn read_output(attempt: &AttemptDir, record: &RunRecord) -> Result<Option<StreamParser>> {
    let Some(format) = Format::parse(&record.format) else { return Ok(None) };
    let Some(output) = attempt.read(files::STDOUT, LARGEST_LOG)? else { return Ok(None) };
    let mut parser = StreamParser::new(format);
    parser.feed(&output, &mut |_| {});
    Ok(Some(parser))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_cards_of_earlier_versions_are_read_and_written_byte_for_byte() {
        let text = r#"{"run":"a28edc4b2189fe1baaab0797b163e1b7","started_at":"2026-11-28T20:34:05.844651Z","vendor":"command","format":"text","argv":["/usr/bin/sh","-c","exit 3"],"session_id":null,"resume_id":null,"model":null,"wants_json":false,"move_to":null}"#;
        let record: RunRecord = serde_json::from_str(text).expect("a card");
        assert_eq!(serde_json::to_string(&record).expect("JSON"), text);
    }

    #[test]
    fn a_claim_names_its_run() {
        let token = |text| ClaimToken::from_text(text);
        assert_eq!(run_id(&token("a")), run_id(&token("a")));
        assert_ne!(run_id(&token("a")), run_id(&token("b")));
    }
}
