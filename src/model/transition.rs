//! Which change is allowed when: the state machine.
//!
//! [`Command::apply`] is the only place that changes a task's status. It knows nothing of files and
//! clocks; what it needs to know of them comes in the [`Context`].

use serde_json::Value;

use super::event::ENGINE_KINDS;
use super::id::ClaimToken;
use super::json::Object;
use super::response::{Response, ResponseStatus, Verdict};
use super::task::{Availability, Claim, FailureClass, LeaseClock, Status, Task, object};
use super::time::Now;
use crate::error::{Error, ErrorKind, Result, printable};

/// The longest lease, in seconds: 30 days.
pub const MAX_LEASE_SECONDS: f64 = 30.0 * 24.0 * 3600.0;

/// The longest delay of a task, in seconds: ten years.
pub const MAX_DELAY_SECONDS: f64 = 10.0 * 365.0 * 24.0 * 3600.0;

/// What is known of the request file at the moment of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestCheck {
    /// Not looked at, since the command does not ask.
    Unchecked,
    /// As it was submitted.
    Same,
    /// Gone or unreadable.
    Missing,
    /// Different: the new fingerprint.
    Changed(String),
}

/// What a decision knows of the world.
pub struct Context<'a> {
    /// The time.
    pub now: &'a Now,
    /// The request file.
    pub request: &'a RequestCheck,
    /// The stored answer of a terminal task.
    pub previous: Option<&'a Response>,
}

/// A worker's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The token of the claim; `None` answers a queued task directly.
    pub token: Option<ClaimToken>,
    /// Who answers.
    pub reviewer: String,
    /// How it ended.
    pub status: ResponseStatus,
    /// The class of a failure; ignored for success.
    pub class: FailureClass,
    /// The answer itself.
    pub body: String,
    /// The judgement, for reviews.
    pub verdict: Option<Verdict>,
    /// Findings that block.
    pub blocking_count: Option<u64>,
    /// Findings that do not block.
    pub nonblocking_count: Option<u64>,
    /// Whether more work is asked for.
    pub follow_up_required: bool,
    /// The fingerprint of the request as the worker read it.
    pub expect_sha256: Option<String>,
    /// Free-form.
    pub metadata: Object,
}

/// What somebody wants to do to a task.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Take the task.
    Claim {
        /// Who takes it.
        owner: String,
        /// The proof to hand out.
        token: ClaimToken,
        /// How long, in seconds.
        lease_seconds: f64,
    },
    /// Keep the task longer.
    Renew {
        /// The proof.
        token: ClaimToken,
        /// How long from now, in seconds; `None` keeps the claim's own length.
        lease_seconds: Option<f64>,
    },
    /// Give the task back unfinished.
    Release {
        /// The proof.
        token: ClaimToken,
        /// Why, in a person's words.
        reason: Option<String>,
        /// Not to be claimed again for this long, in seconds.
        delay_seconds: Option<f64>,
        /// When set, the attempt counts as spent, with this class of failure.
        spent: Option<FailureClass>,
    },
    /// Answer the task.
    Respond(Answer),
    /// Add a line to the history.
    Note {
        /// One word, not one of the engine's own.
        kind: String,
        /// In a person's words.
        message: String,
        /// Details.
        data: Object,
        /// The proof, when the writer says it holds the task.
        token: Option<ClaimToken>,
    },
    /// End the task without an answer.
    Cancel {
        /// Why, in a person's words.
        reason: Option<String>,
        /// Who cancels.
        by: String,
    },
    /// Put the task into another lane.
    Move {
        /// The new lane.
        lane: String,
    },
    /// Note in a failed task that another one repeats it.
    Retried {
        /// The id of the new task.
        new_id: String,
        /// Who asked.
        by: String,
    },
    /// Note that the request is not what was submitted, so that the task is passed over.
    RequestChanged,
    /// Declare what time has decided: due tasks are queued, spent ones are dead.
    Settle,
}

/// What a command did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The task changed and must be saved.
    Changed,
    /// All was as asked already.
    Unchanged,
}

