//! Removes a task from the index.

use super::seal::{is_sealed, seal};
use super::{CORRELATIONS, Index, IndexState};
use crate::error::Result;
use crate::model::Task;
use crate::store::atomic;
use crate::store::correlation_file::{correlation_content, correlation_name};
use crate::store::layout::idempotency_key;
use crate::store::lock::StoreLock;

impl Index<'_> {
    /// Records that an ended task, which is in no sorted set, was removed.
    pub(in crate::store) fn removed(
        &self,
        _lock: &StoreLock,
        state: &IndexState,
        task: &Task,
        successor: Option<&Task>,
    ) -> Result<()> {
        let stamp = self.stamp_tasks()?;
        self.write_state(&IndexState { stamp, known: state.known.saturating_sub(1), ..state.clone() })?;
        self.forget(task, successor)
    }

    /// Removes the key of a removed task, and makes its correlation lead to `successor`, if there is one.
    pub(in crate::store) fn forget(&self, task: &Task, successor: Option<&Task>) -> Result<()> {
        if let Some(key) = &task.spec.key
            && self.known_holder(&task.spec.workspace_id, key)?.as_ref() == Some(&task.id)
            && let Some(keys) = self.keys()?
        {
            let was_whole = is_sealed(keys.dir())?;
            keys.forget(&idempotency_key(&task.spec.workspace_id, key))?;
            if was_whole {
                seal(keys.dir())?;
            }
        }
        if self.correlation_target(task)?.as_ref() == Some(&task.id)
            && let Some(correlations) = self.dir().open_existing(CORRELATIONS)?
        {
            let name = correlation_name(&task.spec.workspace_id, &task.spec.correlation_id);
            let replaced = successor.is_some_and(|task| {
                let content = correlation_content(task);
                atomic::replace_derived(&correlations, &name, content.as_bytes()).is_ok()
            });
            // A full disk has no space for the new one, and none is better than one that names a removed task.
            if !replaced {
                atomic::remove(&correlations, &name)?;
            }
        }
        Ok(())
    }
}
