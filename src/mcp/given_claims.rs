//! The claims that calls have returned, in case a client cancels such a call while the answer is on its way: the
//! client does not read the answer, so nobody would work on the task until the lease ends.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use rmcp::model::RequestId;

use super::open_queue::OpenQueue;
use crate::model::{ClaimToken, Command, Task, TaskId};

/// The number of claims that are kept: an answer is on its way only briefly.
const KEPT: usize = 64;

/// A claim that a call has returned.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct GivenClaim {
    task_id: TaskId,
    token: ClaimToken,
}

impl GivenClaim {
    /// Returns the claim of a task that has just been claimed.
    pub(super) fn of(task: &Task) -> Option<Self> {
        let token = task.status.claim()?.token.clone();
        Some(Self { task_id: task.id.clone(), token })
    }

    /// Gives the task back, unless somebody else has claimed it since.
    pub(super) fn release(&self, queue: &OpenQueue, reason: &str) {
        let release = Command::Release {
            token: self.token.clone(),
            reason: Some(reason.to_string()),
            delay: None,
            spent: None,
        };
        // If even this fails, the lease ends by itself.
        let _ = queue.store.apply(&self.task_id, &release);
    }
}

/// The newest claims of a connection, by the calls that returned them.
#[derive(Debug, Default)]
pub(super) struct GivenClaims(Mutex<VecDeque<(RequestId, GivenClaim)>>);

impl GivenClaims {
    /// Keeps the claim that a call returns.
    pub(super) fn keep(&self, call: RequestId, claim: GivenClaim) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((call, claim));
    }

    /// Removes and returns the claim that a call has returned.
    pub(super) fn take(&self, call: &RequestId) -> Option<GivenClaim> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(id, _)| id == call)?;
        kept.remove(at).map(|(_, claim)| claim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_claims_are_kept_until_they_are_taken() {
        let claims = GivenClaims::default();
        let claim = |token: i64| GivenClaim {
            task_id: TaskId::parse("20261121T070000000000Z-a-d64cf2").unwrap(),
            token: ClaimToken::from_text(token.to_string()),
        };
        let last = i64::try_from(KEPT).unwrap();
        for number in 0..=last {
            claims.keep(RequestId::Number(number), claim(number));
        }
        assert_eq!(claims.take(&RequestId::Number(0)), None, "the oldest one had to go");
        assert_eq!(claims.take(&RequestId::Number(last)), Some(claim(last)));
        assert_eq!(claims.take(&RequestId::Number(last)), None);
    }
}
