//! Submits the task that follows the end of another one, exactly once.

use serde_json::Value;

use super::FollowUp;
use crate::dispatch::task_metadata::FOLLOW_UP_DEPTH;
use crate::error::{Error, ErrorKind, Result};
use crate::model::json::Object;
use crate::model::{
    Answer, AnswerOutcome, Command, FailureClass, IdempotencyKey, NewRequest, NewTask, Owner, Status, Task,
    TaskId,
};
use crate::store::Store;

/// Maximum number of dead letters in a row. Lanes for dead letters that form a circle would otherwise run agents without end.
const MAX_DEAD_LETTERS: u64 = 16;
/// For how long a task that stops a thread could not be claimed, if it were not ended at once.
const NEVER: f64 = 100.0 * 365.0 * 86_400.0;

/// Result of submitting a follow-up task.
pub(super) enum FollowUpSubmission {
    /// It was submitted, now or before.
    Submitted,
    /// The task has not ended as the follow-up expects.
    NotDue,
    /// It can never be submitted: its request is missing, or the queue refuses it.
    Impossible(Error),
}

/// Submits the task that follows `task` if that has ended as the follow-up expects.
///
/// # Errors
/// When the store cannot be used at present.
pub(super) fn submit_follow_up(
    store: &Store,
    task: &Task,
    follow_up: &FollowUp,
    fence: u64,
) -> Result<FollowUpSubmission> {
    let key = match (&task.status, follow_up.after_success) {
        (Status::Completed { .. }, true) => IdempotencyKey::derived("after", &task.id),
        (Status::Failed { .. }, false) if follow_up.is_dead_letter() => {
            IdempotencyKey::derived("dead-letter", &task.id)
        }
        (Status::Failed { .. }, false) => IdempotencyKey::derived("after", &task.id),
        _ => return Ok(FollowUpSubmission::NotDue),
    };
    let depth = task.spec.metadata.get(FOLLOW_UP_DEPTH).and_then(Value::as_u64).unwrap_or(0);
    let most = follow_up.hop.as_ref().map_or(MAX_DEAD_LETTERS, |hop| u64::from(hop.most));
    let is_last = depth >= most;
    if is_last && follow_up.is_dead_letter() {
        return Ok(FollowUpSubmission::Impossible(Error::refused(format!(
            "{most} tasks have followed one another already; see whether dead_letter_lane leads in a circle"
        ))));
    }
    let (request, prompt) = match request_of(store, task, follow_up) {
        Ok(request) => request,
        Err(error) if error.kind() == ErrorKind::Locked => return Err(error),
        Err(error) => return Ok(FollowUpSubmission::Impossible(error)),
    };
    let mut next = NewTask::with_spec_of(&task.spec, request);
    // What proves this work proves nothing about the next, and a dead letter is answered by a person.
    next.spec.verify = Vec::new();
    next.spec.schema = None;
    next.spec.prompt = prompt;
    next.spec.lane = follow_up.lane.clone();
    // A person who submits the last one again allows as many more.
    next.spec.metadata = metadata(store, task, follow_up, if is_last { 0 } else { depth + 1 }, fence);
    next.spec.key = Some(key);
    if is_last {
        next.not_before = Some(store.now().wall.plus_seconds(NEVER));
    }
    let submitted = match store.submit_again(next) {
        Ok(submitted) => submitted,
        Err(error) if matches!(error.kind(), ErrorKind::Io | ErrorKind::Locked) => return Err(error),
        Err(error) => return Ok(FollowUpSubmission::Impossible(error)),
    };
    if is_last && !submitted.task.status.is_terminal() {
        stop_thread(store, &submitted.task.id, &task.id, most)?;
    }
    Ok(FollowUpSubmission::Submitted)
}

/// Ends a task that would have been one too many: as a dead letter, which people find and may submit again.
fn stop_thread(store: &Store, id: &TaskId, before: &TaskId, most: u64) -> Result<()> {
    let body = format!(
        "{most} tasks have followed one another, as many as max_hops allows: this one, after {before}, was not begun; \
         `lanes redrive {id}` continues"
    );
    let answer = Answer {
        outcome: AnswerOutcome::Failed(FailureClass::Dead),
        ..Answer::completed(Owner::stored("lanes"), body)
    };
    match store.apply(id, &Command::Respond(answer)) {
        Ok(_) => Ok(()),
        // Somebody has cancelled or answered it meanwhile.
        Err(error) if error.refusal().is_some() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Returns the request of the next task, and its prompt. With a prompt of its own, it has that and the task at the beginning of
/// its thread.
fn request_of(store: &Store, task: &Task, follow_up: &FollowUp) -> Result<(NewRequest, String)> {
    let Some(prompt) = follow_up.hop.as_ref().and_then(|hop| hop.prompt.as_deref()) else {
        return Ok((store.copy_request(task)?, task.spec.prompt.clone()));
    };
    let first = first_of_thread(store, task);
    match store.copy_request(&first)? {
        NewRequest::Text(text) => {
            let text =
                format!("{}\n\nThe task at the beginning of this thread:\n\n{text}", prompt.trim_end());
            Ok(NewRequest::prompt(text))
        }
        file @ NewRequest::File { .. } => {
            let own = first.spec.prompt.trim();
            let prompt =
                if own.is_empty() { prompt.to_string() } else { format!("{}\n\n{own}", prompt.trim_end()) };
            Ok((file, prompt))
        }
    }
}

/// Returns the task at the beginning of a thread of tasks that followed one another; the task itself if that is gone.
fn first_of_thread(store: &Store, task: &Task) -> Task {
    let is_follow_up = task.spec.metadata.get(FOLLOW_UP_DEPTH).is_some();
    let name = task.spec.metadata.get("thread_id").and_then(Value::as_str).filter(|_| is_follow_up);
    let first = name.and_then(|name| store.task(&TaskId::parse(name).ok()?).ok());
    first.unwrap_or_else(|| task.clone())
}

/// Returns the metadata of the next task.
fn metadata(store: &Store, task: &Task, follow_up: &FollowUp, depth: u64, fence: u64) -> Object {
    let mut metadata = task.spec.metadata.clone();
    metadata.insert(FOLLOW_UP_DEPTH.to_string(), depth.into());
    // The next task has a new conversation; it receives the answer through the thread.
    metadata.remove("session_id");
    let thread = metadata.get("thread_id").cloned().filter(|id| !id.is_null());
    metadata.insert("thread_id".to_string(), thread.unwrap_or_else(|| task.id.as_str().into()));
    metadata.insert("parent_task_id".to_string(), task.id.as_str().into());
    if !follow_up.after_success {
        let log = store.spool().attempt_path(&task.id, fence);
        if follow_up.is_dead_letter() {
            metadata.insert("dead_letter_of".to_string(), task.id.as_str().into());
        }
        metadata.insert("failed_lane".to_string(), task.spec.lane.clone().into());
        metadata.insert("attempts".to_string(), task.attempt.into());
        metadata.insert("evidence".to_string(), log.to_string_lossy().into_owned().into());
        if let Status::Failed { class, .. } = &task.status {
            metadata.insert("failure_class".to_string(), class.as_str().into());
        }
    }
    metadata
}
