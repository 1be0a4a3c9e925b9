//! What the tasks before a task have changed in their worktrees: a task that follows another one goes on from there.

use serde_json::Value;

use super::context::files;
use super::worktree_record::last_worktree;
use crate::dispatch::prompt::EarlierWork;
use crate::dispatch::task_metadata::{FOLLOW_UP_DEPTH, metadata_text};
use crate::dispatch::worktree::changes::MAX_PATCH_BYTES;
use crate::model::excerpt::head_and_tail;
use crate::model::json::Object;
use crate::model::{Task, TaskId};
use crate::store::{AttemptDir, Store};

/// Maximum size of a diff in a prompt, in bytes.
const MAX_DIFF_BYTES: usize = 16 * 1024;
/// How many tasks that followed one another are looked at.
const MAX_TASKS: usize = 100;

/// Returns what the last task of a thread has changed in a worktree before `task`; `None` if `task` follows none, or none of
/// them has changed anything.
pub(crate) fn earlier_work(store: &Store, task: &Task) -> Option<EarlierWork> {
    let mut follower = task.clone();
    // Tasks that name each other in a circle can be written by hand.
    for _ in 0..MAX_TASKS {
        follower.spec.metadata.get(FOLLOW_UP_DEPTH)?;
        let before = store.task(&TaskId::parse(metadata_text(&follower, "parent_task_id")?).ok()?).ok()?;
        if let Some((attempt, place)) = last_worktree(store, &before.id).ok().flatten()
            && let Some(work) = changes_in(&before.id, &attempt, &place)
        {
            return Some(work);
        }
        follower = before;
    }
    None
}

/// Returns what is recorded of the worktree of an attempt, if anything was changed there.
fn changes_in(id: &TaskId, attempt: &AttemptDir, place: &Object) -> Option<EarlierWork> {
    let text = |key: &str| place.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
    let count = |key: &str| place.get(key).and_then(Value::as_u64).unwrap_or(0);
    let (base, head) = (text("base_commit"), text("head_commit"));
    let uncommitted = place.get("uncommitted_files").and_then(Value::as_array).map_or(0, Vec::len);
    if !is_commit(&head) || !is_commit(&base) || (base == head && uncommitted == 0) {
        return None;
    }
    let read = |name| attempt.read(name, 2 * MAX_PATCH_BYTES as u64).ok().flatten();
    let diff = read(files::PATCH).or_else(|| read(files::STAT)).unwrap_or_default();
    Some(EarlierWork {
        task_id: id.to_string(),
        branch: text("branch"),
        base,
        head,
        directory: Some(text("path")).filter(|path| uncommitted > 0 && std::path::Path::new(path).is_dir()),
        files: count("files_changed"),
        insertions: count("insertions"),
        deletions: count("deletions"),
        uncommitted,
        diff: head_and_tail(&String::from_utf8_lossy(&diff), MAX_DIFF_BYTES),
    })
}

/// Returns whether a text is the full name of a commit.
fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
