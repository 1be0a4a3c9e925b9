//! Who says what about a run: the model, the vendor's program, its service.

use super::outcome::Run;
use super::stream::{Format, RunReport, one_line};

/// What the vendor's program and its service say about the run. The model's own words are none of that:
/// it may well have worked on quotas.
pub(super) fn service_words(run: &Run<'_>) -> String {
    let report = run.report;
    // This format tells a failed call of the service in the place of the answer.
    let is_in_text = report.is_error && run.format == Format::ClaudeStream;
    if report.errors.is_empty() && !is_in_text { String::new() } else { said(report) }
}

/// What the agent says about itself: its errors, else its last words.
pub(super) fn said(report: &RunReport) -> String {
    if report.errors.is_empty() { one_line(tail(&report.text), 1000) } else { report.errors.join("; ") }
}

/// Messages of the known programs that the next attempt would only repeat.
pub(super) fn is_permanent_text(words: &str) -> bool {
    const PERMANENT: [&str; 13] = [
        "not logged in",
        "no conversation found",
        "no rollout found",
        "session not found",
        "invalid session id",
        "unknown option",
        "unexpected argument",
        "not inside a trusted directory",
        "missing environment variable",
        "cannot be used with root",
        "invalid api key",
        "prompt is too long",
        "please set an auth method",
    ];
    let words = words.to_lowercase();
    PERMANENT.iter().any(|phrase| words.contains(phrase))
}

/// `message` with the reason that `words` end in.
pub(super) fn with_stderr(message: &str, words: &str) -> String {
    match one_line(tail(words), 1000) {
        words if words.is_empty() => message.to_string(),
        words => format!("{message}: {words}"),
    }
}

/// The last part of a long text: reasons stand at the end.
pub(super) fn tail(text: &str) -> &str {
    const LENGTH: usize = 1000;
    let text = text.trim();
    let start = (text.len().saturating_sub(LENGTH)..=text.len()).find(|at| text.is_char_boundary(*at));
    &text[start.unwrap_or(0)..]
}
