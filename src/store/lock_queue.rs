//! The queue in which threads of this process wait for each other before they wait for other processes.
//!
//! flock has no time limit, so that a thread that waits for it cannot be interrupted. Threads of one process
//! therefore wait here first, with a time limit, and only the thread with the permit for a file waits for the
//! kernel. The order among waiting threads is not defined.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::sync::atomic::{AtomicBool, Ordering};
use super::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The device and the inode of a file.
pub(super) type FileId = (u64, u64);

/// The files that a thread of this process locks or has locked.
#[derive(Debug)]
pub(super) struct LockQueue {
    taken: Mutex<BTreeSet<FileId>>,
    /// Signalled when a permit ends, and when waiting does.
    changed: Condvar,
    is_closed: AtomicBool,
}

/// The right of one thread to lock a file; ends when dropped.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    queue: &'a LockQueue,
    file: FileId,
}

impl LockQueue {
    pub(super) const fn new() -> Self {
        Self {
            taken: Mutex::new(BTreeSet::new()),
            changed: Condvar::new(),
            is_closed: AtomicBool::new(false),
        }
    }

    /// Waits until no other thread has the permit for this file, and returns it; `None` at `deadline`, or when the
    /// queue is closed.
    pub(super) fn enter(&self, file: FileId, deadline: Instant) -> Option<Permit<'_>> {
        let mut taken = self.taken();
        loop {
            if taken.insert(file) {
                return Some(Permit { queue: self, file });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO || self.is_closed() {
                return None;
            }
            taken = self.changed.wait_timeout(taken, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends every present and future wait. A permit that no thread has is still granted.
    pub(super) fn close(&self) {
        // Under the lock, so that no thread begins to wait between the store and the call.
        let _taken = self.taken();
        self.is_closed.store(true, Ordering::SeqCst);
        self.changed.notify_all();
    }

    /// Returns whether [`LockQueue::close`] was called.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    fn taken(&self) -> MutexGuard<'_, BTreeSet<FileId>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.queue.taken().remove(&self.file);
        self.queue.changed.notify_all();
    }
}
