//! Reports the end of a run to the queue, exactly once, even if the dispatcher dies in between.
//!
//! The report is first written durably into the attempt's directory; then its steps are executed. Every step
//! is idempotent: a response repeated under the same token changes nothing, a release under an old token is
//! refused, a follow-up task has a key. So a report that was not delivered completely is delivered again from
//! the beginning, by any dispatcher.

pub(crate) mod build;
pub(crate) mod deliver;
mod follow_up;
pub(crate) mod recover;
mod stored_action;

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use self::follow_up::{FollowUpSubmission, submit_follow_up};
use self::stored_action::StoredAction;
use super::config::follow_ups::FollowUpRule;
use super::stored_lane;
use super::usage_record::UsageRecord;
use crate::model::json::Object;
use crate::model::{
    Answer, AnswerOutcome, ClaimState, ClaimToken, Command, FailureClass, LaneName, NewQuestion, Owner,
    Refusal, TaskId, Verdict,
};
use crate::store::Store;
use crate::{Error, Result};

/// Name of the report's file in the attempt's directory.
pub(crate) const REPORT_FILE: &str = "report.json";
/// Maximum size of a report that is read, in bytes.
const MAX_REPORT_BYTES: u64 = 256 * 1024 * 1024;

/// The report of a run: the change of its task, a follow-up task, and a line of the usage log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Id of the task.
    pub task_id: TaskId,
    /// Number of the claim.
    pub fence: u64,
    /// Token of the claim.
    pub token: ClaimToken,
    /// Owner of the claim.
    #[serde(deserialize_with = "read_owner")]
    pub owner: Owner,
    /// Change of the task.
    pub action: ReportAction,
    /// Task to submit after this one.
    pub follow_up: Option<FollowUp>,
    /// The run's record for the usage log.
    pub record: UsageRecord,
}

/// The change of the task that a report requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "StoredAction", into = "StoredAction")]
pub(crate) enum ReportAction {
    /// Completes the task.
    Complete {
        /// The answer.
        body: String,
        /// Verdict of the agent.
        verdict: Option<Verdict>,
        /// Metadata about the run.
        metadata: Object,
    },
    /// Fails the task.
    Fail {
        /// Class of the failure.
        class: FailureClass,
        /// Reason of the failure.
        body: String,
        /// Metadata about the run.
        metadata: Object,
    },
    /// Returns the task to its lane.
    Release {
        /// Reason, for the task's history.
        reason: String,
        /// Time until it can be claimed again.
        delay: Duration,
        /// Class of the failure, if the attempt counts.
        spent: Option<FailureClass>,
    },
    /// Asks a question, for whose answer the task waits.
    Ask {
        /// The question.
        question: String,
    },
    /// Does nothing: the agent answered the task itself.
    Nothing,
}

fn read_owner<'de, D: Deserializer<'de>>(value: D) -> std::result::Result<Owner, D::Error> {
    String::deserialize(value).map(Owner::stored)
}

/// A task that is submitted when another one has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FollowUp {
    /// Lane of the new task.
    #[serde(deserialize_with = "stored_lane::deserialize")]
    pub lane: LaneName,
    /// Whether it follows a success; otherwise it follows a failure.
    pub after_success: bool,
    /// What a rule of the route says of it; `None` for a dead letter, and in reports of early versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hop: Option<Hop>,
}

/// What a rule says of a task that follows another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hop {
    /// What its worker is to do; without it, the same as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The most tasks that follow one another.
    pub most: u32,
}

impl FollowUp {
    /// Creates the task that a rule asks for.
    fn by_rule(rule: &FollowUpRule, after_success: bool, most: u32) -> Self {
        let hop = Some(Hop { prompt: rule.prompt.clone(), most });
        Self { lane: rule.lane.clone(), after_success, hop }
    }

    /// Creates the dead letter of a failure.
    fn dead_letter(lane: &LaneName) -> Self {
        Self { lane: lane.clone(), after_success: false, hop: None }
    }

    /// Returns whether it is a dead letter.
    fn is_dead_letter(&self) -> bool {
        !self.after_success && self.hop.is_none()
    }
}

/// Result of delivering a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReportDelivery {
    /// The queue has accepted it, now or before.
    Accepted,
    /// The task was cancelled or claimed by another worker: nothing was reported.
    ClaimOver,
}

impl ReportDelivery {
    /// Returns the result of a report under a claim in this state.
    fn of(claim: ClaimState) -> Self {
        match claim {
            ClaimState::Ended => Self::Accepted,
            ClaimState::Held | ClaimState::Cancelled | ClaimState::Lost => Self::ClaimOver,
        }
    }
}

