//! Ends without an answer of a worker (cancelled, dead), and the records allowed on an ended task.

use serde_json::Value;

use super::{Effect, TransitionContext, question};
use crate::error::Result;
use crate::model::json::Object;
use crate::model::limits;
use crate::model::refusal::Refusal;
use crate::model::response::{Response, ResponseStatus};
use crate::model::task::{Availability, FailureClass, Status, Task, object};

/// Ends a task as cancelled, which makes the token of its claim void. A task that was cancelled before stays as
/// it is.
///
/// # Errors
/// `Refused` when the task has ended otherwise.
pub(super) fn cancel(
    task: &mut Task,
    context: &TransitionContext<'_>,
    reason: Option<&str>,
    by: &str,
) -> Result<Effect> {
    limits::check_actor("the name of the person who cancels", by)?;
    if matches!(task.status, Status::Failed { class: FailureClass::Cancelled, .. }) {
        return Ok(Effect::Unchanged);
    }
    if task.status.is_terminal() || matches!(task.status, Status::Unknown(_)) {
        return Err(Refusal::ended(task, "cancel", None).into());
    }
    let text = match reason {
        Some(reason) => format!("cancelled by {by}: {reason}"),
        None => format!("cancelled by {by}"),
    };
    let data = object([("by", by.into()), ("reason", reason.map(str::to_string).into())]);
    task.record(context.now.wall, "cancelled", text.clone(), data);
    fail(task, context, text, FailureClass::Cancelled);
    Ok(Effect::Changed)
}

/// Records on a failed task which new task retries it.
///
/// # Errors
/// `Refused` if it has not failed.
pub(super) fn retried(
    task: &mut Task,
    context: &TransitionContext<'_>,
    new_id: &str,
    by: &str,
) -> Result<Effect> {
    check_retry(task)?;
    if task.retried_as.as_deref() == Some(new_id) {
        return Ok(Effect::Unchanged);
    }
    task.retried_as = Some(new_id.to_string());
    let data = object([("new_task_id", new_id.into()), ("by", by.into())]);
    task.record(context.now.wall, "retried", format!("retried by {by} as {new_id}"), data);
    Ok(Effect::Changed)
}

/// Checks that a task may be retried: it has failed, for any reason.
///
/// # Errors
/// `Refused` if it has not failed.
pub(crate) fn check_retry(task: &Task) -> Result<()> {
    match &task.status {
        Status::Failed { .. } => Ok(()),
        status => Err(Refusal::NotFailed { id: task.id.clone(), state: status.as_str().to_string() }.into()),
    }
}

/// Checks that a task may be redriven: it has failed because its attempts were spent.
///
/// # Errors
/// `Refused` if it has not failed that way.
pub(crate) fn check_redrive(task: &Task) -> Result<()> {
    match &task.status {
        Status::Failed { class: FailureClass::Dead, .. } => Ok(()),
        status => {
            let class = match status {
                Status::Failed { class, .. } => Some(class.clone()),
                _ => None,
            };
            Err(Refusal::NotDead { id: task.id.clone(), state: status.as_str().to_string(), class }.into())
        }
    }
}

/// Applies what is due because time has passed: queues a scheduled task, gives questions their defaults, declares
/// dead a task whose attempts are spent, and lets one wait for input that lost its claim with a question open.
pub(super) fn settle(task: &mut Task, context: &TransitionContext<'_>) -> Effect {
    // A default is a change, whatever else is due.
    let defaulted = question::apply_due_defaults(task, context);
    match settle_state(task, context) {
        Effect::Unchanged if defaulted => Effect::Changed,
        effect => effect,
    }
}

fn settle_state(task: &mut Task, context: &TransitionContext<'_>) -> Effect {
    match (task.availability(context.now), &task.status) {
        (Availability::InputRequired, Status::Claimed(_)) => {
            question::require_input(task, context);
            Effect::Changed
        }
        (Availability::Spent, _) => {
            declare_dead(task, context, None);
            Effect::Changed
        }
        (Availability::Expired, _) => {
            expire(task, context);
            Effect::Changed
        }
        (Availability::Blocked, _) => block(task, context),
        // Nobody else may find it claimable, and its keys must be free.
        (Availability::Ready | Availability::NotBefore(_), _) if task.needs_keys() => block(task, context),
        (Availability::Ready, Status::Scheduled { .. }) => {
            task.record(context.now.wall, "due", "the delay is over", Object::new());
            task.status = Status::Queued;
            Effect::Changed
        }
        _ => Effect::Unchanged,
    }
}

/// Makes a task wait for its dependencies or keys again that lost its claim, or that another implementation took in
/// spite of them and gave back.
fn block(task: &mut Task, context: &TransitionContext<'_>) -> Effect {
    let until = match task.status {
        Status::Blocked { .. } => return Effect::Unchanged,
        Status::Scheduled { until } => Some(until),
        _ => None,
    };
    let gate = if task.waits_for_dependencies() { "dependencies" } else { "exclusive keys" };
    let message = match task.status.claim() {
        Some(claim) => format!("the lease of {} ended; it waits for its {gate} again", claim.owner),
        None => format!("it waits for its {gate} again"),
    };
    let owner = task.status.claim().map_or(Value::Null, |claim| claim.owner.clone().into());
    task.bookkeeping.lease = None;
    task.status = Status::Blocked { until };
    task.record(context.now.wall, "blocked", message, object([("owner", owner)]));
    Effect::Changed
}

/// Ends a task that was not started by its deadline.
pub(super) fn expire(task: &mut Task, context: &TransitionContext<'_>) {
    let deadline = task.start_deadline().map(|deadline| deadline.to_string()).unwrap_or_default();
    let reason = format!("it was not started by its deadline, {deadline}");
    let data = object([("deadline", deadline.into())]);
    task.record(context.now.wall, "expired", reason.clone(), data);
    fail(task, context, reason, FailureClass::Expired);
}

/// Ends a task whose attempts are spent.
pub(super) fn declare_dead(task: &mut Task, context: &TransitionContext<'_>, last_error: Option<&str>) {
    let mut reason =
        format!("{} of {} attempts are spent", task.attempt, task.spec.max_attempts.unwrap_or(0));
    match (last_error, &task.status) {
        (Some(last), _) => reason.push_str(&format!("; last: {last}")),
        (None, Status::Claimed(claim)) => {
            reason.push_str(&format!("; last: the lease of {} ended", claim.owner))
        }
        (None, _) => {}
    }
    let data = object([("attempt", task.attempt.into()), ("max_attempts", task.spec.max_attempts.into())]);
    task.record(context.now.wall, "dead", reason.clone(), data);
    fail(task, context, reason, FailureClass::Dead);
}

/// Ends a task as failed by the queue itself. It gets a response too, so that every wait ends.
pub(super) fn fail(task: &mut Task, context: &TransitionContext<'_>, reason: String, class: FailureClass) {
    let now = context.now.wall;
    task.bookkeeping.response = Some(Response {
        task_id: task.id.to_string(),
        reviewer: "lanes".to_string(),
        status: ResponseStatus::Failed,
        body: reason.clone(),
        reviewed_request_sha256: task.request_sha256.clone(),
        request_changed_before_response: false,
        follow_up_required: false,
        verdict: None,
        blocking_count: None,
        nonblocking_count: None,
        metadata: object([("failure_class", class.as_str().into())]),
        created_at: now,
        extra: Object::new(),
    });
    task.bookkeeping.lease = None;
    let claim = task.status.claim().cloned();
    task.status = Status::Failed { at: now, claim, reason, class };
}
