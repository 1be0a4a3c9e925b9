//! Which change is allowed when: the state machine.
//!
//! [`Command::apply`] is the only place that changes a task's status. It knows nothing of files and
//! clocks; what it needs to know of them comes in the [`TransitionContext`].

mod edit;
mod end;
mod hold;
mod respond;

use super::id::ClaimToken;
use super::json::Object;
use super::refusal::{Refusal, RequestFault};
use super::response::{Response, ResponseStatus, Verdict};
use super::task::{Claim, FailureClass, Status, Task};
use super::time::Now;
pub use end::{check_redrive, check_retry};

use crate::error::{Error, Result};

/// The longest lease, in seconds: 30 days.
pub const MAX_LEASE_SECONDS: f64 = 30.0 * 24.0 * 3600.0;

/// The longest delay of a task, in seconds: ten years.
pub const MAX_DELAY_SECONDS: f64 = 10.0 * 365.0 * 24.0 * 3600.0;

/// What is known of the request file at the moment of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestCheck {
    /// Not looked at, since the command does not ask.
    Unchecked,
    /// As it was submitted.
    Same,
    /// Gone.
    Missing,
    /// There, it seems, but it cannot be read: why.
    Unreadable(String),
    /// Different: the new fingerprint.
    Changed(String),
}

/// What is known outside the task when a command is applied.
pub struct TransitionContext<'a> {
    /// The time.
    pub now: &'a Now,
    /// The request file.
    pub request: &'a RequestCheck,
    /// The stored answer of a terminal task.
    pub previous: Option<&'a Response>,
}

/// A worker's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The token of the claim; `None` answers a queued task directly.
    pub token: Option<ClaimToken>,
    /// Who answers.
    pub reviewer: String,
    /// How it ended.
    pub status: ResponseStatus,
    /// The class of a failure; ignored for success.
    pub class: FailureClass,
    /// The answer itself.
    pub body: String,
    /// The judgement, for reviews.
    pub verdict: Option<Verdict>,
    /// Findings that block.
    pub blocking_count: Option<u64>,
    /// Findings that do not block.
    pub nonblocking_count: Option<u64>,
    /// Whether more work is asked for.
    pub follow_up_required: bool,
    /// The fingerprint of the request as the worker read it.
    pub expect_sha256: Option<String>,
    /// Free-form.
    pub metadata: Object,
}

impl Answer {
    /// Makes the answer `body` of `reviewer` to a task that succeeded, under no claim. Everything else has its
    /// default.
    pub fn completed(reviewer: impl Into<String>, body: impl Into<String>) -> Self {
        Self {
            token: None,
            reviewer: reviewer.into(),
            status: ResponseStatus::Completed,
            class: FailureClass::Error,
            body: body.into(),
            verdict: None,
            blocking_count: None,
            nonblocking_count: None,
            follow_up_required: false,
            expect_sha256: None,
            metadata: Object::new(),
        }
    }
}

/// What somebody wants to do to a task.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Take the task.
    Claim {
        /// Who takes it.
        owner: String,
        /// The proof to hand out.
        token: ClaimToken,
        /// How long, in seconds.
        lease_seconds: f64,
    },
    /// Keep the task longer.
    Renew {
        /// The proof.
        token: ClaimToken,
        /// How long from now, in seconds; `None` keeps the claim's own length.
        lease_seconds: Option<f64>,
    },
    /// Give the task back unfinished.
    Release {
        /// The proof.
        token: ClaimToken,
        /// Why, in a person's words.
        reason: Option<String>,
        /// Not to be claimed again for this long, in seconds.
        delay_seconds: Option<f64>,
        /// When set, the attempt counts as spent, with this class of failure.
        spent: Option<FailureClass>,
    },
    /// Answer the task.
    Respond(Answer),
    /// Add a line to the history.
    Note {
        /// One word, not one of the engine's own.
        kind: String,
        /// In a person's words.
        message: String,
        /// Details.
        data: Object,
        /// The proof, when the writer says it holds the task.
        token: Option<ClaimToken>,
    },
    /// End the task without an answer.
    Cancel {
        /// Why, in a person's words.
        reason: Option<String>,
        /// Who cancels.
        by: String,
    },
    /// Change the words that people see of a task; what is absent stays.
    Edit {
        /// The title.
        name: Option<String>,
        /// The description; the request itself stays what was submitted.
        description: Option<String>,
        /// All labels.
        labels: Option<Vec<String>>,
        /// All assignees.
        assignees: Option<Vec<String>>,
    },
    /// Put the task into another lane.
    Move {
        /// The new lane.
        lane: String,
    },
    /// Note in a failed task that another one repeats it.
    Retried {
        /// The id of the new task.
        new_id: String,
        /// Who asked.
        by: String,
    },
    /// Note that the request is not what was submitted, so that the task is passed over.
    RequestChanged,
    /// Declare what time has decided: due tasks are queued, spent ones are dead.
    Settle,
}

