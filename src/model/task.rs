//! The task: its fields, its status and when it can be claimed.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::duration::StoredDuration;
use super::event::Event;
use super::id::{ClaimToken, TaskId};
use super::json::Object;
use super::message::TaskMessage;
use super::owner::Owner;
use super::question::{self, Question};
use super::response::Response;
use super::sha256::Sha256;
use super::spec::TaskSpec;
use super::time::{Now, Time};

/// The head start that one step of priority gives a task, in seconds.
///
/// Tasks are served in the order of `created_at - priority × this`. A task of priority 2 is therefore served
/// before every task of priority 0 that was submitted less than two hours earlier, tasks of equal priority
/// are served by age, and no task starves: an old task overtakes newer ones of any priority.
pub(crate) const PRIORITY_HEAD_START_SECONDS: i64 = 3600;

/// How far the end of a lease may lie beyond its own length from now, in seconds, before the clock that wrote
/// it counts as wrong.
const CLOCK_SLACK_SECONDS: f64 = 60.0;

/// The class of a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum FailureClass {
    /// The worker reported a failure.
    Error,
    /// A run took longer than allowed.
    Timeout,
    /// A worker disappeared: its lease expired.
    Lost,
    /// The vendor's usage limit was reached.
    UsageLimit,
    /// A retry cannot succeed.
    Permanent,
    /// The task was cancelled.
    Cancelled,
    /// All attempts are spent.
    Dead,
    /// A dependency failed.
    Upstream,
    /// It was not started by its deadline.
    Expired,
    /// What the agent called done did not stand the check of its commands or schema.
    Unverified,
    /// A run cost more than it may.
    Budget,
    /// A class of another version.
    Other(String),
}

impl FailureClass {
    /// Returns the name used in files.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Lost => "lost",
            Self::UsageLimit => "usage_limit",
            Self::Permanent => "permanent",
            Self::Cancelled => "cancelled",
            Self::Dead => "dead",
            Self::Upstream => "upstream",
            Self::Expired => "expired",
            Self::Unverified => "unverified",
            Self::Budget => "budget",
            Self::Other(word) => word,
        }
    }

    /// Parses the name of a class.
    pub fn parse(word: &str) -> Self {
        [
            Self::Error,
            Self::Timeout,
            Self::Lost,
            Self::UsageLimit,
            Self::Permanent,
            Self::Cancelled,
            Self::Dead,
            Self::Upstream,
            Self::Expired,
            Self::Unverified,
            Self::Budget,
        ]
        .into_iter()
        .find(|class| class.as_str() == word)
        .unwrap_or_else(|| Self::Other(word.to_string()))
    }
}

impl From<String> for FailureClass {
    fn from(word: String) -> Self {
        Self::parse(&word)
    }
}

impl From<FailureClass> for String {
    fn from(class: FailureClass) -> Self {
        class.as_str().to_string()
    }
}

/// A worker's claim on a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// The name of the worker.
    pub owner: Owner,
    /// The token, known only to the worker.
    pub token: ClaimToken,
    /// The time of the claim.
    pub claimed_at: Time,
    /// The wall-clock time at which the lease ends unless it is renewed.
    pub lease_expires_at: Time,
    /// The requested length of the lease; `None` for a claim by another implementation.
    pub lease: Option<StoredDuration>,
}

/// The state of a task; each state has the data that exists only in it.
#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    /// Can be claimed.
    Queued,
    /// Can be claimed from `until` on.
    Scheduled {
        /// The first time at which it can be claimed.
        until: Time,
    },
    /// Waits for its dependencies, or for a key that no other task may hold at the same time.
    Blocked {
        /// The first time at which it can be claimed after that, if one was asked for.
        until: Option<Time>,
    },
    /// Claimed by a worker; others can claim it once the lease has ended.
    Claimed(Claim),
    /// Waits for the answer to a question; free of any claim.
    InputRequired,
    /// Succeeded. Terminal.
    Completed {
        /// The time of the answer.
        at: Time,
        /// The claim under which it was answered; `None` for a direct answer.
        claim: Option<Claim>,
    },
    /// Failed. Terminal.
    Failed {
        /// The time of the end.
        at: Time,
        /// The last claim, if the task ended under one.
        claim: Option<Claim>,
        /// The reason, for people.
        reason: String,
        /// The class of the failure.
        class: FailureClass,
    },
    /// A state of a newer version: shown, never offered, never changed.
    Unknown(String),
}

impl Status {
    /// The names of the states in files, except those of a newer version.
    pub const NAMES: [&'static str; 7] =
        ["queued", "scheduled", "blocked", "claimed", "input_required", "completed", "failed"];

    /// Returns the name used in files.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Queued => "queued",
            Self::Scheduled { .. } => "scheduled",
            Self::Blocked { .. } => "blocked",
            Self::Claimed(_) => "claimed",
            Self::InputRequired => "input_required",
            Self::Completed { .. } => "completed",
            Self::Failed { .. } => "failed",
            Self::Unknown(word) => word,
        }
    }

    /// Returns whether the state is final.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Completed { .. } | Self::Failed { .. })
    }

    /// Returns the current or last claim, if any.
    pub fn claim(&self) -> Option<&Claim> {
        match self {
            Self::Claimed(claim) => Some(claim),
            Self::Completed { claim, .. } | Self::Failed { claim, .. } => claim.as_ref(),
            Self::Queued
            | Self::Scheduled { .. }
            | Self::Blocked { .. }
            | Self::InputRequired
            | Self::Unknown(_) => None,
        }
    }
}

