//! In which states tasks are shown: the rules are [`Task::shown_status`] and, for what time alone has made of a task before
//! somebody has recorded it, [`Command::Settle`]. Which keys are held is found out here.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::FileStore;
use crate::model::task::Availability;
use crate::model::transition::TransitionContext;
use crate::model::{Command, ExclusiveKey, Now, RequestCheck, Status, Task, TaskText};

/// The states in which one view shows tasks. It looks up once for each set of exclusive keys whether one of them is held, so
/// that a view of many tasks with the same keys costs little more than one without.
pub(crate) struct ShownStates<'a> {
    /// Returns whether another task holds a key of a task. A key of which nothing can be learned is not offered to anybody.
    is_held: Box<dyn Fn(&Task) -> bool + Send + Sync + 'a>,
    now: Now,
    are_held: Mutex<HashMap<Vec<ExclusiveKey>, bool>>,
}

impl FileStore {
    pub(crate) fn shown_states(&self) -> ShownStates<'_> {
        ShownStates::new(self.now(), |task| self.held_key(task).map_or(true, |key| key.is_some()))
    }

    pub(crate) fn shown(&self, task: Task) -> Task {
        self.shown_states().shown(task)
    }
}

impl<'a> ShownStates<'a> {
    /// Makes a view at `now`; `is_held` returns whether a key of a task is held, or may be.
    pub(super) fn new(now: Now, is_held: impl Fn(&Task) -> bool + Send + Sync + 'a) -> Self {
        Self { is_held: Box::new(is_held), now, are_held: Mutex::default() }
    }

    /// Returns the state in which a task is shown.
    pub(crate) fn status(&self, task: &Task) -> Status {
        match self.after_its_time(task) {
            Some(over) => over.shown_status(self.now.wall, || self.a_key_is_held(&over)),
            None => task.shown_status(self.now.wall, || self.a_key_is_held(task)),
        }
    }

    /// Returns what has become of a task whose deadline, lease or question has run out, if that is not recorded yet.
    fn after_its_time(&self, task: &Task) -> Option<Task> {
        let ended_at = match (task.availability(&self.now), &task.status) {
            (Availability::Expired, _) => task.start_deadline(),
            (Availability::Spent | Availability::InputRequired, Status::Claimed(claim)) => {
                Some(claim.lease_expires_at)
            }
            (Availability::Spent, _) => Some(task.updated_at),
            (Availability::Ready | Availability::NotBefore(_), Status::InputRequired) => None,
            // While it has attempts left, its worker may still answer it.
            _ => return None,
        };
        let mut over = task.clone();
        let context = TransitionContext {
            now: &self.now,
            request: &RequestCheck::Unchecked,
            previous: None,
            new_request: None,
        };
        Command::Settle.apply(&mut over, &context).ok()?;
        if let (Status::Failed { at, .. }, Some(ended_at)) = (&mut over.status, ended_at) {
            *at = ended_at;
        }
        Some(over)
    }

    /// Returns the state in which a task is shown that was read only in part.
    pub(crate) fn status_of(&self, task: &TaskText<'_>) -> Status {
        if self.may_differ(task) { self.status(&task.to_task()) } else { task.status() }
    }

    /// Returns a task with the state in which it is shown.
    pub(crate) fn shown(&self, mut task: Task) -> Task {
        task.status = self.status(&task);
        task
    }

    /// Returns whether a worker can claim the task now: it is queued, or would be if somebody had recorded that its time has
    /// come, its lease is over or the default of its question applies.
    pub(crate) fn can_be_claimed(&self, task: &Task) -> bool {
        match &task.status {
            Status::Scheduled { .. } | Status::Claimed(_) | Status::InputRequired => {
                task.availability(&self.now) == Availability::Ready
                    && (!task.needs_keys() || !(self.is_held)(task))
            }
            _ => self.status(task) == Status::Queued,
        }
    }

    fn a_key_is_held(&self, task: &Task) -> bool {
        let known = |held: &HashMap<Vec<ExclusiveKey>, bool>| held.get(&task.spec.exclusive).copied();
        let held = || self.are_held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(is_held) = known(&held()) {
            return is_held;
        }
        // Not under the lock, so that threads which read other tasks go on.
        let is_held = (self.is_held)(task);
        held().insert(task.spec.exclusive.clone(), is_held);
        is_held
    }

    /// Returns whether a task may be shown in another state than the one that it has in its file.
    fn may_differ(&self, task: &TaskText<'_>) -> bool {
        match &*task.state() {
            "claimed" | "input_required" => true,
            state @ ("queued" | "scheduled" | "blocked") => {
                task.spec.deadline.is_some_and(|deadline| deadline <= self.now.wall)
                    || task.spec.max_attempts.is_some_and(|most| task.attempt >= most)
                    || (state != "scheduled" && task.spec.has_keys())
            }
            _ => false,
        }
    }
}
