//! The state machine of a task: which change is allowed in which state.
//!
//! [`Command::apply`] is the only place that changes a task's status. It does not access files or clocks;
//! what it needs to know about them is in the [`TransitionContext`].

mod claim;
mod dependency;
mod edit;
mod end;
mod message;
mod question;
mod respond;

use std::time::Duration;

#[cfg(feature = "cli")]
pub(crate) use question::question_to_answer;

use super::dependency::DependencyOutcome;
use super::exclusive_key::ExclusiveKey;
use super::id::ClaimToken;
use super::json::Object;
use super::lane::LaneName;
use super::owner::Owner;
use super::question::NewQuestion;
use super::refusal::{Refusal, RequestFault};
use super::response::{Response, ResponseStatus, Verdict};
use super::sha256::Sha256;
use super::task::{Claim, FailureClass, Status, Task};
use super::time::Now;
pub(crate) use end::{check_redrive, check_retry};

use crate::error::Result;

/// The state of the request file at the time of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestCheck {
    /// Not checked, since the command does not need it.
    Unchecked,
    /// Unchanged since the submit.
    Same,
    /// Missing.
    Missing,
    /// Unreadable, with the reason.
    Unreadable(String),
    /// Changed, with the new SHA-256.
    Changed(Sha256),
}

/// The facts outside the task that a command depends on.
pub struct TransitionContext<'a> {
    /// The current time.
    pub now: &'a Now,
    /// The state of the request file.
    pub request: &'a RequestCheck,
    /// The stored response of a terminal task.
    pub previous: Option<&'a Response>,
    /// The hash of the prompt of an edit, where the prompt of the task is its whole request, which the store keeps.
    pub new_request: Option<&'a Sha256>,
}

/// A worker's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The token of the claim; `None` answers a queued task directly.
    pub token: Option<ClaimToken>,
    /// The name of the answering worker.
    pub reviewer: String,
    /// Whether the task succeeded or failed.
    pub outcome: AnswerOutcome,
    /// The answer itself.
    pub body: String,
    /// The verdict of a review.
    pub verdict: Option<Verdict>,
    /// The number of blocking findings.
    pub blocking_count: Option<u64>,
    /// The number of findings that do not block.
    pub nonblocking_count: Option<u64>,
    /// Whether more work is requested.
    pub follow_up_required: bool,
    /// The SHA-256 of the request as the worker read it.
    pub expect_sha256: Option<String>,
    /// Free-form metadata.
    pub metadata: Object,
}

impl Answer {
    /// Makes a successful answer of `reviewer` with the text `body`, without a claim. Everything else has its
    /// default.
    pub fn completed(reviewer: impl Into<String>, body: impl Into<String>) -> Self {
        Self {
            token: None,
            reviewer: reviewer.into(),
            outcome: AnswerOutcome::Completed,
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

/// Whether an answer reports success or a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerOutcome {
    /// The task succeeded.
    Completed,
    /// The task failed, for a reason of this class.
    Failed(FailureClass),
}

impl AnswerOutcome {
    /// Returns the status of the response.
    pub fn status(&self) -> ResponseStatus {
        match self {
            Self::Completed => ResponseStatus::Completed,
            Self::Failed(_) => ResponseStatus::Failed,
        }
    }
}

/// A change of a task.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Claim the task.
    Claim {
        /// The new owner.
        owner: Owner,
        /// The token of the new claim.
        token: ClaimToken,
        /// The length of the lease.
        lease: Duration,
    },
    /// Extend the lease.
    Renew {
        /// The token of the claim.
        token: ClaimToken,
        /// The length of the lease from now; `None` keeps the length of the claim.
        lease: Option<Duration>,
    },
    /// Return the task to the queue unfinished.
    Release {
        /// The token of the claim.
        token: ClaimToken,
        /// The reason, for people.
        reason: Option<String>,
        /// The delay before the next claim; `None` for none.
        delay: Option<Duration>,
        /// If set, the attempt counts, as a failure of this class.
        spent: Option<FailureClass>,
    },
    /// Answer the task.
    Respond(Answer),
    /// Ask a question about the task.
    Ask {
        /// The token of the claim.
        token: ClaimToken,
        /// The question.
        question: NewQuestion,
    },
    /// Answer a question of a worker.
    AnswerQuestion {
        /// The number of the question; `None` for the only open one.
        number: Option<u32>,
        /// The answer.
        text: String,
        /// Whether the answer must be one of the choices.
        is_choice: bool,
        /// The name of the person or program that answers.
        by: String,
    },
    /// Send a message to the workers of the task.
    Tell {
        /// The message.
        text: String,
        /// The name of the person or program that sends it.
        by: String,
    },
    /// Record that the holder has been given messages.
    ReadMessages {
        /// The token of the claim.
        token: ClaimToken,
        /// The number of the last message that it was given.
        through: u32,
    },
    /// Add an event to the history.
    Note {
        /// The event type: without spaces, and not one of [`ENGINE_KINDS`](super::event::ENGINE_KINDS).
        kind: String,
        /// The description for people.
        message: String,
        /// Details for programs.
        data: Object,
        /// The token of the claim, if the writer claims to hold the task.
        token: Option<ClaimToken>,
    },
    /// End the task without an answer.
    Cancel {
        /// The reason, for people.
        reason: Option<String>,
        /// The name of the person or program that cancels.
        by: String,
    },
    /// Change what a task says.
    Edit(TaskEdit),
    /// Move the task to another lane.
    Move {
        /// The new lane.
        lane: LaneName,
    },
    /// Give the task further exclusive keys, before it is claimed.
    AddKeys {
        /// The keys.
        keys: Vec<ExclusiveKey>,
    },
    /// Record in a failed task that another task retries it.
    Retried {
        /// The id of the new task.
        new_id: String,
        /// The name of the person or program that asked for it.
        by: String,
    },
    /// Record that the request file has changed since the submit, so that the task is skipped.
    RequestChanged,
    /// Apply the changes that are due by time: due tasks are queued, tasks without attempts left are dead, questions
    /// get their defaults. A task that another implementation took in spite of its dependencies or keys waits for them
    /// again once it is given back, and so does one with keys whose lease has ended.
    Settle,
    /// Apply the outcome of the dependencies: the task can be claimed, or fails.
    Unblock(DependencyOutcome),
}

/// A change of what a task says; absent fields stay as they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskEdit {
    /// The prompt; only while the task waits for a worker.
    pub prompt: Option<String>,
    /// The priority; only while the task waits for a worker.
    pub priority: Option<i32>,
    /// The title.
    pub name: Option<String>,
    /// The description for people; the worker gets the prompt.
    pub description: Option<String>,
    /// The labels.
    pub labels: Option<ListEdit>,
    /// The people to whom it is assigned.
    pub assignees: Option<ListEdit>,
}

