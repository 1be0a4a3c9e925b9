//! The end of a run in the dispatcher's words: what is known about it, and what follows for the task.

use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::Value;

use super::answer::Closing;
use super::reset_time::Reset;
use crate::dispatch::output::{Format, RunReport};
use crate::dispatch::vendor::Notices;
use crate::model::{FailureClass, Obstacle, Time, Verdict};

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

/// Everything that decides about a run.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// What its output said.
    pub report: &'a RunReport,
    /// In which format it was read.
    pub format: Format,
    /// How the process ended.
    pub exit: Exit,
    /// Why it was ended, if it was.
    pub stopped: Option<StopReason>,
    /// The end of its standard error.
    pub stderr: &'a str,
    /// The conversation it was told to continue.
    pub resumed: Option<&'a str>,
    /// How long it was allowed to take.
    pub timeout: Option<Duration>,
    /// How long it was allowed to print nothing.
    pub silence: Option<Duration>,
    /// When it ended.
    pub now: Time,
    /// What its vendor says when the task is not to blame.
    pub notices: &'a Notices,
    /// Zone of clock times in messages.
    pub zone: &'a TimeZone,
}

/// What to do with the task.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Answer it.
    Completed(Answer),
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
pub struct Answer {
    /// The agent's words, unchanged.
    pub body: String,
    /// From a closing `VERDICT:` line.
    pub verdict: Option<Verdict>,
    /// From a closing `STATUS:` line, and from what was cut short.
    pub closing: Option<Closing>,
    /// What the agent started in the background and what did not come to its own end, in a person's words.
    pub cut_short: Vec<String>,
    /// The value of an answer that was asked to be JSON, or why there is none.
    pub parsed: Option<Result<Value, String>>,
}

/// What keeps a vendor from working, whatever the task.
#[derive(Clone, Debug, PartialEq)]
pub struct Halt {
    /// What it is.
    pub obstacle: Obstacle,
    /// When it ends, if that was said.
    pub reset: Option<Reset>,
    /// The one model that it is about, as the vendor calls it.
    pub model: Option<String>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// Error, timeout, usage limit or permanent.
    pub class: FailureClass,
    /// What keeps the vendor from working, if the task is not to blame.
    pub halt: Option<Halt>,
    /// What happened, in a person's words.
    pub message: String,
}

impl Failure {
    /// A failure of `class` that happened as `message` says.
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self { class, halt: None, message: message.into() }
    }

    /// Trying again cannot help.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self::new(FailureClass::Permanent, message)
    }
}

/// How long to wait before attempt `attempt + 1`: twice as long each time up to `longest`, and then
/// any time up to that (`random` decides), so that many failures at once do not come back at once.
pub fn retry_delay(attempt: u32, first: Duration, longest: Duration, random: u64) -> Duration {
    let doublings = attempt.saturating_sub(1).min(30);
    let ceiling = first.saturating_mul(1 << doublings).min(longest);
    ceiling.mul_f64(random as f64 / u64::MAX as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_delays_grow_to_a_limit_and_are_spread() {
        let (first, longest) = (Duration::from_secs(10), Duration::from_secs(300));
        let ceiling = |attempt| retry_delay(attempt, first, longest, u64::MAX).as_secs();
        assert_eq!([1, 2, 3, 6, 1000].map(ceiling), [10, 20, 40, 300, 300]);
        assert_eq!(retry_delay(3, first, longest, 0), Duration::ZERO);
        assert_eq!(retry_delay(3, first, longest, u64::MAX / 2).as_secs_f64().round(), 20.0);
    }
}
