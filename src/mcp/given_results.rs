//! What calls were answered with, in case an answer does not reach its client: it takes the call back, or hangs up, while
//! the answer is on the way. Nobody would then work on a task that was claimed until the lease ends, and the answer of a
//! task would count as returned that nobody has read.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rmcp::model::RequestId;

use super::open_queue::OpenQueue;
use crate::model::{ClaimToken, Command, Task, TaskId};

/// How many results are kept. An answer is not on its way for long.
const KEPT: usize = 64;
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

/// The newest results of a connection, by the calls that were answered with them.
#[derive(Debug, Default)]
pub(super) struct GivenResults(Mutex<VecDeque<(RequestId, GivenResult)>>);

impl GivenResults {
    fn kept(&self) -> MutexGuard<'_, VecDeque<(RequestId, GivenResult)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what a call is answered with.
    pub(super) fn keep(&self, call: RequestId, result: GivenResult) {
        let mut kept = self.kept();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((call, result));
    }

    /// Returns what a call was answered with, and forgets it.
    pub(super) fn take(&self, call: &RequestId) -> Option<GivenResult> {
        let mut kept = self.kept();
        let at = kept.iter().position(|(id, _)| id == call)?;
        kept.remove(at).map(|(_, result)| result)
    }

    /// Returns what all calls were answered with, and forgets it.
    pub(super) fn take_all(&self) -> Vec<GivenResult> {
        self.kept().drain(..).map(|(_, result)| result).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_results_are_kept_until_they_are_taken() {
        let results = GivenResults::default();
        let claim = |token: i64| GivenResult::Claim {
            task_id: TaskId::parse("20261121T070000000000Z-a-d64cf2").unwrap(),
            token: ClaimToken::from_text(token.to_string()),
        };
        let last = i64::try_from(KEPT).unwrap();
        for number in 0..=last {
            results.keep(RequestId::Number(number), claim(number));
        }
        assert_eq!(results.take(&RequestId::Number(0)), None, "the oldest one had to go");
        assert_eq!(results.take(&RequestId::Number(last)), Some(claim(last)));
        assert_eq!(results.take(&RequestId::Number(last)), None);
        assert_eq!(results.take_all().len(), KEPT - 1);
        assert_eq!(results.take_all(), []);
    }
}