/// The end of a lease by the uptime of the machine, which cannot be set.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaseClock {
    /// The wall-clock end that this belongs to; a renewal by another implementation changes only the latter.
    pub expires_at: Time,
    /// The boot during which the lease was given.
    pub boot: String,
    /// The uptime at which it ends, in microseconds.
    pub until: i64,
}

/// The bookkeeping of `lanes` inside task.json, next to the shared fields, so that one rename commits everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bookkeeping {
    /// The `updated_at` of the last write by `lanes`; a different value in the task means that another program
    /// has written it since.
    pub written_at: Option<Time>,
    /// The number of the newest event.
    pub last_event: u64,
    /// The number of the newest event known to be durable in events.jsonl.
    pub synced_event: u64,
    /// At least the events after `synced_event`; they are copied to events.jsonl after the commit.
    pub recent: Vec<Event>,
    /// The answer, if it is small; it is also written to response.json after the commit.
    pub response: Option<Response>,
    /// The end of the current lease by uptime.
    pub lease: Option<LeaseClock>,
    /// The SHA-256 of the submitted task, for idempotency keys.
    pub content_sha256: Option<Sha256>,
    /// Whether the name of the task's directory is known to be durable.
    pub name_is_durable: bool,
    /// Whether all dependencies are known to be satisfied.
    pub dependencies_met: bool,
}

/// A task.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its id, which is also the name of its directory.
    pub id: TaskId,
    /// The specification.
    pub spec: TaskSpec,
    /// Absolute path of the request.
    pub request_path: String,
    /// The hash of the request at the time of the submit.
    pub request_sha256: Sha256,
    /// The path to which `wait` writes the answer.
    pub response_path: String,
    /// The state.
    pub status: Status,
    /// The time of the submit.
    pub created_at: Time,
    /// The time of the last change.
    pub updated_at: Time,
    /// The number of attempts so far, including the current one.
    pub attempt: u32,
    /// The number of claims so far: a fencing token that orders two workers outside the queue.
    pub fence: u64,
    /// The id of the task that retries this one.
    pub retried_as: Option<String>,
    /// The questions that its workers have asked, and their answers.
    pub questions: Vec<Question>,
    /// The messages to its workers.
    pub messages: Vec<TaskMessage>,
    /// The bookkeeping of `lanes`, hidden from output.
    #[doc(hidden)]
    pub bookkeeping: Bookkeeping,
    /// Unknown keys, written by other implementations.
    pub extra: Object,
}

/// Whether and when a task can be claimed.
#[derive(Clone, Debug, PartialEq)]
pub enum Availability {
    /// Now, if no other task holds one of its keys.
    Ready,
    /// From this time on.
    NotBefore(Time),
    /// Once the lease ends, at this wall-clock time.
    Leased(Time),
    /// Once its dependencies are satisfied.
    Blocked,
    /// Once its open questions are answered.
    InputRequired,
    /// Never: its attempts are spent, and it is about to be declared dead.
    Spent,
    /// Never: it was not started by its deadline, and is about to fail.
    Expired,
    /// Never: it has ended, or is in a state of a newer version of `lanes`.
    Closed,
}

impl Task {
    /// Returns the sort key within the lane: lower is served first.
    pub fn rank(&self) -> i64 {
        self.created_at.micros() - i64::from(self.spec.priority) * PRIORITY_HEAD_START_SECONDS * 1_000_000
    }

    /// Returns whether the task is claimed under a lease that has not ended.
    ///
    /// The uptime decides as long as the machine has not been restarted since; otherwise the wall clock does. A
    /// lease that lies too far in the future, because the wall clock was set back, counts as ended: its age is
    /// unknown.
    pub fn lease_is_live(&self, now: &Now) -> bool {
        let Status::Claimed(claim) = &self.status else {
            return false;
        };
        let own = self.bookkeeping.lease.as_ref().filter(|lease| lease.expires_at == claim.lease_expires_at);
        if let Some(lease) = own
            && !lease.boot.is_empty()
            && lease.boot == now.boot
        {
            return now.uptime < lease.until;
        }
        let begun = match (own, claim.lease) {
            (Some(_), Some(length)) => claim.lease_expires_at.plus_seconds(-length.as_secs_f64()),
            _ => claim.claimed_at,
        };
        now.wall < claim.lease_expires_at && begun.seconds_since(now.wall) <= CLOCK_SLACK_SECONDS
    }

