//! Tells the threads of this process to stop, and wakes those that sleep.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::board::{BoardError, BoardErrorCode};

/// Whether this process should stop.
#[derive(Debug, Default)]
pub(crate) struct StopFlag {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl StopFlag {
    /// Asks all to stop.
    pub(crate) fn set(&self) {
        *self.is_set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Returns whether they should.
    pub(crate) fn is_set(&self) -> bool {
        *self.is_set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the failure of a request that is not made any more because it is set.
    pub(crate) fn refusal() -> BoardError {
        BoardError::new(BoardErrorCode::Unavailable, "the bridge is being stopped")
    }

    /// Sleeps for `length`, or until it is set. Returns whether it is.
    pub(crate) fn sleep(&self, length: Duration) -> bool {
        let until = Instant::now() + length;
        let mut is_set = self.is_set.lock().unwrap_or_else(PoisonError::into_inner);
        while !*is_set {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.changed.wait_timeout(is_set, left).unwrap_or_else(PoisonError::into_inner);
            is_set = waited.0;
        }
        *is_set
    }
}
