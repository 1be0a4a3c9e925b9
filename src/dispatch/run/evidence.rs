//! What is known about a run that has ended, and which words in it come from the vendor.

use std::time::Duration;

use jiff::tz::TimeZone;

use crate::dispatch::outcome::{Exit, StopReason};
use crate::dispatch::output::{Format, RunReport, one_line};
use crate::dispatch::vendor::Notices;
use crate::model::Time;

/// Longest text about a run, in characters.
const MAX_MESSAGE: usize = 1000;
/// How many of the last lines of standard error may hold a program's reason.
const MAX_STDERR_LINES: usize = 3;

/// Everything that decides about a run.
#[derive(Clone, Copy, Debug)]
pub struct RunEvidence<'a> {
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

/// What the vendor's program and its service say about the run. The model's own words are none of that:
/// it may well have worked on quotas.
pub(super) fn service_messages(run: &RunEvidence<'_>) -> String {
    let report = run.report;
    // This format tells a failed call of the service in the place of the answer.
    let is_in_text = report.is_error && run.format == Format::ClaudeStream;
    if report.errors.is_empty() && !is_in_text { String::new() } else { agent_message(report) }
}

/// What the service said last; what it said before may be over. A text that is longer than any notice
/// comes whole, so that it can be told from one.
pub(super) fn last_service_message(run: &RunEvidence<'_>) -> String {
    let report = run.report;
    match report.errors.last() {
        Some(last) if run.format != Format::ClaudeStream => last.clone(),
        Some(_) => report.errors.join("; "),
        None if report.is_error && run.format == Format::ClaudeStream => report.text.trim().to_string(),
        None => String::new(),
    }
}

/// What the agent says about itself: its errors, else its last words.
pub(super) fn agent_message(report: &RunReport) -> String {
    if report.errors.is_empty() {
        one_line(tail(&report.text), MAX_MESSAGE)
    } else {
        report.errors.join("; ")
    }
}

/// The reason that a program gives at the end of its standard error: a JSON object, else its last lines.
pub(super) fn stderr_reason(stderr: &str) -> String {
    let text = stderr.trim();
    let start = text.ends_with('}').then(|| text.rfind("\n{").map_or(0, |at| at + 1));
    if let Some(start) = start.filter(|start| text[*start..].starts_with('{')) {
        return one_line(&text[start..], MAX_MESSAGE);
    }
    let lines: Vec<&str> =
        text.lines().rev().filter(|line| !line.trim().is_empty()).take(MAX_STDERR_LINES).collect();
    one_line(&lines.into_iter().rev().collect::<Vec<_>>().join(" "), MAX_MESSAGE)
}

/// The last line of standard error.
pub(super) fn last_line(stderr: &str) -> &str {
    stderr.trim().lines().next_back().unwrap_or_default().trim()
}

/// `message` with the reason that `words` ends with.
pub(super) fn with_detail(message: &str, words: &str) -> String {
    match one_line(tail(words), MAX_MESSAGE) {
        words if words.is_empty() => message.to_string(),
        words => format!("{message}: {words}"),
    }
}

/// The last part of a long text: reasons stand at the end.
pub(super) fn tail(text: &str) -> &str {
    let text = text.trim();
    let start = (text.len().saturating_sub(MAX_MESSAGE)..=text.len()).find(|at| text.is_char_boundary(*at));
    &text[start.unwrap_or(0)..]
}
