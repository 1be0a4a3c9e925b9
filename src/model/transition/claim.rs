//! Claim, renew and release, and the commands that do not change the state (note, move).

use std::time::Duration;

use serde_json::Value;

use super::{Effect, TransitionContext, check_request, current_claim, end, question};
use crate::error::{Error, Result};
use crate::model::duration;
use crate::model::event::ENGINE_KINDS;
use crate::model::exclusive_key::ExclusiveKey;
use crate::model::id::ClaimToken;
use crate::model::json::{self, Object};
use crate::model::lane::LaneName;
use crate::model::limits;
use crate::model::owner::Owner;
use crate::model::refusal::Refusal;
use crate::model::task::{Availability, Claim, FailureClass, LeaseClock, Status, Task, object};
use crate::model::time::{Now, micros};

/// The largest event accepted from outside the queue, message and data together, in bytes: task.json
/// contains the newest events, and every access to the task reads it.
const MAX_EVENT_BYTES: usize = 128 * 1024;

/// Claims a task that is available and whose request is unchanged: gives it an owner, a new token and a lease,
/// and counts the attempt.
///
/// # Errors
/// `Invalid` for a lease out of range; `Refused` when the task is not available or its request has changed.
pub(super) fn claim(
    task: &mut Task,
    context: &TransitionContext<'_>,
    owner: &Owner,
    token: &ClaimToken,
    lease: Duration,
) -> Result<Effect> {
    let lease = limits::check_lease(lease)?;
    let now = context.now;
    check_available(task, now)?;
    check_request(task, context)?;
    question::apply_due_defaults(task, context);
    let previous = match &task.status {
        Status::Claimed(claim) => Value::from(claim.owner.clone()),
        _ => Value::Null,
    };
    task.attempt = task.attempt.saturating_add(1);
    task.fence = task.fence.saturating_add(1);
    let data = object([
        ("owner", owner.into()),
        ("attempt", task.attempt.into()),
        ("fence", task.fence.into()),
        ("lease_seconds", duration::seconds(lease).into()),
        ("previous_owner", previous.clone()),
    ]);
    let message = match previous.as_str() {
        Some(previous) => format!("claimed by {owner} after the lease of {previous} ended"),
        None => format!("claimed by {owner}"),
    };
    task.status = Status::Claimed(Claim {
        owner: owner.clone(),
        token: token.clone(),
        claimed_at: now.wall,
        lease_expires_at: now.wall + lease,
        lease: Some(lease.into()),
    });
    set_lease_clock(task, now, lease);
    task.record(now.wall, "claimed", message, data);
    Ok(Effect::Changed)
}

/// Refuses a claim of a task that is not available now.
fn check_available(task: &Task, now: &Now) -> std::result::Result<(), Refusal> {
    let id = task.id.clone();
    Err(match task.availability(now) {
        Availability::Ready => return Ok(()),
        Availability::Closed => Refusal::ended(task, "claim", None),
        Availability::NotBefore(until) => Refusal::Scheduled { id, until },
        Availability::InputRequired => {
            let open = task.open_questions(now.wall).map(|question| question.number).collect();
            Refusal::InputRequired { id, open }
        }
        Availability::Leased(until) => {
            let owner =
                task.status.claim().map_or_else(|| Owner::stored("unknown"), |claim| claim.owner.clone());
            Refusal::Leased { id, owner, until }
        }
        Availability::Expired => {
            Refusal::DeadlinePassed { id, deadline: task.start_deadline().unwrap_or(now.wall) }
        }
        Availability::Blocked => Refusal::Blocked { id, dependencies: task.spec.after.len() },
        Availability::Spent => Refusal::AttemptsSpent {
            id,
            attempt: task.attempt,
            max_attempts: task.spec.max_attempts.unwrap_or(0),
        },
    })
}

/// Starts the lease of a claim again, with the given length or its previous one.
///
/// # Errors
/// `Invalid` for a lease out of range; `Refused` when `token` is not that of the current claim.
pub(super) fn renew(
    task: &mut Task,
    context: &TransitionContext<'_>,
    token: &ClaimToken,
    lease: Option<Duration>,
) -> Result<Effect> {
    let now = context.now;
    let claim = current_claim(task, token, "renew")?;
    let lease = match (lease, claim.lease) {
        (Some(lease), _) => limits::check_lease(lease)?,
        (None, Some(own)) => limits::lease_from_seconds(own.as_secs_f64())?,
        (None, None) => limits::lease_from_seconds(claim.lease_expires_at.seconds_since(claim.claimed_at))?,
    };
    let renewed = Claim { lease_expires_at: now.wall + lease, lease: Some(lease.into()), ..claim.clone() };
    let data =
        object([("owner", renewed.owner.clone().into()), ("lease_seconds", duration::seconds(lease).into())]);
    let message = format!("lease renewed until {}", renewed.lease_expires_at);
    task.status = Status::Claimed(renewed);
    set_lease_clock(task, now, lease);
    task.record(now.wall, "renewed", message, data);
    Ok(Effect::Changed)
}

