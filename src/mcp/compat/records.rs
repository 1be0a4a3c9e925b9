//! The records that agent-dispatch returns: the result of a run, a reference to it, a job.

use serde_json::Value;

use crate::error::Result;
use crate::mcp::open_queue::OpenQueue;
use crate::mcp::report_text::{ReportedState, TaskReport, TextPiece};
use crate::mcp::summary::report_of;
use crate::model::json::Object;
use crate::model::task::object;
use crate::model::{AGENT_LANES, Status, Task, Time};

/// The longest request in a job, in characters.
const MAX_REQUEST: usize = 4_000;
/// The length of the task in a line about a job, in characters.
const LISTED_TASK: usize = 120;

/// Returns the old word for a state.
pub(super) fn status_word(state: ReportedState) -> &'static str {
    match state {
        ReportedState::Queued | ReportedState::InputRequired => "pending",
        state => state.as_str(),
    }
}

/// Returns the result of a run, with the answer from character `offset` on, at most `max_chars` of it.
pub(super) fn result(report: &TaskReport, offset: usize, max_chars: usize) -> Object {
    let (answer, error) = match report.failure {
        None => (report.body.as_str(), None),
        Some(_) => ("", Some(report.body.as_str())),
    };
    let piece = TextPiece::of(answer, offset, max_chars);
    let next = piece.offset + piece.length;
    let is_cut = next < piece.total;
    let mut result = object([
        ("agent", agent(report).into()),
        ("success", report.failure.is_none().into()),
        ("result", piece.text.into()),
        ("error", error.map(|error| TextPiece::of(error, 0, max_chars).text).into()),
        ("truncated", is_cut.then_some(true).into()),
        ("full_size", is_cut.then_some(piece.total).into()),
        ("next_offset", is_cut.then_some(next).into()),
        ("ref", is_cut.then_some(report.id.as_str()).into()),
    ]);
    result.extend(figures(report, max_chars));
    result
}

/// Returns a reference to a result, with its first `summary_chars` characters.
pub(super) fn reference(report: &TaskReport, summary_chars: usize, max_chars: usize) -> Object {
    let answer = if report.failure.is_none() { report.body.as_str() } else { "" };
    let summary = TextPiece::of(answer, 0, summary_chars.min(max_chars));
    let error = report.failure.map(|_| TextPiece::of(&report.body, 0, max_chars).text);
    let mut reference = object([
        ("ref", report.id.as_str().into()),
        ("agent", agent(report).into()),
        ("success", report.failure.is_none().into()),
        ("size", summary.total.into()),
        ("summary_chars", summary.length.into()),
        ("summary", summary.text.into()),
        ("error", error.into()),
    ]);
    reference.extend(figures(report, max_chars));
    reference
}

/// Returns the members that results and references share.
fn figures(report: &TaskReport, max_chars: usize) -> Object {
    // JSON cannot be cut; `fetch_result` returns the text in pieces.
    let parsed = report.json.as_ref().filter(|value| value.to_string().chars().count() <= max_chars);
    object([
        ("session_id", report.session_id.clone().into()),
        ("cost_usd", report.cost_usd.into()),
        ("duration_ms", milliseconds(report).into()),
        ("num_turns", report.turns.into()),
        ("error_type", report.failure.into()),
        ("outcome", report.outcome.clone().into()),
        ("cached", report.is_cached.then_some(true).into()),
        ("parsed_result", parsed.cloned().into()),
    ])
}

/// Returns how long a task took, in milliseconds.
pub(super) fn milliseconds(report: &TaskReport) -> u64 {
    (report.seconds * 1000.0).round() as u64
}

/// Returns the reply about a task that is still open, in place of its result.
pub(super) fn unfinished(report: &TaskReport) -> Object {
    object([
        ("job_id", report.id.as_str().into()),
        ("agent", agent(report).into()),
        ("status", status_word(report.state).into()),
        ("timed_out_waiting", true.into()),
        ("hint", format!("it continues; dispatch_wait(\"{}\") waits for its answer", report.id).into()),
    ])
}

/// Returns the record of a job, with at most `max_chars` characters of its answer.
///
/// # Errors
/// As [`report_of`].
pub(super) fn job(queue: &OpenQueue, task: &Task, max_chars: usize) -> Result<Object> {
    let report = report_of(queue, task)?;
    let background = |key: &str| {
        let text = task.spec.metadata.get(key).and_then(Value::as_str);
        text.map(|text| TextPiece::of(text, 0, MAX_REQUEST).text)
    };
    let result = report.state.is_over().then(|| result(&report, 0, max_chars));
    let mut job = object([
        ("id", task.id.as_str().into()),
        ("agent", agent(&report).into()),
        ("task", TextPiece::of(&task.spec.prompt, 0, MAX_REQUEST).text.into()),
        ("context", background("context").into()),
        ("caller", background("caller").into()),
        ("goal", background("goal").into()),
        ("status", status_word(report.state).into()),
        ("error", result.as_ref().and_then(|result| result.get("error").cloned()).into()),
        ("result", result.into()),
    ]);
    job.extend(times(task));
    Ok(job)
}

/// Returns the line of a list about a job.
///
/// # Errors
/// As [`report_of`].
pub(super) fn listed_job(queue: &OpenQueue, task: &Task) -> Result<Object> {
    let report = report_of(queue, task)?;
    let is_over = report.state.is_over();
    let mut job = object([
        ("id", task.id.as_str().into()),
        ("agent", agent(&report).into()),
        ("status", status_word(report.state).into()),
        ("task", TextPiece::of(&task.spec.prompt, 0, LISTED_TASK).text.into()),
        ("success", is_over.then_some(report.failure.is_none()).into()),
        ("cost_usd", report.cost_usd.into()),
        ("error_type", report.failure.into()),
    ]);
    job.extend(times(task));
    Ok(job)
}

fn times(task: &Task) -> Object {
    let seconds = |time: Time| time.micros() as f64 / 1e6;
    let ended = match &task.status {
        Status::Completed { at, .. } | Status::Failed { at, .. } => Some(*at),
        _ => None,
    };
    object([
        ("created_at", seconds(task.created_at).into()),
        ("started_at", task.status.claim().map(|claim| seconds(claim.claimed_at)).into()),
        ("completed_at", ended.map(seconds).into()),
    ])
}

fn agent(report: &TaskReport) -> &str {
    report.lane.strip_prefix(AGENT_LANES).unwrap_or(&report.lane)
}
