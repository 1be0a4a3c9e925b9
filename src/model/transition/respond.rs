//! Answering a task.

use super::{Answer, Context, Effect, check_request, closed, held};
use crate::error::{Error, Result, printable};
use crate::model::json::Object;
use crate::model::limits;
use crate::model::response::{Response, ResponseStatus, Verdict};
use crate::model::task::{Status, Task, object};

pub(super) fn respond(task: &mut Task, context: &Context<'_>, answer: &Answer) -> Result<Effect> {
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
pub(super) fn clip(text: &str) -> String {
    const LIMIT: usize = 16 * 1024;
    if text.len() <= LIMIT {
        return text.to_string();
    }
    let end = (0..=LIMIT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}… (the response has all of it)", &text[..end])
}

/// A second answer: fine when it says the same as the first under the same token.
pub(super) fn repeated(task: &Task, context: &Context<'_>, answer: &Answer) -> Result<Effect> {
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

pub(super) fn check_answer(task: &Task, answer: &Answer) -> Result<()> {
    limits::word("the reviewer", &answer.reviewer)?;
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