    /// Returns the questions that have no answer at `now`.
    pub fn open_questions(&self, now: Time) -> impl Iterator<Item = &Question> {
        self.questions.iter().filter(move |question| question.is_open(now))
    }

    /// Returns the messages that no worker has been given yet.
    pub fn unread_messages(&self) -> impl Iterator<Item = &TaskMessage> {
        self.messages.iter().filter(|message| message.receipt.is_none())
    }

    /// Returns whether a question has no answer yet, even if its default applies by now.
    pub(super) fn has_unanswered_question(&self) -> bool {
        self.questions.iter().any(|question| question.answer.is_none())
    }

    /// Returns when the last unanswered question gets its default; `None` if one has none.
    pub fn questions_expire_at(&self) -> Option<Time> {
        question::last_expiry(&self.questions)
    }

    /// Returns whether and when the task can be claimed.
    pub fn availability(&self, now: &Now) -> Availability {
        let open = if self.spec.max_attempts.is_some_and(|max| self.attempt >= max) {
            Availability::Spent
        } else {
            Availability::Ready
        };
        let is_asking = self.open_questions(now.wall).next().is_some();
        match &self.status {
            Status::Completed { .. } | Status::Failed { .. } | Status::Unknown(_) => Availability::Closed,
            Status::Claimed(claim) if self.lease_is_live(now) => Availability::Leased(claim.lease_expires_at),
            _ if self.start_deadline().is_some_and(|deadline| deadline <= now.wall) => Availability::Expired,
            // Another implementation may have claimed it in spite of its dependencies, and given it back.
            _ if self.waits_for_dependencies() => Availability::Blocked,
            Status::Queued | Status::InputRequired | Status::Blocked { .. } if is_asking => {
                Availability::InputRequired
            }
            Status::Scheduled { until } | Status::Blocked { until: Some(until) } if now.wall < *until => {
                Availability::NotBefore(*until)
            }
            Status::Queued | Status::InputRequired | Status::Scheduled { .. } | Status::Blocked { .. } => {
                open
            }
            Status::Claimed(_) if is_asking && open == Availability::Ready => Availability::InputRequired,
            Status::Claimed(_) => open,
        }
    }

    /// Returns the time by which the task must be started; `None` without one, and once it was claimed or has ended.
    pub fn start_deadline(&self) -> Option<Time> {
        self.spec.deadline.filter(|_| self.fence == 0 && !self.status.is_terminal())
    }

    /// Returns whether the task has dependencies that are not known to be satisfied.
    pub fn waits_for_dependencies(&self) -> bool {
        !self.spec.after.is_empty() && !self.bookkeeping.dependencies_met && !self.status.is_terminal()
    }

    /// Returns whether the task must have something for itself while it is claimed.
    pub fn needs_keys(&self) -> bool {
        !self.spec.exclusive.is_empty()
    }

    /// Returns the state in which the task waits for a claim; `until` is the first time at which it can be claimed.
    ///
    /// Other implementations offer what is queued, and know neither dependencies nor keys.
    pub(crate) fn waiting_status(&self, until: Option<Time>, now: Time) -> Status {
        let until = until.filter(|until| *until > now);
        if self.has_unanswered_question() {
            Status::InputRequired
        } else if self.waits_for_dependencies() || self.needs_keys() {
            Status::Blocked { until }
        } else {
            until.map_or(Status::Queued, |until| Status::Scheduled { until })
        }
    }

    /// Returns the state in which the task is shown to people and programs.
    ///
    /// A task with exclusive keys rests as `blocked` even while nobody holds them, see [`Self::waiting_status`]. It is
    /// shown in the state that it would have without keys, and as blocked only while it waits for another task: for a
    /// dependency, or for one that holds a key.
    pub(crate) fn shown_status(&self, now: Time, key_is_held: impl FnOnce() -> bool) -> Status {
        let until = match &self.status {
            Status::Queued => None,
            Status::Blocked { until } => *until,
            _ => return self.status.clone(),
        };
        if !self.needs_keys() || self.waits_for_dependencies() {
            return self.status.clone();
        }
        match until.filter(|until| *until > now) {
            Some(until) => Status::Scheduled { until },
            None if key_is_held() => Status::Blocked { until: None },
            None => Status::Queued,
        }
    }

    /// Returns whether another implementation has written this task since the last write by `lanes`.
    pub fn was_written_by_others(&self) -> bool {
        self.bookkeeping.written_at != Some(self.updated_at)
    }

    /// Appends an event to the task's history.
    pub fn record(&mut self, now: Time, kind: &str, message: impl Into<String>, data: Object) {
        self.bookkeeping.last_event = self.bookkeeping.last_event.saturating_add(1);
        self.bookkeeping.recent.push(Event {
            n: Some(self.bookkeeping.last_event),
            created_at: now,
            kind: kind.to_string(),
            message: message.into(),
            data,
        });
    }
}

/// Makes a JSON object from pairs, except pairs whose value is null.
pub(crate) fn object<const N: usize>(pairs: [(&str, Value); N]) -> Object {
    pairs
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| (key.to_string(), value))
        .collect()
}
