//! Evidence about a run that has ended: everything that decides its outcome, and the messages in its output by
//! their source: model, vendor's program, vendor's service.

use std::time::Duration;

use jiff::tz::TimeZone;

use crate::dispatch::outcome::{AgentExit, StopReason};
use crate::dispatch::output::{Format, RunReport, one_line};
use crate::dispatch::vendor::VendorMessages;
use crate::model::Time;

/// Maximum length of a message about a run, in characters.
const MAX_MESSAGE: usize = 1000;
/// Number of last lines of standard error that may contain a program's reason.
const MAX_STDERR_LINES: usize = 3;

/// Everything that decides the outcome of a run.
#[derive(Clone, Copy, Debug)]
pub struct RunEvidence<'a> {
    /// Parsed output.
    pub report: &'a RunReport,
    /// Format of the output.
    pub format: Format,
    /// Exit of the process.
    pub exit: AgentExit,
    /// Reason for which the run was stopped, if it was.
    pub stopped: Option<StopReason>,
    /// End of standard error.
    pub stderr: &'a str,
    /// Id of the conversation to continue.
    pub resumed: Option<&'a str>,
    /// Timeout of the run.
    pub timeout: Option<Duration>,
    /// Silence timeout of the run.
    pub silence_timeout: Option<Duration>,
    /// End of the run.
    pub now: Time,
    /// What its vendor prints about failures that are not the task's fault.
    pub vendor_messages: &'a VendorMessages,
    /// Time zone of clock times in messages.
    pub zone: &'a TimeZone,
}

/// Returns the messages of the vendor's program and service. The model's text is excluded: it may be about quotas
/// itself.
pub(super) fn service_messages(run: &RunEvidence<'_>) -> String {
    let report = run.report;
    // This format reports a failed call of the service in place of the answer.
    let is_in_text = report.has_error_result() && run.format == Format::ClaudeStream;
    if report.errors.is_empty() && !is_in_text { String::new() } else { agent_message(report) }
}

/// Returns the latest message of the service; earlier ones may be outdated. A text longer than any of them is not
/// shortened, so that it is not taken for one.
pub(super) fn last_service_message(run: &RunEvidence<'_>) -> String {
    let report = run.report;
    match report.errors.last() {
        Some(last) if run.format != Format::ClaudeStream => last.clone(),
        Some(_) => report.errors.join("; "),
        None if report.has_error_result() && run.format == Format::ClaudeStream => {
            report.text.trim().to_string()
        }
        None => String::new(),
    }
}

/// Returns the agent's errors or, without any, the end of its text.
pub(super) fn agent_message(report: &RunReport) -> String {
    if report.errors.is_empty() {
        one_line(tail(&report.text), MAX_MESSAGE)
    } else {
        report.errors.join("; ")
    }
}

/// Returns the reason at the end of standard error: a JSON object or, without one, the last lines.
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

/// Returns the last line of standard error.
pub(super) fn last_line(stderr: &str) -> &str {
    stderr.trim().lines().next_back().unwrap_or_default().trim()
}

/// Returns `message` with the end of `reason` appended.
pub(super) fn with_detail(message: &str, reason: &str) -> String {
    match one_line(tail(reason), MAX_MESSAGE) {
        reason if reason.is_empty() => message.to_string(),
        reason => format!("{message}: {reason}"),
    }
}

/// Returns the end of a long text, where reasons are.
pub(super) fn tail(text: &str) -> &str {
    let text = text.trim();
    let start = (text.len().saturating_sub(MAX_MESSAGE)..=text.len()).find(|at| text.is_char_boundary(*at));
    &text[start.unwrap_or(0)..]
}
