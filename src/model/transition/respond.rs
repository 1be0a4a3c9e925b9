//! Answers a task.

use serde_json::Value;

use super::{Answer, AnswerOutcome, Effect, TransitionContext, check_request, current_claim};
use crate::error::{Error, Result};
use crate::model::json::{Object, why_not_json};
use crate::model::limits;
use crate::model::refusal::Refusal;
use crate::model::response::{MAX_BODY, Response, Verdict};
use crate::model::task::{Status, Task, object};

/// The key of the metadata with the value of an answer that is JSON.
const PARSED_RESULT: &str = "parsed_result";

/// Answers a claimed task under its token, or a waiting one without a token. The same answer a second time
/// changes nothing.
///
/// # Errors
/// `Refused` when the token is missing or not that of the current claim, when there is another answer, or when
/// the request has changed and the answer reports success; `Invalid` for an answer that breaks a limit.
pub(super) fn respond(task: &mut Task, context: &TransitionContext<'_>, answer: &Answer) -> Result<Effect> {
    let now = context.now;
    if task.status.is_terminal() {
        return respond_again(task, context, answer);
    }
    let claim = match (&task.status, &answer.token) {
        (Status::Claimed(_), Some(token)) => Some(current_claim(task, token, "respond to")?.clone()),
        (Status::Claimed(claim), None) => {
            return Err(Refusal::TokenMissing { id: task.id.clone(), owner: claim.owner.clone() }.into());
        }
        (Status::Unknown(_), token) => return Err(Refusal::ended(task, "respond to", token.as_ref()).into()),
        (
            status @ (Status::Queued
            | Status::Scheduled { .. }
            | Status::Blocked { .. }
            | Status::InputRequired),
            Some(_),
        ) => {
            let (id, state) = (task.id.clone(), status.as_str().to_string());
            return Err(Refusal::ClaimEnded { id, state }.into());
        }
        _ => None,
    };
    check_answer(task, answer)?;
    let changed = match (check_request(task, context), &answer.outcome) {
        (Ok(()), _) => false,
        (Err(_), AnswerOutcome::Failed(_)) => true,
        (Err(refusal), AnswerOutcome::Completed) => return Err(refusal.into()),
    };
    let metadata = checked_metadata(task, answer)?;
    let status = answer.outcome.status();
    task.bookkeeping.response = Some(Response {
        task_id: task.id.to_string(),
        reviewer: answer.reviewer.clone(),
        status,
        body: answer.body.clone(),
        reviewed_request_sha256: task.request_sha256.clone(),
        request_changed_before_response: changed,
        follow_up_required: answer.follow_up_required,
        verdict: answer.verdict.map(|verdict| verdict.as_str().to_string()),
        blocking_count: answer.blocking_count,
        nonblocking_count: answer.nonblocking_count,
        metadata,
        created_at: now.wall,
        extra: Object::new(),
    });
    let data = object([
        ("reviewer", answer.reviewer.clone().into()),
        ("status", status.as_str().into()),
        ("verdict", answer.verdict.map(Verdict::as_str).into()),
    ]);
    let message = format!("{} by {}", status.as_str(), answer.reviewer);
    task.record(now.wall, "response", message, data);
    task.bookkeeping.lease = None;
    task.status = match &answer.outcome {
        AnswerOutcome::Completed => Status::Completed { at: now.wall, claim },
        AnswerOutcome::Failed(class) => {
            Status::Failed { at: now.wall, claim, reason: clip(&answer.body), class: class.clone() }
        }
    };
    Ok(Effect::Changed)
}

/// Returns the metadata of an answer. If its task has a schema, the value of a successful answer is valid against it, and is
/// in the metadata as `parsed_result`.
///
/// # Errors
/// `Refused` when the answer is not valid.
fn checked_metadata(task: &Task, answer: &Answer) -> Result<Object> {
    let mut metadata = answer.metadata.clone();
    if let (Some(schema), AnswerOutcome::Completed) = (&task.spec.schema, &answer.outcome) {
        // A dispatcher has taken the value out of the answer already.
        let parsed = match metadata.remove(PARSED_RESULT) {
            Some(value) => Ok(value),
            None => {
                let parsed = serde_json::from_str(answer.body.trim());
                parsed.map_err(|error| format!("it is not JSON: {}", why_not_json(&error)))
            }
        };
        let checked = parsed.and_then(|value: Value| schema.check(&value).map(|()| value));
        let value = checked.map_err(|problem| Refusal::AnswerInvalid { id: task.id.clone(), problem })?;
        metadata.insert(PARSED_RESULT.to_string(), value);
    }
    Ok(metadata)
}

/// Returns the start of a text that is too long to be stored twice.
pub(super) fn clip(text: &str) -> String {
    const MAX_CLIPPED_BYTES: usize = 16 * 1024;
    if text.len() <= MAX_CLIPPED_BYTES {
        return text.to_string();
    }
    let end = (0..=MAX_CLIPPED_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}… (the response has all of it)", &text[..end])
}

/// Handles a second answer: accepted if it equals the first and has the same token.
pub(super) fn respond_again(task: &Task, context: &TransitionContext<'_>, answer: &Answer) -> Result<Effect> {
    let metadata = checked_metadata(task, answer).unwrap_or_default();
    let same_token = task.status.claim().map(|claim| &claim.token) == answer.token.as_ref();
    let same_content = context.previous.is_some_and(|previous| {
        previous.status == answer.outcome.status()
            && previous.body == answer.body
            && previous.reviewer == answer.reviewer
            && previous.verdict.as_deref() == answer.verdict.map(Verdict::as_str)
            && previous.blocking_count == answer.blocking_count
            && previous.nonblocking_count == answer.nonblocking_count
            && previous.follow_up_required == answer.follow_up_required
            && previous.metadata == metadata
    });
    if same_token && same_content {
        return Ok(Effect::Unchanged);
    }
    Err(Refusal::ended(task, "respond to", answer.token.as_ref()).into())
}

/// Checks an answer against the limits, the request that its worker has read, and its own verdict.
///
/// # Errors
/// `Invalid` when it breaks a limit or contradicts itself; `Refused` when the worker has read another request.
pub(super) fn check_answer(task: &Task, answer: &Answer) -> Result<()> {
    limits::check_actor("the reviewer", &answer.reviewer)?;
    limits::check_keys("metadata", &answer.metadata)?;
    limits::check_at_most("the response", &answer.body, MAX_BODY)?;
    if let Some(expected) = &answer.expect_sha256
        && task.request_sha256 != expected.as_str()
    {
        return Err(Refusal::OtherRequestRead {
            id: task.id.clone(),
            submitted: task.request_sha256.clone(),
            read: expected.clone(),
        }
        .into());
    }
    let blocks = answer.blocking_count.unwrap_or(0) > 0;
    if blocks && answer.verdict.is_some_and(|verdict| verdict != Verdict::NeedsRevision) {
        return Err(Error::invalid("blocking-count > 0 requires verdict needs-revision"));
    }
    Ok(())
}
