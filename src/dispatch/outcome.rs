//! How a run can end, and what each end means for the task.

use serde_json::Value;

use super::output::ClosingStatus;
use crate::model::{FailureClass, Obstacle, Time, Verdict};

/// The first words of every message about a usage limit.
pub const USAGE_LIMIT_REASON: &str = "the vendor's usage limit is reached";
/// Those about everything that keeps a vendor from working.
pub const REFUSAL_REASONS: [&str; 3] =
    [USAGE_LIMIT_REASON, "the vendor is overloaded", "the vendor refuses the account"];

/// Why a task goes back whose dispatcher was stopped.
pub const DISPATCHER_STOPPED: &str = "the dispatcher was stopped before the agent was done";
/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It never ran: the run was stopped before its start.
    NotStarted,
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// Why the dispatcher ended a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It took longer than allowed.
    Timeout,
    /// It printed nothing for longer than allowed.
    Silent,
    /// The task was cancelled.
    Cancelled,
    /// The task was taken over by somebody else.
    LeaseLost,
    /// The dispatcher itself has to end.
    Shutdown,
    /// The agent started another conversation than the one it was to continue.
    WrongSession,
    /// The service refuses the account, and the agent only tries again.
    Refused,
    /// The result was there, the process stayed.
    Lingering,
    /// It was not even started: another run continues the same conversation.
    Busy,
}

/// What to do with the task.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Answer it.
    Completed(RunAnswer),
    /// Try again, give up or pause, by the class.
    Failed(Failure),
    /// Give it back as if it had not been taken: what every run of its lane needs is missing.
    Unready(String),
    /// Give it back as if it had not been taken: the store was in trouble before its agent was started.
    NotBegun(String),
    /// Say nothing about it: it was cancelled, belongs to somebody else, or goes back unfinished.
    Withheld(StopReason),
}

/// An answer and what it says besides its text.
#[derive(Clone, Debug, PartialEq)]
pub struct RunAnswer {
    /// The agent's words, unchanged.
    pub body: String,
    /// From a closing `VERDICT:` line.
    pub verdict: Option<Verdict>,
    /// From a closing `STATUS:` line, and from what was cut short.
    pub closing: Option<ClosingStatus>,
    /// What the agent started in the background and what did not come to its own end, in a person's words.
    pub cut_short: Vec<String>,
    /// The value of an answer that was asked to be JSON, or why there is none.
    pub parsed: Option<Result<Value, String>>,
}

/// When a limit ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetTime {
    /// At this instant.
    Exact(Time),
    /// Within the minute, or the hour, that begins at this time.
    Clock(Time),
    /// About now: the time that was named has just passed.
    Passed,
}

/// What keeps a vendor from working, whatever the task.
#[derive(Clone, Debug, PartialEq)]
pub struct VendorRefusal {
    /// What it is.
    pub obstacle: Obstacle,
    /// When it ends, if that was said.
    pub reset: Option<ResetTime>,
    /// The one model that it is about, as the vendor calls it.
    pub model: Option<String>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// Error, timeout, usage limit or permanent.
    pub class: FailureClass,
    /// What keeps the vendor from working, if the task is not to blame.
    pub vendor_refusal: Option<VendorRefusal>,
    /// What happened, in a person's words.
    pub message: String,
}

impl Failure {
    /// A failure of `class` that happened as `message` says.
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self { class, vendor_refusal: None, message: message.into() }
    }

    /// Trying again cannot help.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self::new(FailureClass::Permanent, message)
    }
}

/// What cut a run short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// A usage limit of its vendor, or another refusal that is no fault of the task.
    Limit,
    /// Its own time limits.
    Timeout,
    /// Its dispatcher died or was stopped.
    Lost,
}

impl Interruption {
    const ALL: [Self; 3] = [Self::Limit, Self::Timeout, Self::Lost];

    /// The word in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Timeout => "timeout",
            Self::Lost => "lost",
        }
    }

    /// Reads `resume_on`, a list of these words.
    pub fn list_from_yaml(value: &serde_yaml::Value) -> Result<Vec<Self>, String> {
        let expected = || format!("expected a list of {}", Self::ALL.map(Self::as_str).join(", "));
        let words = value.as_sequence().ok_or_else(expected)?;
        let parse = |word: &serde_yaml::Value| {
            let word = word.as_str()?;
            Self::ALL.into_iter().find(|cut| cut.as_str() == word)
        };
        words.iter().map(parse).collect::<Option<_>>().ok_or_else(expected)
    }

    /// What happened, in words for the agent.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Limit => "the service let you go no further, as at a usage limit",
            Self::Timeout => "its time was up",
            Self::Lost => "the process that ran you ended",
        }
    }
}
