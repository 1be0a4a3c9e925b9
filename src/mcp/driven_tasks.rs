//! Which coordinated work this server goes on with.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::TaskId;

/// The tasks.
#[derive(Debug, Default)]
pub(super) struct DrivenTasks(Mutex<HashSet<TaskId>>);

impl DrivenTasks {
    /// Adds a task; returns `false` if it is there already.
    pub(super) fn begin(&self, id: &TaskId) -> bool {
        self.tasks().insert(id.clone())
    }

    /// Removes a task.
    pub(super) fn end(&self, id: &TaskId) {
        self.tasks().remove(id);
    }

    fn tasks(&self) -> MutexGuard<'_, HashSet<TaskId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
