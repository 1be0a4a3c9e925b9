//! The state of a claim, determined from its token.

use super::id::ClaimToken;
use super::task::{FailureClass, Status, Task};

/// The state of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimState {
    /// The task is still claimed under this token.
    Held,
    /// The task ended under this token: it was answered, or its attempts were spent.
    Ended,
    /// The task was cancelled.
    Cancelled,
    /// The task is claimed under another token, or not claimed at all.
    Lost,
}

impl Task {
    /// Returns the state of the claim that was made under `token`.
    pub fn claim_state(&self, token: &ClaimToken) -> ClaimState {
        let is_ours = self.status.claim().is_some_and(|claim| claim.token == *token);
        match &self.status {
            Status::Failed { class: FailureClass::Cancelled, .. } => ClaimState::Cancelled,
            Status::Claimed(_) if is_ours => ClaimState::Held,
            Status::Completed { .. } | Status::Failed { .. } if is_ours => ClaimState::Ended,
            _ => ClaimState::Lost,
        }
    }
}
