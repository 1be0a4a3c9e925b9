//! The context of a run: the dispatcher's parts that it uses, the claimed task, the files of its attempt.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::conversation::Conversation;
use super::retry::PastAttempts;
use super::vendor_version::VersionCache;
use crate::Result;
use crate::dispatch::agent::StopHandle;
use crate::dispatch::agent::reaper::GuardPool;
use crate::dispatch::config::follow_ups::{FollowUpRule, FollowUpRules};
use crate::dispatch::config::plan::Plan;
use crate::dispatch::config::served_lane::ServedLane;
use crate::dispatch::event::DispatchEvent;
use crate::dispatch::outcome::{NotStarted, Proof, RunAnswer, RunOutcome, VendorRefusal};
use crate::dispatch::output::{Format, RunReport, StreamParser};
use crate::dispatch::registration::DispatcherRegistration;
use crate::dispatch::stored_time;
use crate::model::json::Object;
use crate::model::{ClaimToken, Command, LaneName, RunId, Task, Time};
use crate::store::{AttemptDir, Store};

/// File names in an attempt's directory.
pub(crate) mod files {
    /// The prompt.
    pub(crate) const PROMPT: &str = "prompt.md";
    /// Standard output of the agent.
    pub(crate) const STDOUT: &str = "stdout.log";
    /// Standard error of the agent.
    pub(crate) const STDERR: &str = "stderr.log";
    /// The answer, for vendors that also write it into a file.
    pub(crate) const LAST_MESSAGE: &str = "last.md";
    /// Progress: a line each with time and text.
    pub(crate) const PROGRESS: &str = "progress.log";
    /// The worktree of the attempt, and what has changed in it.
    pub(crate) const WORKTREE: &str = "worktree.json";
    /// The changes in the worktree as a patch.
    pub(crate) const PATCH: &str = "diff.patch";
    /// A summary of the changes, if the patch would be too large.
    pub(crate) const STAT: &str = "diff.stat";
    /// Standard output of the last command of the worktree's setup.
    pub(crate) const SETUP: &str = "setup.log";
    /// Standard error of that command.
    pub(crate) const SETUP_STDERR: &str = "setup-stderr.log";
    /// The JSON Schema of the answer.
    pub(crate) const SCHEMA: &str = "schema.json";
    /// Output of the last command that verified the work.
    pub(crate) const VERIFY: &str = "verify.log";
    /// The [`RunFile`](super::RunFile), for the recovery of a run whose dispatcher died.
    pub(crate) const RUN: &str = crate::workspace::RUN_FILE;
}

/// Maximum size of a run's output that is parsed again, in bytes.
const MAX_LOG_BYTES: u64 = 64 * 1024 * 1024;
/// The parts of a dispatcher that its runs use.
#[derive(Clone)]
pub(crate) struct RunContext<'a> {
    /// The store.
    pub store: &'a Store,
    /// The plan as it was when the run started.
    pub plan: Arc<Plan>,
    /// The dispatcher's registration.
    pub registration: &'a DispatcherRegistration,
    /// Starts the agents.
    pub guard_pool: &'a GuardPool,
    /// Versions of the vendors' programs.
    pub versions: &'a VersionCache,
    /// Receives the events.
    pub observe: &'a (dyn Fn(DispatchEvent) + Sync),
}

/// A claimed task, and the served lane for which it was claimed.
pub(crate) struct ClaimedTask {
    /// The task.
    pub task: Task,
    /// Token of the claim.
    pub token: ClaimToken,
    /// Lane, with its route and vendor.
    pub served: Arc<ServedLane>,
    /// Stops the run.
    pub stop: StopHandle,
}

/// `run.json`: what the recovery of a run needs to know, written into its attempt before the agent starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RunFile {
    /// Id of the run.
    pub run: RunId,
    /// Start of the run, if the file holds a time.
    #[serde(with = "stored_time")]
    pub started_at: Option<Time>,
    /// Name of the vendor.
    pub vendor: String,
    /// Format of the output.
    pub format: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The conversation of the run.
    #[serde(flatten)]
    pub conversation: Conversation,
    /// Requested model.
    pub model: Option<String>,
    /// Whether the answer must be JSON.
    pub wants_json: bool,
    /// Lane of the follow-up task after success.
    #[serde(default, deserialize_with = "read_lane")]
    pub move_to: Option<LaneName>,
    /// Whether the answer counts only after commands have verified the work.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_verified_later: bool,
    /// Which tasks follow; `None` if only `move_to` says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow_ups: Option<FollowUpRules>,
}

impl RunFile {
    /// Returns which tasks follow.
    pub(crate) fn follow_up_rules(&self) -> FollowUpRules {
        let of_earlier_version = || FollowUpRules {
            on_success: self.move_to.clone().map(|lane| FollowUpRule { lane, prompt: None }),
            ..FollowUpRules::default()
        };
        self.follow_ups.clone().unwrap_or_else(of_earlier_version)
    }
}

/// Reads the name of a lane, which was checked before the record was written.
fn read_lane<'de, D: Deserializer<'de>>(value: D) -> std::result::Result<Option<LaneName>, D::Error> {
    Ok(Option::<String>::deserialize(value)?.map(LaneName::stored))
}

/// A run that is over and not reported yet.
pub(crate) struct FinishedRun {
    /// How it ended.
    pub end: RunEnd,
    /// Its duration.
    pub duration: Duration,
    /// What became of the earlier attempts.
    pub past: PastAttempts,
    /// The worktree of the attempt and what has changed in it, for the metadata of the response.
    pub worktree: Option<Object>,
    /// Whether the work was verified; `None` if it did not have to be, or the agent did not call it done.
    pub proof: Option<Proof>,
}

