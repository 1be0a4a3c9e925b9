//! Keeps an agent from answering its own task where commands verify its work after the run.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::model::{Answer, AnswerOutcome, ClaimToken, Status, TaskId, json};
use crate::store::Store;

/// The file in the directory of an attempt in which a dispatcher records the run.
pub(crate) const RUN_FILE: &str = "run.json";
/// The key in it that is true if the answer counts only after commands have verified the work.
const IS_VERIFIED_LATER: &str = "is_verified_later";
/// Maximum size of that file, in bytes.
const MAX_RUN_FILE: u64 = 1024 * 1024;

/// Checks that an answer which a client gives does not get round the commands that verify the work of a run.
///
/// # Errors
/// `Refused` if the task would be completed by the claim of a run whose work is verified afterwards; an error of the
/// store if the task cannot be read.
pub(crate) fn check_is_not_verified_later(store: &Store, id: &TaskId, answer: &Answer) -> Result<()> {
    let (AnswerOutcome::Completed, Some(token)) = (&answer.outcome, &answer.token) else { return Ok(()) };
    if !is_verified_later(store, id, token)? {
        return Ok(());
    }
    Err(Error::refused(format!("cannot answer {id} during the run: commands verify the work after it"))
        .with_hint(
            "end with the answer and the line `STATUS: done`; a failure can be answered with --status failed",
        ))
}

/// Checks that a client does not give up the claim of a run whose work is verified afterwards: without the claim, its answer
/// would count without that.
///
/// # Errors
/// `Refused` if it does; an error of the store if the task cannot be read.
pub(crate) fn check_release_is_not_verified_later(
    store: &Store,
    id: &TaskId,
    token: &ClaimToken,
) -> Result<()> {
    if !is_verified_later(store, id, token)? {
        return Ok(());
    }
    Err(Error::refused(format!("cannot release {id} during the run: commands verify the work after it"))
        .with_hint("end with the line `STATUS: blocked` or `STATUS: needs_input`; a failure can be answered with --status failed"))
}

/// Returns whether a token is that of a run whose work is verified afterwards.
fn is_verified_later(store: &Store, id: &TaskId, token: &ClaimToken) -> Result<bool> {
    let task = store.task(id)?;
    match &task.status {
        Status::Claimed(claim) if claim.token == *token => {}
        // The store refuses it, or knows it already.
        _ => return Ok(false),
    }
    let attempt = store.blobs().attempt(id, task.fence)?;
    let record = attempt.and_then(|attempt| attempt.read(RUN_FILE, MAX_RUN_FILE).ok().flatten());
    let record = record.and_then(|bytes| json::parse_object(&bytes).ok());
    Ok(record.as_ref().and_then(|record| record.get(IS_VERIFIED_LATER)) == Some(&Value::Bool(true)))
}