impl Report {
    /// Writes the report into the attempt's directory and delivers it. `warn` receives a follow-up task that cannot be
    /// submitted.
    ///
    /// # Errors
    /// When the store cannot be written at present; a report that is in the outbox can be delivered later.
    pub(crate) fn save_and_deliver(&self, store: &Store, warn: &dyn Fn(String)) -> Result<ReportDelivery> {
        let id = &self.task_id;
        let text = serde_json::to_vec(self).map_err(|error| Error::corrupt(format!("a report: {error}")))?;
        store.spool().attempt(id, self.fence)?.write_durably(REPORT_FILE, &text)?;
        store.spool().add_to_outbox(id, self.fence)?;
        self.deliver(store, warn)
    }

    /// Reads the report of an attempt, if one was written.
    ///
    /// # Errors
    /// When the file cannot be read or is not a report.
    pub(crate) fn load(store: &Store, id: &TaskId, fence: u64) -> Result<Option<Self>> {
        let Some(attempt) = store.spool().existing_attempt(id, fence)? else {
            return Ok(None);
        };
        let bytes = attempt.read(REPORT_FILE, MAX_REPORT_BYTES)?;
        let report = bytes.map(|bytes| serde_json::from_slice(&bytes)).transpose();
        report
            .map_err(|error| Error::corrupt(format!("{}: {error}", attempt.file_path(REPORT_FILE).display())))
    }

    /// Delivers a report that has been written. A follow-up task that can never be submitted is reported to `warn` and
    /// in the task's history.
    ///
    /// # Errors
    /// As [`Report::save_and_deliver`].
    pub(crate) fn deliver(&self, store: &Store, warn: &dyn Fn(String)) -> Result<ReportDelivery> {
        let id = &self.task_id;
        let delivery = self.apply_action(store, id)?;
        let mut undeliverable = None;
        if delivery == ReportDelivery::Accepted
            && let Some(follow_up) = &self.follow_up
            && let FollowUpSubmission::Impossible(error) =
                submit_follow_up(store, &store.task(id)?, follow_up, self.fence)?
        {
            undeliverable = Some(format!("no task follows it in lane {}: {error}", follow_up.lane));
        }
        if let Some(message) = undeliverable {
            note_missing_follow_up(store, id, message, warn);
        }
        store.append_usage(&self.record.to_line())?;
        store.spool().remove_from_outbox(id, self.fence)?;
        // The token is of no further use. If it cannot be removed from the file, it is no longer valid either.
        if let Ok(Some(attempt)) = store.spool().existing_attempt(id, self.fence) {
            let _ = attempt.redact(REPORT_FILE, self.token.as_str().as_bytes());
        }
        Ok(delivery)
    }

    fn apply_action(&self, store: &Store, id: &TaskId) -> Result<ReportDelivery> {
        let Some(command) = self.command() else {
            return Ok(ReportDelivery::of(store.task(id)?.claim_state(&self.token)));
        };
        let error = match store.apply(id, &command) {
            Ok(_) => return Ok(ReportDelivery::Accepted),
            Err(error) => error,
        };
        match (error.refusal(), &self.action) {
            // The agent's answer is not what the task asks for, or the request changed while the agent worked: a success
            // cannot be accepted for it.
            (
                Some(refusal @ (Refusal::RequestUnusable { .. } | Refusal::AnswerInvalid { .. })),
                ReportAction::Complete { body, metadata, .. },
            ) => {
                let class = match refusal {
                    Refusal::AnswerInvalid { .. } => FailureClass::Unverified,
                    _ => FailureClass::Permanent,
                };
                let body = format!("{}; the agent's answer follows\n\n{body}", error.message());
                let metadata = metadata.clone();
                let failed = ReportAction::Fail { class, body, metadata };
                Self { action: failed, ..self.clone() }.apply_action(store, id)
            }
            (Some(refusal), _) => refusal.claim_state().map(ReportDelivery::of).ok_or(error),
            (None, _) => Err(error),
        }
    }

    fn command(&self) -> Option<Command> {
        let token = &self.token;
        match &self.action {
            ReportAction::Complete { body, verdict, metadata } => Some(Command::Respond(Answer {
                token: Some(token.clone()),
                verdict: *verdict,
                follow_up_required: *verdict == Some(Verdict::AcceptWithFollowUps),
                metadata: metadata.clone(),
                ..Answer::completed(&self.owner, body)
            })),
            ReportAction::Fail { class, body, metadata } => Some(Command::Respond(Answer {
                token: Some(token.clone()),
                outcome: AnswerOutcome::Failed(class.clone()),
                metadata: metadata.clone(),
                ..Answer::completed(&self.owner, body)
            })),
            ReportAction::Release { reason, delay, spent } => Some(Command::Release {
                token: token.clone(),
                reason: Some(reason.clone()),
                delay: (!delay.is_zero()).then_some(*delay),
                spent: spent.clone(),
            }),
            ReportAction::Ask { question } => Some(Command::Ask {
                token: token.clone(),
                question: NewQuestion { text: question.clone(), ..NewQuestion::default() },
            }),
            ReportAction::Nothing => None,
        }
    }
}

