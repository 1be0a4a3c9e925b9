//! In which states tasks are shown: the rule is [`Task::shown_status`], and which keys are held is found out here.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::FileStore;
use crate::model::{ExclusiveKey, Status, Task, TaskText, Time};

/// The states in which one view shows tasks. It looks up once for each set of exclusive keys whether one of them is held, so
/// that a view of many tasks with the same keys costs little more than one without.
pub(crate) struct ShownStates<'a> {
    store: &'a FileStore,
    now: Time,
    are_held: Mutex<HashMap<Vec<ExclusiveKey>, bool>>,
}

impl FileStore {
    pub(crate) fn shown_states(&self) -> ShownStates<'_> {
        ShownStates { store: self, now: self.now().wall, are_held: Mutex::default() }
    }

    pub(crate) fn shown(&self, task: Task) -> Task {
        self.shown_states().shown(task)
    }
}

impl ShownStates<'_> {
    /// Returns the state in which a task is shown.
    pub(crate) fn status(&self, task: &Task) -> Status {
        task.shown_status(self.now, || self.a_key_is_held(task))
    }

    /// Returns the state in which a task is shown that was read only in part.
    pub(crate) fn status_of(&self, task: &TaskText<'_>) -> Status {
        if may_differ(task) { self.status(&task.to_task()) } else { task.status() }
    }

    /// Returns the name of the state in which a task is shown that was read only in part.
    pub(crate) fn state_of<'t>(&self, task: &TaskText<'t>) -> Cow<'t, str> {
        if may_differ(task) { self.status(&task.to_task()).as_str().to_string().into() } else { task.state() }
    }

    /// Returns a task with the state in which it is shown.
    pub(crate) fn shown(&self, mut task: Task) -> Task {
        task.status = self.status(&task);
        task
    }

    fn a_key_is_held(&self, task: &Task) -> bool {
        let known = |held: &HashMap<Vec<ExclusiveKey>, bool>| held.get(&task.spec.exclusive).copied();
        let held = || self.are_held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(is_held) = known(&held()) {
            return is_held;
        }
        // Not under the lock, so that threads which read other tasks go on. A key of which nothing can be learned is
        // not offered to anybody.
        let is_held = self.store.held_key(task).map_or(true, |key| key.is_some());
        held().insert(task.spec.exclusive.clone(), is_held);
        is_held
    }
}

/// Returns whether a task may be shown in another state than the one that it has in its file.
fn may_differ(task: &TaskText<'_>) -> bool {
    matches!(&*task.state(), "queued" | "blocked") && task.spec.has_keys()
}