/// Returns a claimed task to its lane, after `delay` if there is one. The attempt counts only if it is `spent`;
/// the last one then ends the task as dead.
///
/// # Errors
/// `Invalid` for a delay out of range; `Refused` when `token` is not that of the current claim.
pub(super) fn release(
    task: &mut Task,
    context: &TransitionContext<'_>,
    token: &ClaimToken,
    reason: Option<&str>,
    delay: Option<Duration>,
    spent: Option<&FailureClass>,
) -> Result<Effect> {
    let now = context.now;
    let owner = current_claim(task, token, "release")?.owner.clone();
    let delay = limits::check_delay(delay.unwrap_or_default())?;
    if spent.is_none() {
        task.attempt = task.attempt.saturating_sub(1);
    }
    let data = object([
        ("owner", owner.clone().into()),
        ("reason", reason.map(str::to_string).into()),
        ("delay_seconds", (!delay.is_zero()).then(|| duration::seconds(delay)).into()),
        ("spent", spent.map(|class| class.as_str().to_string()).into()),
    ]);
    let mut message = format!("released by {owner}");
    if let Some(reason) = reason {
        message.push_str(&format!(": {reason}"));
    }
    task.record(now.wall, "released", message, data);
    task.bookkeeping.lease = None;
    task.status = task.waiting_status((!delay.is_zero()).then(|| now.wall + delay), now.wall);
    if spent.is_some() && task.spec.max_attempts.is_some_and(|max| task.attempt >= max) {
        end::declare_dead(task, context, reason);
    }
    Ok(Effect::Changed)
}

/// Adds an event of a caller to the history. With a token, the caller must hold the claim.
///
/// # Errors
/// `Invalid` for a type that the queue reserves or that is not one word, and for an event that is too large;
/// `Refused` when `token` is not that of the current claim.
pub(super) fn note(
    task: &mut Task,
    context: &TransitionContext<'_>,
    kind: &str,
    message: &str,
    data: &Object,
    token: Option<&ClaimToken>,
) -> Result<Effect> {
    if ENGINE_KINDS.contains(&kind) {
        return Err(Error::invalid(format!(
            "event type '{kind}' is written by the queue alone; choose another word"
        )));
    }
    limits::check_event_type(kind)?;
    limits::check_keys("the data", data)?;
    let size = message.len() + json::to_text(data).len();
    if size > MAX_EVENT_BYTES {
        return Err(Error::invalid(format!(
            "an event of {size} bytes is too large; at most {MAX_EVENT_BYTES} are accepted"
        ))
        .with_hint("write it to a file and name the file"));
    }
    if let Some(token) = token {
        current_claim(task, token, "add an event to")?;
    }
    task.record(context.now.wall, kind, message, data.clone());
    Ok(Effect::Changed)
}

/// Moves a task that waits to another lane.
///
/// # Errors
/// `Refused` when the task is claimed or has ended.
pub(super) fn move_to(task: &mut Task, context: &TransitionContext<'_>, lane: &LaneName) -> Result<Effect> {
    if task.spec.lane == *lane {
        return Ok(Effect::Unchanged);
    }
    match &task.status {
        Status::Queued | Status::Scheduled { .. } | Status::Blocked { .. } | Status::InputRequired => {}
        Status::Claimed(claim) => {
            return Err(
                Refusal::Claimed { id: task.id.clone(), verb: "move", owner: claim.owner.clone() }.into()
            );
        }
        Status::Completed { .. } | Status::Failed { .. } | Status::Unknown(_) => {
            return Err(Refusal::ended(task, "move", None).into());
        }
    }
    let data = object([("from", (&task.spec.lane).into()), ("to", lane.into())]);
    let message = format!("moved from {} to {lane}", task.spec.lane);
    task.record(context.now.wall, "moved", message, data);
    task.spec.lane = lane.clone();
    Ok(Effect::Changed)
}

/// Gives a task further exclusive keys. From then on it waits in a state that nobody offers who does not know keys.
///
/// # Errors
/// `Refused` when the task is claimed or has ended.
pub(super) fn add_keys(
    task: &mut Task,
    context: &TransitionContext<'_>,
    keys: &[ExclusiveKey],
) -> Result<Effect> {
    let missing: Vec<ExclusiveKey> =
        keys.iter().filter(|key| !task.spec.exclusive.contains(key)).cloned().collect();
    if missing.is_empty() {
        return Ok(Effect::Unchanged);
    }
    let now = context.now.wall;
    let until = match &task.status {
        Status::Scheduled { until } => Some(*until),
        Status::Blocked { until } => *until,
        Status::Queued | Status::InputRequired => None,
        Status::Claimed(_) if !task.lease_is_live(context.now) => None,
        Status::Claimed(claim) => {
            return Err(Refusal::Claimed {
                id: task.id.clone(),
                verb: "add keys to",
                owner: claim.owner.clone(),
            }
            .into());
        }
        Status::Completed { .. } | Status::Failed { .. } | Status::Unknown(_) => {
            return Err(Refusal::ended(task, "add keys to", None).into());
        }
    };
    let names: Vec<&str> = missing.iter().map(ExclusiveKey::as_str).collect();
    let data = object([("keys", names.clone().into())]);
    task.record(now, "exclusive", format!("its lane adds exclusive keys: {}", names.join(", ")), data);
    task.spec.exclusive.extend(missing);
    task.bookkeeping.lease = None;
    task.status = task.waiting_status(until, now);
    Ok(Effect::Changed)
}

/// Records that a claim has skipped the task because its request has changed.
pub(super) fn request_changed(task: &mut Task, context: &TransitionContext<'_>) -> Effect {
    let message = "the request file is missing or has changed since the submit; the task is skipped until it is restored";
    task.record(context.now.wall, "request_changed", message, Object::new());
    Effect::Changed
}

/// Records the end of a lease by the uptime of the machine, which decides until the machine restarts.
pub(super) fn set_lease_clock(task: &mut Task, now: &Now, lease: Duration) {
    task.bookkeeping.lease = Some(LeaseClock {
        expires_at: now.wall + lease,
        boot: now.boot.clone(),
        until: now.uptime.saturating_add(micros(lease)),
    });
}
