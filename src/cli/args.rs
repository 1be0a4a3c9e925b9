//! Arguments and checks that several commands share.

use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::Args;

use crate::error::{Error, Result};
use crate::model::duration::parse as parse_duration;
use crate::model::{Filter, LaneName, limits};
use crate::store::LaneQuery;

/// The heading of the examples at the end of every command's help.
pub(super) const EXAMPLES_HEADING: &str = "Examples:";

/// The default length of a wait, in seconds.
pub(super) const DEFAULT_WAIT: f64 = limits::DEFAULT_WAIT.as_secs_f64();

/// [`DEFAULT_WAIT`], as the help shows it.
const DEFAULT_WAIT_SPAN: &str = "6h";

/// [`limits::DEFAULT_LEASE`], as the help shows it.
pub(super) const DEFAULT_LEASE_SPAN: &str = "2h";

/// The flags that select tasks to claim.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct LaneQueryArgs {
    /// The lane; several are tried in the given order
    #[arg(long, short, value_name = "LANE")]
    pub lane: Vec<String>,
    /// Only tasks whose metadata KEY has one of the values; a task without KEY counts as `any`
    #[arg(long = "match", value_name = "KEY=VALUE[,VALUE...]")]
    pub filter: Vec<String>,
}

impl LaneQueryArgs {
    /// Returns the lanes and the filter, checked.
    ///
    /// # Errors
    /// `Invalid` for a malformed lane name or filter.
    pub(super) fn query(&self) -> Result<LaneQuery> {
        let lanes = self.lane.iter().map(LaneName::new).collect::<Result<_>>()?;
        Ok(LaneQuery { lanes, filter: Filter::parse(&self.filter)? })
    }
}

/// The flags of a wait.
#[derive(Args, Clone, Debug)]
pub(super) struct WaitArgs {
    /// Give up waiting after this long: seconds, or 15m, 2h, 1d
    #[arg(long, value_name = "SPAN", value_parser = seconds, default_value = DEFAULT_WAIT_SPAN, allow_negative_numbers = true)]
    pub timeout: f64,
    /// Print a heartbeat to standard error at this interval; 0 disables it
    #[arg(long, value_name = "SPAN", value_parser = seconds, default_value = "30s", allow_negative_numbers = true)]
    pub heartbeat_seconds: f64,
}

impl WaitArgs {
    /// Returns when the wait gives up, and how often it prints a heartbeat.
    pub(super) fn timing(&self) -> Result<WaitTiming> {
        let deadline = deadline(self.timeout)?;
        let heartbeat = flag_duration("--heartbeat-seconds", self.heartbeat_seconds)?;
        let heartbeat = (!heartbeat.is_zero()).then_some(Heartbeat { interval: heartbeat, next: None });
        Ok(WaitTiming { deadline, heartbeat })
    }
}

/// The deadline and the heartbeat of a wait, by the monotonic clock, which cannot be set.
pub(super) struct WaitTiming {
    /// When to give up.
    pub deadline: Instant,
    heartbeat: Option<Heartbeat>,
}

/// The heartbeat of a wait.
struct Heartbeat {
    interval: Duration,
    /// When it is due, once the wait has begun.
    next: Option<Instant>,
}

impl WaitTiming {
    /// Returns whether the wait prints heartbeats.
    pub(super) fn has_heartbeat(&self) -> bool {
        self.heartbeat.is_some()
    }

    /// Returns whether a heartbeat is due; the first is due one interval after the first call.
    pub(super) fn heartbeat_due(&mut self) -> bool {
        let Some(Heartbeat { interval, next }) = &mut self.heartbeat else { return false };
        let now = Instant::now();
        let due = next.is_some_and(|next| now >= next);
        if due || next.is_none() {
            *next = Some(now + *interval);
        }
        due
    }

    /// Returns the end of the next sleep: the earliest of the deadline, the next heartbeat, and `due` from now.
    pub(super) fn sleep_until(&self, due: Option<Duration>) -> Instant {
        let mut until = self.deadline;
        if let Some(next) = self.heartbeat.as_ref().and_then(|heartbeat| heartbeat.next) {
            until = until.min(next);
        }
        match due {
            Some(due) => until.min(Instant::now() + due),
            None => until,
        }
    }

    /// Returns whether it is time to give up.
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }
}

/// Parses a duration: a number of seconds, or a span such as `15m`. The rules of the queue check its range.
pub(super) fn seconds(text: &str) -> std::result::Result<f64, String> {
    let seconds =
        text.trim().parse().ok().or_else(|| parse_duration(text).map(|length| length.as_secs_f64()));
    seconds
        .ok_or_else(|| "expected seconds, or a span such as 15m, 2h or 1d, of at most ten years".to_string())
}

/// Parses a span of time, such as `15m`.
pub(super) fn span(text: &str) -> std::result::Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "expected seconds, or a length such as 90s, 15m or 2h".to_string())
}

/// Parses a whole number, which may be negative. The rules of the queue check its range.
pub(super) fn integer(text: &str) -> std::result::Result<i64, String> {
    text.trim().parse().map_err(|_| "expected a whole number".to_string())
}

/// Parses an amount of money or of something else. The rules of budgets check its range.
pub(super) fn amount(text: &str) -> std::result::Result<f64, String> {
    text.trim().parse().map_err(|_| "expected a number above 0, such as 2.50".to_string())
}

/// Parses a count.
pub(super) fn number<T: FromStr>(text: &str) -> std::result::Result<T, String> {
    text.trim().parse().map_err(|_| "expected a whole number from 0".to_string())
}

/// Returns the instant `timeout` seconds from now.
pub(super) fn deadline(timeout: f64) -> Result<Instant> {
    Ok(Instant::now() + flag_duration("--timeout", timeout)?)
}

fn flag_duration(flag: &str, value: f64) -> Result<Duration> {
    const TEN_YEARS: f64 = 10.0 * 365.0 * 86_400.0;
    if value.is_finite() && (0.0..=TEN_YEARS).contains(&value) {
        Ok(Duration::from_secs_f64(value))
    } else {
        Err(Error::invalid(format!("{flag} must be from 0 to {TEN_YEARS} seconds, not {value}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_shows_the_real_defaults() {
        assert_eq!(seconds(DEFAULT_WAIT_SPAN), Ok(DEFAULT_WAIT));
        assert_eq!(seconds(DEFAULT_LEASE_SPAN), Ok(limits::DEFAULT_LEASE.as_secs_f64()));
    }
}