impl Command {
    /// Applies the command to `task`, or refuses. After a refusal the task is to be thrown away.
    pub fn apply(&self, task: &mut Task, context: &Context<'_>) -> Result<Effect> {
        let effect = match self {
            Self::Claim { owner, token, lease_seconds } => claim(task, context, owner, token, *lease_seconds),
            Self::Renew { token, lease_seconds } => renew(task, context, token, *lease_seconds),
            Self::Release { token, reason, delay_seconds, spent } => {
                release(task, context, token, reason.as_deref(), *delay_seconds, spent.as_ref())
            }
            Self::Respond(answer) => respond(task, context, answer),
            Self::Note { kind, message, data, token } => {
                note(task, context, kind, message, data, token.as_ref())
            }
            Self::Cancel { reason, by } => cancel(task, context, reason.as_deref(), by),
            Self::Move { lane } => move_to(task, context, lane),
            Self::Retried { new_id, by } => retried(task, context, new_id, by),
            Self::RequestChanged => Ok(request_changed(task, context)),
            Self::Settle => Ok(settle(task, context)),
        }?;
        if effect == Effect::Changed {
            task.updated_at = context.now.wall;
        }
        Ok(effect)
    }
}

/// Checks a lease length: positive, finite, at most [`MAX_LEASE_SECONDS`].
pub fn check_lease(seconds: f64) -> Result<f64> {
    if seconds.is_finite() && seconds > 0.0 && seconds <= MAX_LEASE_SECONDS {
        Ok(seconds)
    } else {
        Err(Error::invalid(format!(
            "lease of {seconds} seconds is out of range; give more than 0 and at most {MAX_LEASE_SECONDS} (30 days)"
        )))
    }
}

/// Checks a delay: zero or more, finite, at most [`MAX_DELAY_SECONDS`].
pub fn check_delay(seconds: f64) -> Result<f64> {
    if seconds.is_finite() && (0.0..=MAX_DELAY_SECONDS).contains(&seconds) {
        Ok(seconds)
    } else {
        Err(Error::invalid(format!(
            "delay of {seconds} seconds is out of range; give 0 up to {MAX_DELAY_SECONDS}"
        )))
    }
}

fn claim(
    task: &mut Task,
    context: &Context<'_>,
    owner: &str,
    token: &ClaimToken,
    lease_seconds: f64,
) -> Result<Effect> {
    let lease_seconds = check_lease(lease_seconds)?;
    let now = context.now;
    match task.availability(now) {
        Availability::Ready => {}
        Availability::Closed => return Err(closed(task, "claim")),
        Availability::NotBefore(until) => {
            return Err(Error::refused(format!("cannot claim {}; it is scheduled for {until}", task.id)));
        }
        Availability::Leased(until) => {
            let owner = task.status.claim().map_or("unknown", |claim| claim.owner.as_str());
            return Err(Error::refused(format!(
                "cannot claim {}; {} holds it under a lease until {until}",
                task.id,
                printable(owner)
            )));
        }
        Availability::Spent => {
            return Err(Error::refused(format!("cannot claim {}; {}", task.id, spent_words(task))));
        }
    }
    check_request(task, context)?;
    let previous = match &task.status {
        Status::Claimed(claim) => Value::from(claim.owner.clone()),
        _ => Value::Null,
    };
    task.attempt = task.attempt.saturating_add(1);
    task.fence += 1;
    let data = object([
        ("owner", owner.into()),
        ("attempt", task.attempt.into()),
        ("fence", task.fence.into()),
        ("lease_seconds", lease_seconds.into()),
        ("previous_owner", previous.clone()),
    ]);
    let message = match previous.as_str() {
        Some(previous) => format!("claimed by {owner} after the lease of {previous} ended"),
        None => format!("claimed by {owner}"),
    };
    task.status = Status::Claimed(Claim {
        owner: owner.to_string(),
        token: token.clone(),
        claimed_at: now.wall,
        lease_expires_at: now.wall.plus_seconds(lease_seconds),
        lease_seconds: Some(lease_seconds),
    });
    set_lease_clock(task, now, lease_seconds);
    task.record(now.wall, "claimed", message, data);
    Ok(Effect::Changed)
}

fn renew(task: &mut Task, context: &Context<'_>, token: &ClaimToken, seconds: Option<f64>) -> Result<Effect> {
    let now = context.now;
    let claim = held(task, token, "renew")?;
    let own_length =
        claim.lease_seconds.unwrap_or_else(|| claim.lease_expires_at.seconds_since(claim.claimed_at));
    let seconds = check_lease(seconds.unwrap_or(own_length))?;
    let renewed = Claim {
        lease_expires_at: now.wall.plus_seconds(seconds),
        lease_seconds: Some(seconds),
        ..claim.clone()
    };
    let data = object([("owner", renewed.owner.clone().into()), ("lease_seconds", seconds.into())]);
    let message = format!("lease renewed until {}", renewed.lease_expires_at);
    task.status = Status::Claimed(renewed);
    set_lease_clock(task, now, seconds);
    task.record(now.wall, "renewed", message, data);
    Ok(Effect::Changed)
}

