//! The JSON view of a task in `status` and `list`: its fields, and what follows from them at the present time. And the replies of
//! commands that change a task.

use serde_json::{Value, json};

use super::exit::CommandExit;
use super::output::Output;
use crate::error::{Result, shell_word};
use crate::model::json::Object;
use crate::model::task::object;
use crate::model::{Effect, Event, FailureClass, Now, Status, Task, TaskId};
use crate::store::Store;

/// Returns the JSON view of a task at the time `now`.
pub(super) fn task_view(store: &Store, task: &Task, now: &Now, last_event: Option<Event>) -> Object {
    let response_exists = store.response_exists(task);
    let missing = matches!(task.status, Status::Completed { .. }) && !response_exists;
    let mut view = task.to_public_object();
    let mut put = |key: &str, value: Value| {
        view.insert(key.to_string(), value);
    };
    put("response_exists", response_exists.into());
    put("lease_expired", lease_expired(task, now).into());
    put("missing_response", missing.into());
    put(
        "last_event_age_seconds",
        last_event.as_ref().map(|event| whole_seconds(now.wall.seconds_since(event.created_at))).into(),
    );
    put("last_event", last_event.as_ref().map(|event| Value::Object(event.to_object())).into());
    if let Status::Claimed(claim) = &task.status {
        put("claimed_age_seconds", whole_seconds(now.wall.seconds_since(claim.claimed_at)).into());
        put(
            "seconds_until_lease_expiry",
            whole_seconds(claim.lease_expires_at.seconds_since(now.wall)).into(),
        );
    }
    put(
        "navigation",
        json!({
            "workspace_root": task.spec.workspace_root,
            "worktree_path": task.spec.worktree_path,
            "expected_branch": task.spec.expected_branch,
            "request_path": task.request_path,
            "response_path": task.response_path,
            "review_scope": "request_path is what to work on; the worktree is context unless the prompt says otherwise",
        }),
    );
    put("next_action", next_action(task, now, last_event.as_ref(), missing).into());
    view
}

/// Returns the reply of a command that changes a task, which may have been as it is wanted already.
pub(super) fn change_reply(status: &str, store: &Store, task: Task, effect: Effect) -> Object {
    object([
        ("status", status.into()),
        ("task_id", task.id.as_str().into()),
        ("changed", (effect == Effect::Changed).into()),
        ("task", Value::Object(store.shown(task).to_public_object())),
    ])
}

/// Prints a reply about a task as JSON, or else its id.
///
/// # Errors
/// `Io` when standard output cannot be written.
pub(super) fn print_reply(out: &mut Output, id: &TaskId, reply: &Object) -> Result<CommandExit> {
    if out.json {
        out.object(reply)?;
    } else {
        out.line(id.as_str())?;
    }
    Ok(CommandExit::Done)
}

/// Returns whether a claimed task's lease has ended.
pub(super) fn lease_expired(task: &Task, now: &Now) -> bool {
    matches!(task.status, Status::Claimed(_)) && !task.lease_is_live(now)
}

/// Rounds towards zero, as the protocol defines ages.
fn whole_seconds(seconds: f64) -> i64 {
    seconds as i64
}

/// Returns what to do about a task, in one line.
pub(super) fn next_action(task: &Task, now: &Now, last: Option<&Event>, missing_response: bool) -> String {
    let (id, lane) = (&task.id, shell_word(task.spec.lane.as_str()));
    match &task.status {
        Status::Queued => {
            format!("worker: claim it with `lanes claim {id}` or `lanes claim --lane {lane}`")
        }
        Status::Scheduled { until } if *until > now.wall => format!("nothing to do before {until}"),
        Status::Scheduled { .. } => format!("worker: it is due; `lanes claim --lane {lane}` takes it"),
        Status::Blocked { .. } if task.waits_for_dependencies() => {
            format!("nothing until its dependencies end; `lanes why {id}` names them")
        }
        Status::Blocked { until: Some(until) } if *until > now.wall => {
            format!("nothing to do before {until}")
        }
        Status::Blocked { .. } => {
            format!("worker: `lanes claim --lane {lane}` takes it when its exclusive keys are free")
        }
        Status::Claimed(claim) if lease_expired(task, now) => {
            format!("the lease of {} has ended; any worker may claim the task", claim.owner)
        }
        Status::Claimed(claim) => {
            let last = last.map_or("none", |event| event.kind.as_str());
            format!("claimed by {} until {}; last event: {last}", claim.owner, claim.lease_expires_at)
        }
        Status::InputRequired => format!("a question is open; `lanes answer {id}` answers it"),
        Status::Completed { .. } if missing_response => {
            "the answer's file is gone from the store; `lanes fsck` reports more".to_string()
        }
        Status::Completed { .. } => format!("submitter: `lanes wait {id}` fetches the answer"),
        Status::Failed { class: FailureClass::Cancelled, .. } => "nothing; it was cancelled".to_string(),
        Status::Failed { .. } => match &task.retried_as {
            Some(new) => format!("it was retried as {new}"),
            None => format!("`lanes retry {id}` submits it again, if it is still wanted"),
        },
        Status::Unknown(word) => {
            format!("'{word}' is a state of a newer lanes; use that version to continue")
        }
    }
}
