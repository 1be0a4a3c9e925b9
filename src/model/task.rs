//! What a task is.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::event::Event;
use super::id::{ClaimToken, TaskId};
use super::json::Object;
use super::response::Response;
use super::spec::TaskSpec;
use super::time::{Now, Time};

/// How far one step of priority moves a task ahead, in seconds.
///
/// Tasks are served in the order of `created_at - priority × this`, so a task of priority 2 goes
/// before everything of priority 0 that was submitted less than two hours earlier, equal priorities
/// go by age, and nothing waits for ever: an old task overtakes any priority that keeps arriving.
pub const PRIORITY_HEAD_START_SECONDS: i64 = 3600;

/// Priorities go from minus this to plus this.
pub const MAX_PRIORITY: i32 = 1000;

/// How far into the future a lease may reach beyond its own length, in seconds, before the clock it
/// was written by counts as wrong.
const CLOCK_SLACK_SECONDS: f64 = 60.0;

/// Why a task ended without success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum FailureClass {
    /// The worker said that it failed.
    Error,
    /// A run took longer than allowed.
    Timeout,
    /// A worker vanished: its lease ran out.
    Lost,
    /// The vendor's usage limit was reached.
    UsageLimit,
    /// Trying again cannot help.
    Permanent,
    /// Somebody cancelled the task.
    Cancelled,
    /// All attempts are spent.
    Dead,
    /// A word of another version.
    Other(String),
}

impl FailureClass {
    /// The word on disk.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Lost => "lost",
            Self::UsageLimit => "usage_limit",
            Self::Permanent => "permanent",
            Self::Cancelled => "cancelled",
            Self::Dead => "dead",
            Self::Other(word) => word,
        }
    }

    /// The class named by `word`.
    pub fn parse(word: &str) -> Self {
        [
            Self::Error,
            Self::Timeout,
            Self::Lost,
            Self::UsageLimit,
            Self::Permanent,
            Self::Cancelled,
            Self::Dead,
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

/// A worker's hold on a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// Who holds it.
    pub owner: String,
    /// The proof, known to the holder alone.
    pub token: ClaimToken,
    /// When it was taken.
    pub claimed_at: Time,
    /// When it ends unless renewed, by the wall clock.
    pub lease_expires_at: Time,
    /// The length that was asked for, in seconds; `None` when another implementation claimed.
    pub lease_seconds: Option<f64>,
}

/// Where a task stands; each state carries what is only known in it.
#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    /// May be claimed.
    Queued,
    /// May be claimed from `until` on.
    Scheduled {
        /// The first moment of availability.
        until: Time,
    },
    /// Held by a worker; may be claimed by others once the lease has ended.
    Claimed(Claim),
    /// Answered with success. Terminal.
    Completed {
        /// When it was answered.
        at: Time,
        /// The claim under which it was answered; `None` for a direct answer.
        claim: Option<Claim>,
    },
    /// Ended without success. Terminal.
    Failed {
        /// When it ended.
        at: Time,
        /// The last claim, if it ended under one.
        claim: Option<Claim>,
        /// Why, in a person's words.
        reason: String,
        /// Why, in one word.
        class: FailureClass,
    },
    /// A state of a newer version: shown, never offered, never changed.
    Parked(String),
}

impl Status {
    /// The words on disk, but for those of a newer version.
    pub const WORDS: [&'static str; 5] = ["queued", "scheduled", "claimed", "completed", "failed"];

    /// The word on disk.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Queued => "queued",
            Self::Scheduled { .. } => "scheduled",
            Self::Claimed(_) => "claimed",
            Self::Completed { .. } => "completed",
            Self::Failed { .. } => "failed",
            Self::Parked(word) => word,
        }
    }

    /// Whether nothing can change any more.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Completed { .. } | Self::Failed { .. })
    }

    /// The claim that is or was held, if any.
    pub fn claim(&self) -> Option<&Claim> {
        match self {
            Self::Claimed(claim) => Some(claim),
            Self::Completed { claim, .. } | Self::Failed { claim, .. } => claim.as_ref(),
            Self::Queued | Self::Scheduled { .. } | Self::Parked(_) => None,
        }
    }
}

/// The end of a lease by the machine's own uptime, which nobody can set.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaseClock {
    /// The wall-clock end this belongs to; another implementation's renewal changes that one only.
    pub expires_at: Time,
    /// The boot during which the lease was given.
    pub boot: String,
    /// The uptime at which it ends, in microseconds.
    pub until: i64,
}