fn release(
    task: &mut Task,
    context: &Context<'_>,
    token: &ClaimToken,
    reason: Option<&str>,
    delay_seconds: Option<f64>,
    spent: Option<&FailureClass>,
) -> Result<Effect> {
    let now = context.now;
    let owner = held(task, token, "release")?.owner.clone();
    let delay = check_delay(delay_seconds.unwrap_or(0.0))?;
    if spent.is_none() {
        task.attempt = task.attempt.saturating_sub(1);
    }
    let data = object([
        ("owner", owner.clone().into()),
        ("reason", reason.map(str::to_string).into()),
        ("delay_seconds", if delay > 0.0 { delay.into() } else { Value::Null }),
        ("spent", spent.map(|class| class.as_str().to_string()).into()),
    ]);
    let mut message = format!("released by {owner}");
    if let Some(reason) = reason {
        message.push_str(&format!(": {reason}"));
    }
    task.record(now.wall, "released", message, data);
    task.journal.lease = None;
    task.status =
        if delay > 0.0 { Status::Scheduled { until: now.wall.plus_seconds(delay) } } else { Status::Queued };
    if spent.is_some() && task.max_attempts.is_some_and(|max| task.attempt >= max) {
        bury(task, context, reason);
    }
    Ok(Effect::Changed)
}

fn respond(task: &mut Task, context: &Context<'_>, answer: &Answer) -> Result<Effect> {
    let now = context.now;
    if task.status.is_terminal() {
        return repeated(task, context, answer);
    }
    let claim = match (&task.status, &answer.token) {
        (Status::Claimed(_), Some(token)) => Some(held(task, token, "respond to")?.clone()),
        (Status::Claimed(claim), None) => {
            return Err(Error::refused(format!(
                "cannot respond to {} without its claim token; {} holds it",
                task.id,
                printable(&claim.owner)
            )));
        }
        (Status::Parked(_), _) => return Err(closed(task, "respond to")),
        (Status::Queued | Status::Scheduled { .. }, Some(_)) => {
            return Err(Error::refused(format!(
                "cannot respond to {}; this claim is over and the task is {} again",
                task.id,
                task.status.as_str()
            ))
            .with_hint("claim it anew, or answer a queued task without --claim-token"));
        }
        _ => None,
    };
    check_answer(task, answer)?;
    let changed = match (check_request(task, context), answer.status) {
        (Ok(()), _) => false,
        (Err(_), ResponseStatus::Failed) => true,
        (Err(refusal), ResponseStatus::Completed) => return Err(refusal),
    };
    task.journal.response = Some(Response {
        task_id: task.id.to_string(),
        reviewer: answer.reviewer.clone(),
        status: answer.status,
        body: answer.body.clone(),
        reviewed_request_sha256: answer.expect_sha256.clone().unwrap_or_else(|| task.request_sha256.clone()),
        request_changed_before_response: changed,
        follow_up_required: answer.follow_up_required,
        verdict: answer.verdict.map(|verdict| verdict.as_str().to_string()),
        blocking_count: answer.blocking_count,
        nonblocking_count: answer.nonblocking_count,
        metadata: answer.metadata.clone(),
        created_at: now.wall,
        extra: Object::new(),
    });
    let data = object([
        ("reviewer", answer.reviewer.clone().into()),
        ("status", answer.status.as_str().into()),
        ("verdict", answer.verdict.map(Verdict::as_str).into()),
    ]);
    let message = format!("{} by {}", answer.status.as_str(), answer.reviewer);
    task.record(now.wall, "response", message, data);
    task.journal.lease = None;
    task.status = match answer.status {
        ResponseStatus::Completed => Status::Completed { at: now.wall, claim },
        ResponseStatus::Failed => {
            Status::Failed { at: now.wall, claim, reason: clip(&answer.body), class: answer.class.clone() }
        }
    };
    Ok(Effect::Changed)
}

/// The head of a text that is too long to be kept twice.
fn clip(text: &str) -> String {
    const LIMIT: usize = 16 * 1024;
    if text.len() <= LIMIT {
        return text.to_string();
    }
    let end = (0..=LIMIT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}… (the response has all of it)", &text[..end])
}