/// How a run ended.
#[expect(clippy::large_enum_variant, reason = "there is one for each run, and it is matched by pattern")]
pub(crate) enum RunEnd {
    /// An agent ran.
    Ran(AgentRun),
    /// No agent was started.
    NotStarted(NotStarted),
}

/// What an agent has done.
pub(crate) struct AgentRun {
    /// What the run means for the task.
    pub outcome: RunOutcome,
    /// What the output contained.
    pub report: RunReport,
    /// Version of the vendor's program, if it was queried.
    pub version: Option<String>,
}

impl FinishedRun {
    /// Returns the run of the agent, if one was started.
    pub(crate) fn agent_run(&self) -> Option<&AgentRun> {
        match &self.end {
            RunEnd::Ran(run) => Some(run),
            RunEnd::NotStarted(_) => None,
        }
    }

    /// Returns the answer of the agent, if it gave one.
    pub(crate) fn answer(&self) -> Option<&RunAnswer> {
        match &self.agent_run()?.outcome {
            RunOutcome::Completed(answer) => Some(answer),
            RunOutcome::Failed(_) | RunOutcome::Stopped(_) => None,
        }
    }

    /// Returns the cost of the run in US dollars, as far as it is known.
    pub(crate) fn cost_usd(&self) -> Option<f64> {
        self.agent_run()?.report.cost_usd()
    }

    /// Returns the refusal by the vendor that ended the run, if one did, and the message about it.
    pub(crate) fn vendor_refusal(&self) -> Option<(&VendorRefusal, &str)> {
        let RunOutcome::Failed(failure) = &self.agent_run()?.outcome else { return None };
        Some((failure.vendor_refusal.as_ref()?, &failure.message))
    }
}

impl RunContext<'_> {
    /// Adds an event to the task's history, as the holder of the claim. A failure is only a warning.
    pub(crate) fn note_if_possible(&self, claimed: &ClaimedTask, kind: &str, message: String, data: Object) {
        if let Err(error) = self.note(claimed, kind, message, data) {
            self.warn(format!("{}: its history lacks a line: {error}", claimed.task.id));
        }
    }

    fn note(&self, claimed: &ClaimedTask, kind: &str, message: String, data: Object) -> Result<()> {
        let token = Some(claimed.token.clone());
        let command = Command::Note { kind: kind.to_string(), message, data, token };
        match self.store.apply(&claimed.task.id, &command) {
            Ok(_) => Ok(()),
            // The claim is over: the lease renewer is about to stop the run.
            Err(error) if error.refusal().is_some_and(|refusal| refusal.claim_state().is_some()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Emits a warning event.
    pub(crate) fn warn(&self, message: String) {
        (self.observe)(DispatchEvent::Warning { message });
    }
}

/// Returns the id of the run under a claim, which is derived from the claim's token.
pub(crate) fn run_id(token: &ClaimToken) -> RunId {
    let hash = crate::sha256::sha256_bytes(format!("run:{}", token.as_str()).as_bytes());
    // Always succeeds: the hash is hexadecimal and longer than an id.
    RunId::parse(&hash.as_str()[..32]).unwrap_or_else(|| RunId::from_random(0))
}

/// Removes the claim token from the files of an attempt, once no process writes them any more.
///
/// # Errors
/// When a file cannot be rewritten.
pub(crate) fn hide_token(attempt: &AttemptDir, token: &ClaimToken) -> Result<()> {
    let own = [files::PROMPT, files::STDOUT, files::STDERR, files::LAST_MESSAGE, files::PROGRESS];
    let setup = [files::SETUP, files::SETUP_STDERR, files::VERIFY];
    own.into_iter().chain(setup).try_for_each(|name| attempt.redact(name, token.as_str().as_bytes()))
}

/// Reads `run.json` from its attempt's directory; `None` if there is none that can be read.
pub(crate) fn read_run_file(attempt: &AttemptDir) -> Option<RunFile> {
    let bytes = attempt.read(files::RUN, 1024 * 1024).ok().flatten()?;
    serde_json::from_slice(&bytes).ok()
}

/// Parses the output of a run as far as it was written. Returns `None` if there is no output, or if a later
/// version of the program defines its format.
///
/// # Errors
/// When the output cannot be read.
pub(crate) fn read_output(attempt: &AttemptDir, run_file: &RunFile) -> Result<Option<StreamParser>> {
    let Some(format) = Format::parse(&run_file.format) else { return Ok(None) };
    let Some(output) = attempt.read(files::STDOUT, MAX_LOG_BYTES)? else { return Ok(None) };
    let mut parser = StreamParser::new(format);
    parser.feed(&output, &mut |_| {});
    Ok(Some(parser))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_files_of_earlier_versions_are_read_and_written_byte_for_byte() {
        let text = r#"{"run":"a28edc4b2189fe1baaab0797b163e1b7","started_at":"2026-11-28T20:34:05.844651Z","vendor":"command","format":"text","argv":["/usr/bin/sh","-c","exit 3"],"session_id":null,"resume_id":null,"model":null,"wants_json":false,"move_to":null}"#;
        let run_file: RunFile = serde_json::from_str(text).expect("a run file");
        assert_eq!(serde_json::to_string(&run_file).expect("JSON"), text);
        let unreadable: RunFile = serde_json::from_str(&text.replace("2026", "in ")).expect("a run file");
        assert_eq!(unreadable.started_at, None);
    }

    #[test]
    fn a_claim_names_its_run() {
        let token = |text| ClaimToken::from_text(text);
        assert_eq!(run_id(&token("a")), run_id(&token("a")));
        assert_ne!(run_id(&token("a")), run_id(&token("b")));
    }
}