/// Reports to `warn` and in the history of a task that none can follow it; in the history once, however often its report is
/// delivered. The report is still in the outbox meanwhile, so that a bridge waits for this before it leaves the card of the task.
fn note_missing_follow_up(store: &Store, id: &TaskId, message: String, warn: &dyn Fn(String)) {
    const KIND: &str = "follow_up_failed";
    let note =
        Command::Note { kind: KIND.to_string(), message: message.clone(), data: Object::new(), token: None };
    let is_noted = store.events(id).is_ok_and(|events| events.iter().any(|event| event.kind == KIND));
    let noted = if is_noted { Ok(()) } else { store.apply(id, &note).map(drop) };
    warn(match noted {
        Ok(()) => message,
        Err(error) => format!("{message}; its history lacks that: {error}"),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reports as earlier versions wrote them, byte for byte.
    const COMPLETED: &str = r#"{"task_id":"t-1","fence":1,"token":"00112233445566778899aabbccddeeff","owner":"disp","action":{"kind":"respond","completed":true,"class":"","body":"fine","verdict":"accept-with-follow-ups","metadata":{"attempt":1,"vendor":"command"}},"follow_up":null,"record":{"started_at":"2026-11-28T20:35:07.320660Z","ended_at":"2026-11-28T20:35:07.337883Z","task_id":"t-1","run":"49d389f364dae87579ef0370e4aae2a0","attempt":1,"lane":"work","vendor":"command","outcome":"completed","seconds":0.017223847}}"#;
    const FAILED: &str = r#"{"task_id":"t-1","fence":2,"token":"00112233445566778899aabbccddeeff","owner":"disp","action":{"kind":"respond","completed":false,"class":"dead","body":"the program exited with code 3: broken (after 2 failed attempts)","verdict":null,"metadata":{"attempt":2,"vendor":"command"}},"follow_up":{"lane":"attic","after_success":false},"record":{"started_at":"2026-11-28T20:34:18.531007Z","ended_at":"2026-11-28T20:34:18.541957Z","task_id":"t-1","run":"92bfa9a02fbf3faf8592b091461e9d4e","attempt":2,"lane":"review","vendor":"command","outcome":"error","seconds":0.010950147}}"#;
    const RELEASED: &str = r#"{"task_id":"t-1","fence":1,"token":"00112233445566778899aabbccddeeff","owner":"disp","action":{"kind":"release","reason":"the program exited with code 3: broken","delay_seconds":12.616088414,"spent":"error"},"follow_up":null,"record":{"started_at":"2026-11-28T20:34:05.865070Z","ended_at":"2026-11-28T20:34:05.881660Z","task_id":"t-1","run":"a28edc4b2189fe1baaab0797b163e1b7","attempt":1,"lane":"review","vendor":"command","outcome":"error","seconds":0.016590165}}"#;

    #[test]
    fn reports_of_earlier_versions_are_read_and_written_byte_for_byte() {
        for text in [COMPLETED, FAILED, RELEASED] {
            let report: Report = serde_json::from_str(text).expect("a report");
            assert_eq!(report.token.as_str(), "00112233445566778899aabbccddeeff");
            assert_eq!(serde_json::to_string(&report).expect("JSON"), text);
        }
    }

    #[test]
    fn a_report_becomes_the_command_it_was_written_for() {
        let command = |text| serde_json::from_str::<Report>(text).expect("a report").command();
        let Some(Command::Respond(answer)) = command(COMPLETED) else { panic!("an answer") };
        assert_eq!(answer.outcome, AnswerOutcome::Completed);
        assert_eq!(answer.verdict, Some(Verdict::AcceptWithFollowUps));
        assert!(answer.follow_up_required);
        let Some(Command::Respond(answer)) = command(FAILED) else { panic!("an answer") };
        assert_eq!(answer.outcome, AnswerOutcome::Failed(FailureClass::Dead));
        let Some(Command::Release { spent, .. }) = command(RELEASED) else { panic!("a release") };
        assert_eq!(spent, Some(FailureClass::Error));
    }

    #[test]
    fn words_of_a_newer_version_do_not_make_a_report_unreadable() {
        let action = |text: String| serde_json::from_str::<Report>(&text).expect("a report").action;
        let shrugs =
            COMPLETED.replace("accept-with-follow-ups", "shrug").replace(r#""class":"""#, r#""class":"new""#);
        assert!(matches!(action(shrugs), ReportAction::Complete { verdict: None, .. }));
        let ReportAction::Fail { class, .. } = action(FAILED.replace(r#""dead""#, r#""new""#)) else {
            panic!("a failure");
        };
        assert_eq!(class, FailureClass::Other("new".to_string()));
    }
}