/// A second answer: fine when it says the same as the first under the same token.
fn repeated(task: &Task, context: &Context<'_>, answer: &Answer) -> Result<Effect> {
    let same_token = task.status.claim().map(|claim| &claim.token) == answer.token.as_ref();
    let same_content = context.previous.is_some_and(|previous| {
        previous.status == answer.status
            && previous.body == answer.body
            && previous.reviewer == answer.reviewer
            && previous.verdict.as_deref() == answer.verdict.map(Verdict::as_str)
            && previous.blocking_count == answer.blocking_count
            && previous.nonblocking_count == answer.nonblocking_count
            && previous.follow_up_required == answer.follow_up_required
            && previous.metadata == answer.metadata
    });
    if same_token && same_content { Ok(Effect::Unchanged) } else { Err(closed(task, "respond to")) }
}

fn check_answer(task: &Task, answer: &Answer) -> Result<()> {
    if let Some(expected) = &answer.expect_sha256
        && *expected != task.request_sha256
    {
        return Err(Error::refused(format!(
            "the request of {} has sha256 {}, not {}",
            task.id,
            task.request_sha256,
            printable(expected)
        ))
        .with_hint("review the file that request_path names, then respond again"));
    }
    let blocks = answer.blocking_count.unwrap_or(0) > 0;
    if blocks && answer.verdict.is_some_and(|verdict| verdict != Verdict::NeedsRevision) {
        return Err(Error::invalid("blocking-count > 0 requires verdict needs-revision"));
    }
    Ok(())
}

fn note(
    task: &mut Task,
    context: &Context<'_>,
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
    if kind.is_empty() || kind.len() > 64 || kind.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Error::invalid("an event type is one word of at most 64 bytes"));
    }
    if let Some(token) = token {
        held(task, token, "add an event to")?;
    }
    task.record(context.now.wall, kind, message, data.clone());
    Ok(Effect::Changed)
}

fn cancel(task: &mut Task, context: &Context<'_>, reason: Option<&str>, by: &str) -> Result<Effect> {
    if matches!(task.status, Status::Failed { class: FailureClass::Cancelled, .. }) {
        return Ok(Effect::Unchanged);
    }
    if task.status.is_terminal() || matches!(task.status, Status::Parked(_)) {
        return Err(closed(task, "cancel"));
    }
    let words = match reason {
        Some(reason) => format!("cancelled by {by}: {reason}"),
        None => format!("cancelled by {by}"),
    };
    let data = object([("by", by.into()), ("reason", reason.map(str::to_string).into())]);
    task.record(context.now.wall, "cancelled", words.clone(), data);
    fail(task, context, words, FailureClass::Cancelled);
    Ok(Effect::Changed)
}

fn move_to(task: &mut Task, context: &Context<'_>, lane: &str) -> Result<Effect> {
    if task.lane == lane {
        return Ok(Effect::Unchanged);
    }
    match &task.status {
        Status::Queued | Status::Scheduled { .. } => {}
        Status::Claimed(claim) => {
            return Err(Error::refused(format!(
                "cannot move {}; {} holds it",
                task.id,
                printable(&claim.owner)
            ))
            .with_hint("release or cancel it first"));
        }
        Status::Completed { .. } | Status::Failed { .. } | Status::Parked(_) => {
            return Err(closed(task, "move"));
        }
    }
    let data = object([("from", task.lane.clone().into()), ("to", lane.into())]);
    let message = format!("moved from {} to {lane}", task.lane);
    task.record(context.now.wall, "moved", message, data);
    task.lane = lane.to_string();
    Ok(Effect::Changed)
}

fn request_changed(task: &mut Task, context: &Context<'_>) -> Effect {
    let message =
        "the request file is missing or not the submitted one; the task is passed over until it is restored";
    task.record(context.now.wall, "request_changed", message, Object::new());
    Effect::Changed
}

fn retried(task: &mut Task, context: &Context<'_>, new_id: &str, by: &str) -> Result<Effect> {
    check_retry(task)?;
    if task.retried_as.as_deref() == Some(new_id) {
        return Ok(Effect::Unchanged);
    }
    task.retried_as = Some(new_id.to_string());
    let data = object([("new_task_id", new_id.into()), ("by", by.into())]);
    task.record(context.now.wall, "retried", format!("retried by {by} as {new_id}"), data);
    Ok(Effect::Changed)
}

