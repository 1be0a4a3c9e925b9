//! What is recorded of the worktrees of attempts, in the directories of these.

use super::context::files;
use crate::dispatch::worktree::changes::{MAX_PATCH_BYTES, WorktreeChanges};
use crate::error::Result;
use crate::model::TaskId;
use crate::model::json::{self, Object};
use crate::store::{AttemptDir, Store};

/// Writes what an attempt has changed into its directory.
///
/// # Errors
/// When it cannot be written.
pub(super) fn record(attempt: &AttemptDir, place: &Object, changes: &WorktreeChanges) -> Result<()> {
    attempt.write(files::WORKTREE, json::to_text(place).as_bytes())?;
    match changes.patch.len() <= MAX_PATCH_BYTES {
        true => attempt.write(files::PATCH, &changes.patch),
        false => attempt.write(files::STAT, &changes.stat),
    }
}

/// Returns the worktree that an attempt had, and whether its changes were recorded.
pub(crate) fn recorded_worktree(attempt: &AttemptDir) -> Option<Object> {
    let bytes = attempt.read(files::WORKTREE, 1024 * 1024).ok().flatten()?;
    json::parse_object(&bytes).ok()
}

/// Returns the last run of a task that had a worktree, and what is recorded of it.
///
/// # Errors
/// When the store cannot be read.
pub(crate) fn last_worktree(store: &Store, id: &TaskId) -> Result<Option<(AttemptDir, Object)>> {
    for fence in store.spool().attempt_numbers(id)?.into_iter().rev() {
        let Some(attempt) = store.spool().existing_attempt(id, fence)? else { continue };
        if let Some(place) = recorded_worktree(&attempt) {
            return Ok(Some((attempt, place)));
        }
    }
    Ok(None)
}
