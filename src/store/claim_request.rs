//! How a task is claimed.

use std::time::Duration;

use crate::model::{ClaimToken, ExclusiveKey, Owner, Task};

/// How a task is claimed.
pub(crate) struct ClaimRequest<'a> {
    /// The name of the worker that claims it.
    pub owner: &'a Owner,
    /// The length of the lease.
    pub lease: Duration,
    /// The token to use; `None` for a random one.
    pub token: Option<ClaimToken>,
    /// A final check of the task; `false` skips it.
    pub accepts: &'a dyn Fn(&Task) -> bool,
    /// The exclusive keys that a task needs besides its own.
    pub keys: &'a dyn Fn(&Task) -> Vec<ExclusiveKey>,
}

impl<'a> ClaimRequest<'a> {
    /// Makes a request for any task, with a random token.
    pub(crate) fn of(owner: &'a Owner, lease: Duration) -> Self {
        Self { owner, lease, token: None, accepts: &|_| true, keys: &|_| Vec::new() }
    }
}