/// Whether a task may be retried: it has failed, for whatever reason.
pub fn check_retry(task: &Task) -> Result<()> {
    match &task.status {
        Status::Failed { .. } => Ok(()),
        status => Err(Error::refused(format!("cannot retry {}; task is {}", task.id, status.as_str()))
            .with_hint("only failed, cancelled and dead tasks can be retried")),
    }
}

fn settle(task: &mut Task, context: &Context<'_>) -> Effect {
    match (task.availability(context.now), &task.status) {
        (Availability::Spent, _) => {
            bury(task, context, None);
            Effect::Changed
        }
        (Availability::Ready, Status::Scheduled { .. }) => {
            task.record(context.now.wall, "due", "the delay is over", Object::new());
            task.status = Status::Queued;
            Effect::Changed
        }
        _ => Effect::Unchanged,
    }
}

/// Ends a task whose attempts are spent.
fn bury(task: &mut Task, context: &Context<'_>, last_words: Option<&str>) {
    let mut reason = spent_words(task);
    match (last_words, &task.status) {
        (Some(words), _) => reason.push_str(&format!("; last: {words}")),
        (None, Status::Claimed(claim)) => {
            reason.push_str(&format!("; last: the lease of {} ended", claim.owner))
        }
        (None, _) => {}
    }
    let data = object([("attempt", task.attempt.into()), ("max_attempts", task.max_attempts.into())]);
    task.record(context.now.wall, "dead", reason.clone(), data);
    fail(task, context, reason, FailureClass::Dead);
}

/// Ends a task on the queue's own account. It gets a response too, so that every wait ends.
fn fail(task: &mut Task, context: &Context<'_>, reason: String, class: FailureClass) {
    let now = context.now.wall;
    task.journal.response = Some(Response {
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
    task.journal.lease = None;
    let claim = task.status.claim().cloned();
    task.status = Status::Failed { at: now, claim, reason, class };
}

fn spent_words(task: &Task) -> String {
    format!("{} of {} attempts are spent", task.attempt, task.max_attempts.unwrap_or(0))
}

/// The current claim, if `token` proves it.
fn held<'a>(task: &'a Task, token: &ClaimToken, verb: &str) -> Result<&'a Claim> {
    match &task.status {
        Status::Claimed(claim) if claim.token == *token => Ok(claim),
        Status::Claimed(claim) => Err(Error::refused(format!(
            "cannot {verb} {}; the claim token is not the current one, {} holds the task since {}",
            task.id,
            printable(&claim.owner),
            claim.claimed_at
        ))
        .with_hint("stop working on it and report nothing")),
        Status::Completed { .. } | Status::Failed { .. } | Status::Parked(_) => Err(closed(task, verb)),
        Status::Queued | Status::Scheduled { .. } => {
            Err(Error::refused(format!("cannot {verb} {}; task is {}", task.id, task.status.as_str()))
                .with_hint("nobody holds it; claim it first"))
        }
    }
}

fn check_request(task: &Task, context: &Context<'_>) -> Result<()> {
    let (what, hint) = match context.request {
        RequestCheck::Same | RequestCheck::Unchecked => return Ok(()),
        RequestCheck::Missing => ("is missing".to_string(), "restore the file, or cancel the task"),
        RequestCheck::Changed(sha256) => (
            format!("has changed since submit: sha256 {} is now {sha256}", task.request_sha256),
            "restore the file, or cancel the task and submit it again",
        ),
    };
    Err(Error::new(
        ErrorKind::Refused,
        format!("the request of {} {what} ({})", task.id, printable(&task.request_path)),
    )
    .with_hint(hint))
}

/// The refusal of any command on a task that has ended.
fn closed(task: &Task, verb: &str) -> Error {
    let what = match &task.status {
        Status::Failed { class: FailureClass::Cancelled, reason, .. } => format!("it was {reason}"),
        Status::Failed { class: FailureClass::Dead, reason, .. } => format!("task is failed: {reason}"),
        status => format!("task is {}", status.as_str()),
    };
    Error::refused(format!("cannot {verb} {}; {}", task.id, printable(&what)))
}

fn set_lease_clock(task: &mut Task, now: &Now, seconds: f64) {
    task.journal.lease = Some(LeaseClock {
        expires_at: now.wall.plus_seconds(seconds),
        boot: now.boot.clone(),
        until: now.uptime.saturating_add((seconds * 1e6) as i64),
    });
}