/// What `lanes` keeps inside task.json beside the shared fields, so that one rename commits it all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Journal {
    /// The task's `updated_at` as we wrote it last; another value means somebody else wrote since.
    pub written_at: Option<Time>,
    /// The number of the newest event.
    pub last_event: u64,
    /// The newest event known to be safe on disk in events.jsonl.
    pub synced_event: u64,
    /// The events after `synced_event`, at least; copied to events.jsonl after the commit.
    pub recent: Vec<Event>,
    /// The answer, when it is small; also written to response.json after the commit.
    pub response: Option<Response>,
    /// The current lease by uptime.
    pub lease: Option<LeaseClock>,
    /// Fingerprint of what was submitted, for idempotency keys.
    pub content_sha256: Option<String>,
    /// Whether the name of the task's directory is known to be safe on disk.
    pub name_is_durable: bool,
}

/// One task.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its id, which is also the name of its directory.
    pub id: TaskId,
    /// What it asks for.
    pub spec: TaskSpec,
    /// Absolute path of the request.
    pub request_path: String,
    /// SHA-256 of the request at submit, in hex.
    pub request_sha256: String,
    /// Where `wait` writes the answer.
    pub response_path: String,
    /// Where it stands.
    pub status: Status,
    /// When it was submitted.
    pub created_at: Time,
    /// When it was last changed.
    pub updated_at: Time,
    /// Runs that count so far, the current one included.
    pub attempt: u32,
    /// Claims so far; orders two holders outside the queue.
    pub fence: u64,
    /// The task that repeats this one.
    pub retried_as: Option<String>,
    /// Our own bookkeeping, hidden from output.
    pub journal: Journal,
    /// Keys of other implementations.
    pub extra: Object,
}

/// Whether and when a task can be claimed.
#[derive(Clone, Debug, PartialEq)]
pub enum Availability {
    /// Now.
    Ready,
    /// From this time on.
    NotBefore(Time),
    /// When the lease ends, at this wall-clock time.
    Leased(Time),
    /// Never again by itself: its attempts are spent, and it is to be declared dead.
    Spent,
    /// Never: it has ended, or is in a state of a newer version.
    Closed,
}

impl Task {
    /// The position in its lane: lower goes first.
    pub fn rank(&self) -> i64 {
        self.created_at.micros() - i64::from(self.spec.priority) * PRIORITY_HEAD_START_SECONDS * 1_000_000
    }

    /// Whether the task is claimed under a lease that has not ended.
    ///
    /// The uptime decides while the machine has not been restarted since; otherwise the wall clock.
    /// A lease that lies in the future by a wall clock that was set back since has ended: nobody
    /// knows for how long it has run.
    pub fn lease_is_live(&self, now: &Now) -> bool {
        let Status::Claimed(claim) = &self.status else {
            return false;
        };
        let own = self.journal.lease.as_ref().filter(|lease| lease.expires_at == claim.lease_expires_at);
        if let Some(lease) = own
            && !lease.boot.is_empty()
            && lease.boot == now.boot
        {
            return now.uptime < lease.until;
        }
        let begun = match (own, claim.lease_seconds) {
            (Some(_), Some(length)) => claim.lease_expires_at.plus_seconds(-length),
            _ => claim.claimed_at,
        };
        now.wall < claim.lease_expires_at && begun.seconds_since(now.wall) <= CLOCK_SLACK_SECONDS
    }

    /// Whether and when the task can be claimed.
    pub fn availability(&self, now: &Now) -> Availability {
        let open = if self.spec.max_attempts.is_some_and(|max| self.attempt >= max) {
            Availability::Spent
        } else {
            Availability::Ready
        };
        match &self.status {
            Status::Queued => open,
            Status::Scheduled { until } if now.wall < *until => Availability::NotBefore(*until),
            Status::Scheduled { .. } => open,
            Status::Claimed(claim) if self.lease_is_live(now) => Availability::Leased(claim.lease_expires_at),
            Status::Claimed(_) => open,
            Status::Completed { .. } | Status::Failed { .. } | Status::Parked(_) => Availability::Closed,
        }
    }

    /// Whether another implementation wrote this task after our last write.
    pub fn was_written_by_others(&self) -> bool {
        self.journal.written_at != Some(self.updated_at)
    }

    /// Appends an event to the task's history.
    pub fn record(&mut self, now: Time, kind: &str, message: impl Into<String>, data: Object) {
        self.journal.last_event = self.journal.last_event.saturating_add(1);
        self.journal.recent.push(Event {
            n: Some(self.journal.last_event),
            created_at: now,
            kind: kind.to_string(),
            message: message.into(),
            data,
        });
    }
}

/// A JSON object from pairs; pairs whose value is null are left out.
pub fn object<const N: usize>(pairs: [(&str, Value); N]) -> Object {
    pairs
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| (key.to_string(), value))
        .collect()
}
