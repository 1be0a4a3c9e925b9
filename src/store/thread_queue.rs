//! Turns among the threads of this process, in front of the locks between processes.
//!
//! flock has no time limit, so that waiting for it takes a thread that cannot be called back. Threads
//! of one process therefore queue up here first, where waiting costs nothing, and only the one whose
//! turn it is asks the kernel.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::Stat;

/// The files whose turn somebody has, by device and inode.
static TAKEN: Mutex<Option<HashSet<(u64, u64)>>> = Mutex::new(None);

/// A turn has ended.
static ENDED: Condvar = Condvar::new();

/// Whether nobody waits any more.
static GIVEN_UP: AtomicBool = AtomicBool::new(false);

/// Ends every wait for a lock in this process, now and from now on; a lock that is free can still be
/// had. For a process that is about to end: whoever waits for a lock has changed nothing yet.
pub fn give_up_waiting() {
    // Under the lock, so that nobody begins to wait between the word and the call.
    let _taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    GIVEN_UP.store(true, Ordering::SeqCst);
    ENDED.notify_all();
}

/// Whether [`give_up_waiting`] was called.
pub(super) fn has_given_up() -> bool {
    GIVEN_UP.load(Ordering::SeqCst)
}

/// One thread's turn with one file; ends when dropped.
#[derive(Debug)]
pub(super) struct Turn((u64, u64));

impl Turn {
    /// Waits until no other thread has the turn with this file, at most until `deadline`; `None`: that
    /// took too long.
    pub(super) fn take(stat: &Stat, deadline: Instant) -> Option<Self> {
        let file = (stat.st_dev, stat.st_ino);
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if taken.get_or_insert_default().insert(file) {
                return Some(Self(file));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO || has_given_up() {
                return None;
            }
            taken = ENDED.wait_timeout(taken, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(taken) = TAKEN.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            taken.remove(&self.0);
        }
        ENDED.notify_all();
    }
}