/// A change of a list of texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListEdit {
    /// The complete list.
    Replace(Vec<String>),
    /// What is added and what is removed.
    Change {
        /// The texts to add, unless they are there.
        add: Vec<String>,
        /// The texts to remove, if they are there.
        remove: Vec<String>,
    },
}

impl ListEdit {
    /// Returns the list that this makes of `current`.
    fn apply(&self, current: &[String]) -> Vec<String> {
        match self {
            Self::Replace(texts) => texts.clone(),
            Self::Change { add, remove } => {
                let kept = current.iter().filter(|text| !remove.contains(text));
                let new = add.iter().filter(|text| !current.contains(text));
                kept.chain(new).cloned().collect()
            }
        }
    }
}

/// The effect of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The task changed and must be saved.
    Changed,
    /// Everything was already as requested.
    Unchanged,
}

impl Command {
    /// Applies the command to `task`.
    ///
    /// # Errors
    /// `Refused` if the state of the task does not allow the command; `Invalid` for a value out of range. The
    /// task may be half changed then and must be discarded.
    #[doc(hidden)]
    pub fn apply(&self, task: &mut Task, context: &TransitionContext<'_>) -> Result<Effect> {
        let effect = match self {
            Self::Claim { owner, token, lease } => claim::claim(task, context, owner, token, *lease),
            Self::Renew { token, lease } => claim::renew(task, context, token, *lease),
            Self::Release { token, reason, delay, spent } => {
                claim::release(task, context, token, reason.as_deref(), *delay, spent.as_ref())
            }
            Self::Respond(answer) => respond::respond(task, context, answer),
            Self::Ask { token, question } => question::ask(task, context, token, question),
            Self::AnswerQuestion { number, text, is_choice, by } => {
                question::answer_question(task, context, *number, text, *is_choice, by)
            }
            Self::Tell { text, by } => message::tell(task, context, text, by),
            Self::ReadMessages { token, through } => message::read_messages(task, context, token, *through),
            Self::Note { kind, message, data, token } => {
                claim::note(task, context, kind, message, data, token.as_ref())
            }
            Self::Cancel { reason, by } => end::cancel(task, context, reason.as_deref(), by),
            Self::Edit(change) => edit::edit(task, context, change),
            Self::Move { lane } => claim::move_to(task, context, lane),
            Self::AddKeys { keys } => claim::add_keys(task, context, keys),
            Self::Retried { new_id, by } => end::retried(task, context, new_id, by),
            Self::RequestChanged => Ok(claim::request_changed(task, context)),
            Self::Settle => Ok(end::settle(task, context)),
            Self::Unblock(outcome) => Ok(dependency::unblock(task, context, outcome)),
        }?;
        if effect == Effect::Changed {
            task.updated_at = context.now.wall;
        }
        Ok(effect)
    }
}

/// Returns the current claim if `token` belongs to it.
fn current_claim<'a>(
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
        Status::Completed { .. } | Status::Failed { .. } | Status::Unknown(_) => {
            Err(Refusal::ended(task, verb, Some(token)))
        }
        status @ (Status::Queued
        | Status::Scheduled { .. }
        | Status::Blocked { .. }
        | Status::InputRequired) => Err(Refusal::NotClaimed { id, verb, state: status.as_str().to_string() }),
    }
}

/// Refuses a command if the request file has changed since the submit.
fn check_request(task: &Task, context: &TransitionContext<'_>) -> std::result::Result<(), Refusal> {
    let fault = match context.request {
        RequestCheck::Same | RequestCheck::Unchecked => return Ok(()),
        RequestCheck::Missing => RequestFault::Missing,
        RequestCheck::Unreadable(why) => RequestFault::Unreadable(why.clone()),
        RequestCheck::Changed(sha256) => RequestFault::Changed(sha256.clone()),
    };
    Err(Refusal::RequestUnusable {
        id: task.id.clone(),
        path: task.request_path.clone(),
        expected: task.request_sha256.clone(),
        fault,
    })
}