/// What a command did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The task changed and must be saved.
    Changed,
    /// All was as asked already.
    Unchanged,
}

impl Command {
    /// Applies the command to `task`, or refuses. After a refusal the task is to be thrown away.
    pub fn apply(&self, task: &mut Task, context: &TransitionContext<'_>) -> Result<Effect> {
        let effect = match self {
            Self::Claim { owner, token, lease_seconds } => {
                hold::claim(task, context, owner, token, *lease_seconds)
            }
            Self::Renew { token, lease_seconds } => hold::renew(task, context, token, *lease_seconds),
            Self::Release { token, reason, delay_seconds, spent } => {
                hold::release(task, context, token, reason.as_deref(), *delay_seconds, spent.as_ref())
            }
            Self::Respond(answer) => respond::respond(task, context, answer),
            Self::Note { kind, message, data, token } => {
                hold::note(task, context, kind, message, data, token.as_ref())
            }
            Self::Cancel { reason, by } => end::cancel(task, context, reason.as_deref(), by),
            Self::Edit { name, description, labels, assignees } => edit::edit(
                task,
                context,
                name.as_deref(),
                description.as_deref(),
                labels.as_deref(),
                assignees.as_deref(),
            ),
            Self::Move { lane } => hold::move_to(task, context, lane),
            Self::Retried { new_id, by } => end::retried(task, context, new_id, by),
            Self::RequestChanged => Ok(hold::request_changed(task, context)),
            Self::Settle => Ok(end::settle(task, context)),
        }?;
        if effect == Effect::Changed {
            task.updated_at = context.now.wall;
        }
        Ok(effect)
    }
}

/// Checks a lease length: positive, finite, at most [`MAX_LEASE_SECONDS`].
pub fn check_lease(seconds: f64) -> Result<f64> {
    if seconds.is_finite() && seconds > 0.0 && seconds <= MAX_LEASE_SECONDS {
        Ok(seconds)
    } else {
        Err(Error::invalid(format!(
            "lease of {seconds} seconds is out of range; give more than 0 and at most {MAX_LEASE_SECONDS} (30 days)"
        )))
    }
}

/// Checks a delay: zero or more, finite, at most [`MAX_DELAY_SECONDS`].
pub fn check_delay(seconds: f64) -> Result<f64> {
    if seconds.is_finite() && (0.0..=MAX_DELAY_SECONDS).contains(&seconds) {
        Ok(seconds)
    } else {
        Err(Error::invalid(format!(
            "delay of {seconds} seconds is out of range; give 0 up to {MAX_DELAY_SECONDS}"
        )))
    }
}

/// The current claim, if `token` proves it.
fn held<'a>(
    task: &'a Task,
    token: &ClaimToken,
    verb: &'static str,
) -> std::result::Result<&'a Claim, Refusal> {
    let id = task.id.clone();
    match &task.status {
        Status::Claimed(claim) if claim.token == *token => Ok(claim),
        Status::Claimed(claim) => {
            Err(Refusal::NotHolder { id, verb, owner: claim.owner.clone(), since: claim.claimed_at })
        }
        Status::Completed { .. } | Status::Failed { .. } | Status::Parked(_) => {
            Err(Refusal::ended(task, verb, Some(token)))
        }
        status @ (Status::Queued | Status::Scheduled { .. }) => {
            Err(Refusal::NotClaimed { id, verb, state: status.as_str().to_string() })
        }
    }
}

/// Refuses a command whose request file is not the submitted one.
fn check_request(task: &Task, context: &TransitionContext<'_>) -> std::result::Result<(), Refusal> {
    let fault = match context.request {
        RequestCheck::Same | RequestCheck::Unchecked => return Ok(()),
        RequestCheck::Missing => RequestFault::Missing,
        RequestCheck::Unreadable(why) => RequestFault::Unreadable(why.clone()),
        RequestCheck::Changed(sha256) => RequestFault::Changed(sha256.clone()),
    };
    Err(Refusal::RequestChanged {
        id: task.id.clone(),
        path: task.request_path.clone(),
        expected: task.request_sha256.clone(),
        fault,
    })
}
