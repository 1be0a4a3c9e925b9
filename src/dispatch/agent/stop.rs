//! Asking a supervised run to end, from any thread.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use rustix::event::{EventfdFlags, eventfd};

use crate::dispatch::run::outcome::StopReason;
use crate::{Error, Result};

/// Ends one run. Copies belong to the same run; the first reason given is the one that counts, and
/// one given before the start keeps the agent from starting at all.
#[derive(Clone, Debug)]
pub struct StopHandle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    reason: OnceLock<StopReason>,
    /// Readable once a reason is there, so that the supervisor wakes up.
    wake: OwnedFd,
}

impl StopHandle {
    /// A handle for a run that has not been started.
    pub fn new() -> Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| Error::io("create", "an event descriptor", error))?;
        Ok(Self(Arc::new(Inner { reason: OnceLock::new(), wake })))
    }

    /// Asks the run to end; returns whether this reason was the first.
    pub fn stop(&self, reason: StopReason) -> bool {
        let is_first = self.0.reason.set(reason).is_ok();
        // Cannot fail short of 2^64 calls; the supervisor looks at the reason at every turn as well.
        let _ = rustix::io::write(&self.0.wake, &1u64.to_ne_bytes());
        is_first
    }

    /// The reason given, if there is one.
    pub fn reason(&self) -> Option<StopReason> {
        self.0.reason.get().copied()
    }

    /// Readable from the moment a reason is given.
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.0.wake.as_fd()
    }
}
