//! The ends of a run: exit of the process, reason to stop it, failure, answer, outcome for the task.

use std::time::Duration;

use serde_json::Value;

use super::output::ClosingStatus;
pub use crate::guard::AgentExit;
use crate::model::{CooldownCause, FailureClass, Time, Verdict};

/// Why the dispatcher stopped a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It exceeded its timeout.
    Timeout,
    /// It exceeded its silence timeout.
    Silent,
    /// The task was cancelled.
    Cancelled,
    /// The task was claimed by another worker.
    LeaseLost,
    /// The dispatcher is shutting down.
    Shutdown,
    /// The agent started another conversation than the one to continue.
    WrongSession,
    /// The service refuses the account, and the agent keeps retrying.
    Refused,
    /// It has cost as much as it may.
    OverBudget,
    /// The result was complete, but the process did not exit.
    Lingering,
}

/// Why no agent was started for a task.
#[derive(Clone, Debug, PartialEq)]
pub enum NotStarted {
    /// The task is the cause: it is retried or failed.
    Task(RunFailure),
    /// Something that all runs of the lane need is missing: the task is returned and the attempt does not count.
    LaneUnready(String),
    /// The store failed: the task is returned and the attempt does not count.
    StoreFailed(String),
    /// Another run uses the same conversation: the task is returned.
    Busy,
    /// The run was stopped before that: the task is returned unless it was cancelled or belongs to another worker.
    Stopped(StopReason),
}

impl NotStarted {
    /// Creates a failure of the task for which a retry is useless.
    pub(crate) fn permanent(message: impl Into<String>) -> Self {
        Self::Task(RunFailure::permanent(message))
    }

    /// Creates a failure of the task for which a retry may help.
    pub(crate) fn retryable(message: String) -> Self {
        Self::Task(RunFailure::new(FailureClass::Error, message))
    }
}

/// What a run means for its task.
#[derive(Clone, Debug, PartialEq)]
pub enum RunOutcome {
    /// The task is answered.
    Completed(RunAnswer),
    /// The run failed: the task is retried, returned or failed.
    Failed(RunFailure),
    /// The run was stopped without a result: the task is returned unless it was cancelled or belongs to another worker.
    Stopped(StopReason),
}

/// The answer of an agent, with what was parsed from it.
#[derive(Clone, Debug, PartialEq)]
pub struct RunAnswer {
    /// Text of the answer, unchanged.
    pub body: String,
    /// Verdict from a closing `VERDICT:` line.
    pub verdict: Option<Verdict>,
    /// Status from a closing `STATUS:` line and from background work that was cut short.
    pub closing: Option<ClosingStatus>,
    /// Background work that did not finish, one line for people each.
    pub unfinished_work: Vec<String>,
    /// Value of an answer that must be JSON, or the reason why there is none.
    pub parsed: Option<Result<Value, String>>,
}

/// Whether the work of an agent was verified, for the response and the usage log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Proof {
    /// Whether all commands have succeeded.
    pub is_verified: bool,
    /// How long they took, in all rounds.
    pub duration: Duration,
    /// The number of rounds of the agent.
    pub rounds: u32,
}

/// When a usage limit ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetTime {
    /// At this instant.
    Exact(Time),
    /// Within the minute or hour that starts at this time.
    Clock(Time),
    /// About now: the time in the message has just passed.
    Past,
}

/// A refusal by the vendor that does not depend on the task.
#[derive(Clone, Debug, PartialEq)]
pub struct VendorRefusal {
    /// Kind of the refusal.
    pub cause: CooldownCause,
    /// When it ends, if the vendor reported it.
    pub reset: Option<ResetTime>,
    /// The one model that it concerns, as the vendor names it.
    pub model: Option<String>,
}

/// The failure of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunFailure {
    /// Class of the failure.
    pub class: FailureClass,
    /// The vendor's refusal, if that is the cause.
    pub vendor_refusal: Option<VendorRefusal>,
    /// Reason, for people.
    pub message: String,
}

impl RunFailure {
    /// Creates a failure of a class with a message for people.
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self { class, vendor_refusal: None, message: message.into() }
    }

    /// Creates a failure for which a retry is useless.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self::new(FailureClass::Permanent, message)
    }
}

/// What interrupted a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// A usage limit of its vendor, or another refusal that the task did not cause.
    Refused,
    /// Its timeout or silence timeout.
    Timeout,
    /// Its dispatcher died or was stopped.
    Lost,
    /// Its agent asked a question, which is answered by now.
    Answered,
    /// Its answer was not accepted.
    Rejected,
    /// Its agent has answered, and a message came meanwhile.
    Told,
}

impl Interruption {
    /// Those that `resume_on` may name. A run that asked a question is always resumed.
    const OPTIONAL: [Self; 3] = [Self::Refused, Self::Timeout, Self::Lost];

    /// Returns the name in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "limit",
            Self::Timeout => "timeout",
            Self::Lost => "lost",
            Self::Answered => "question",
            Self::Rejected => "rejection",
            Self::Told => "message",
        }
    }

    /// Parses `resume_on`, a list of these names.
    ///
    /// # Errors
    /// What was expected, for people.
    pub fn list_from_yaml(value: &serde_yaml::Value) -> Result<Vec<Self>, String> {
        let expected = || format!("expected a list of {}", Self::OPTIONAL.map(Self::as_str).join(", "));
        let names = value.as_sequence().ok_or_else(expected)?;
        let parse = |name: &serde_yaml::Value| {
            let name = name.as_str()?;
            Self::OPTIONAL.into_iter().find(|interruption| interruption.as_str() == name)
        };
        names.iter().map(parse).collect::<Option<_>>().ok_or_else(expected)
    }

    /// Describes the interruption to the agent.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Refused => "the vendor's service refused further requests, as at a usage limit",
            Self::Timeout => "the run reached its time limit",
            Self::Lost => "the process that ran you ended",
            Self::Answered => "you asked a question",
            Self::Rejected => "your answer was not accepted",
            Self::Told => "a message came",
        }
    }
}
