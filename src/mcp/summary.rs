//! Collects the facts about a task that are reported to a model.

use serde_json::Value;

use super::answer_cache;
use super::coordinator::is_coordinated;
use super::failure::failure_kind;
use super::open_queue::OpenQueue;
use super::report_text::{ReportedState, TaskReport};
use crate::error::{Error, Result, printable};
use crate::model::json::Object;
use crate::model::{FailureClass, Response, Status, Task};
use crate::store::Store;
use crate::workspace::why;

/// The file in which a dispatcher records the progress of a run, in lines of time and text.
const PROGRESS_FILE: &str = "progress.log";
/// The number of bytes at its end that are read.
const PROGRESS_TAIL: u64 = 4096;
/// The longest text about a worker's last activity, in characters.
const MAX_ACTIVITY: usize = 120;

/// Returns the state of a task by the name that the tools use.
pub(super) fn reported_state(status: &Status) -> ReportedState {
    match status {
        Status::Queued | Status::Scheduled { .. } | Status::Blocked { .. } | Status::Unknown(_) => {
            ReportedState::Queued
        }
        Status::InputRequired => ReportedState::InputRequired,
        Status::Claimed(_) => ReportedState::Running,
        Status::Completed { .. } => ReportedState::Done,
        Status::Failed { class: FailureClass::Cancelled, .. } => ReportedState::Cancelled,
        Status::Failed { .. } => ReportedState::Failed,
    }
}

/// Returns the report of a task. Makes its answer durable first.
///
/// # Errors
/// Whatever the store reports.
pub(super) fn report_of(queue: &OpenQueue, task: &Task) -> Result<TaskReport> {
    let store = &queue.store;
    let response = match task.status.is_terminal() {
        true => {
            store.sync_response(task)?;
            store.response(task)?
        }
        false => None,
    };
    if let Some(response) = &response {
        answer_cache::keep(queue, task, response);
    }
    let empty = Object::new();
    let metadata = response.as_ref().map_or(&empty, |response| &response.metadata);
    let text = |key: &str| metadata.get(key).and_then(Value::as_str).map(str::to_string);
    let wants_json = task.spec.schema.is_some()
        || task.spec.metadata.get("response_format").and_then(Value::as_str) == Some("json");
    let note = match &task.status {
        Status::Completed { .. } | Status::Failed { .. } => String::new(),
        Status::Claimed(_) => match activity(store, task) {
            Some(last) => format!("last: \"{last}\""),
            None => why(store, task)?.sentence,
        },
        Status::Queued if is_coordinated(task) => activity(store, task).unwrap_or_default(),
        Status::Queued
        | Status::Scheduled { .. }
        | Status::Blocked { .. }
        | Status::InputRequired
        | Status::Unknown(_) => why(store, task)?.sentence,
    };
    Ok(TaskReport {
        id: task.id.to_string(),
        lane: task.spec.lane.to_string(),
        state: reported_state(&task.status),
        outcome: text("outcome"),
        failure: failure_of(task, metadata),
        is_cached: false,
        seconds: seconds(store, task),
        cost_usd: metadata.get("cost_usd").and_then(Value::as_f64),
        turns: metadata.get("num_turns").and_then(Value::as_u64),
        session_id: text("session_id"),
        note: printable(&note),
        json: if wants_json { response.as_ref().and_then(json_of) } else { None },
        body: response.map(|response| response.body).unwrap_or_default(),
        wants_json,
    })
}

fn failure_of(task: &Task, metadata: &Object) -> Option<&'static str> {
    let Status::Failed { class, .. } = &task.status else { return None };
    let denied = metadata.get("denied_tools").and_then(Value::as_array);
    Some(failure_kind(class, denied.is_some_and(|tools| !tools.is_empty())))
}

/// Returns the answer as JSON: as the dispatcher found it, or as it stands.
fn json_of(response: &Response) -> Option<Value> {
    let parsed = response.metadata.get("parsed_result").filter(|value| !value.is_null()).cloned();
    parsed.or_else(|| serde_json::from_str(&response.body).ok())
}

/// Returns how long a task took or has been taking, in seconds: from its last claim on, or from its submit on if
/// nobody has claimed it.
fn seconds(store: &Store, task: &Task) -> f64 {
    let from = task.status.claim().map_or(task.created_at, |claim| claim.claimed_at);
    let until = match &task.status {
        Status::Completed { at, .. } | Status::Failed { at, .. } => *at,
        _ => store.now().wall,
    };
    until.seconds_since(from).max(0.0)
}

/// Returns a text without the token of the task's claim, which is for the holder alone.
pub(super) fn without_token(text: String, task: &Task) -> String {
    match task.status.claim().map(|claim| claim.token.as_str()) {
        Some(token) if !token.is_empty() && text.contains(token) => text.replace(token, "…"),
        _ => text,
    }
}

/// Returns what the worker of a task did last, as one short line, if that is known.
pub(super) fn activity(store: &Store, task: &Task) -> Option<String> {
    let line = last_progress_line(store, task).or_else(|| {
        let event = store.last_event(task).ok()??;
        let is_from_worker = matches!(event.kind.as_str(), "progress" | "note");
        Some(event.message).filter(|_| is_from_worker)
    })?;
    let line = printable(without_token(line, task).trim());
    let short: String = line.chars().take(MAX_ACTIVITY).collect();
    (!short.is_empty()).then_some(if short.len() < line.len() { format!("{short}…") } else { short })
}

/// Returns the last text in the progress file of the present run.
fn last_progress_line(store: &Store, task: &Task) -> Option<String> {
    let attempt = store.blobs().attempt(&task.id, task.fence).ok()??;
    let file = attempt.log(PROGRESS_FILE).ok()??;
    let size = file.size().ok()?;
    let length = size.min(PROGRESS_TAIL);
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    let read = file.read_at(&mut bytes, size - length).ok()?;
    bytes.truncate(read);
    let text = String::from_utf8_lossy(&bytes);
    // The text after the last newline is still being written.
    let (whole, _) = text.rsplit_once('\n')?;
    let last = whole.lines().next_back()?;
    last.split_once(' ').map(|(_, text)| text.to_string())
}

/// Returns the body of the answer to a task that has one.
///
/// # Errors
/// `NotFound` while there is none; otherwise whatever the store reports.
pub(super) fn answer_of(store: &Store, task: &Task) -> Result<Response> {
    if task.status.is_terminal() {
        store.sync_response(task)?;
    }
    store.response(task)?.ok_or_else(|| {
        Error::not_found(format!(
            "{} has no answer: it is {}",
            task.id,
            reported_state(&task.status).as_str()
        ))
        .with_hint("wait for it with `wait`")
    })
}
