//! What calls were answered with, in case an answer does not reach its client, because it hangs up while the answer is on
//! the way. Nobody would then work on a task that was claimed until the lease ends, and the answer of a task would count as
//! returned that nobody has read.
//!
//! A call that is cancelled after its answer keeps it: some clients, such as opencode, cancel every call at the end of a turn,
//! and work on what they have claimed.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::open_queue::OpenQueue;
use crate::model::{ClaimToken, Command, Task, TaskId};

/// Why a task is given back of whose claim nobody has learned.
pub(super) const CLIENT_GONE: &str = "the client was gone";

/// What a call was answered with.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum GivenResult {
    /// The claim of a task.
    Claim { task_id: TaskId, token: ClaimToken },
    /// The answers of tasks.
    Answers(Vec<TaskId>),
}

impl GivenResult {
    /// Returns the claim of a task that has just been claimed.
    pub(super) fn claim_of(task: &Task) -> Option<Self> {
        let token = task.status.claim()?.token.clone();
        Some(Self::Claim { task_id: task.id.clone(), token })
    }

    /// Makes it as if the call had not been answered; a claim is released for `reason`. One that has changed hands since
    /// is left alone.
    pub(super) fn take_back(&self, queue: &OpenQueue, reason: &str) {
        match self {
            Self::Claim { task_id, token } => {
                let release = Command::Release {
                    token: token.clone(),
                    reason: Some(reason.to_string()),
                    delay: None,
                    spent: None,
                };
                // If even this fails, the lease ends by itself.
                let _ = queue.store.apply(task_id, &release);
            }
            Self::Answers(ids) => ids.iter().for_each(|id| queue.single_flight.not_answered(id)),
        }
    }
}

/// What the calls of one HTTP request were answered with.
#[derive(Debug, Default)]
pub(super) struct GivenResults(Mutex<Vec<GivenResult>>);

impl GivenResults {
    fn kept(&self) -> MutexGuard<'_, Vec<GivenResult>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what a call is answered with.
    pub(super) fn keep(&self, result: GivenResult) {
        self.kept().push(result);
    }

    /// Returns what the calls were answered with, and forgets it.
    pub(super) fn take_all(&self) -> Vec<GivenResult> {
        std::mem::take(&mut *self.kept())
    }
}
