//! What wakes the loop of a dispatcher: tasks, runs that are over, and people.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::report::deliver::Over;
use crate::store::Store;

/// How soon the listening thread notices that its dispatcher ends.
const ATTENTION: Duration = Duration::from_secs(1);

/// What wakes the loop.
pub(super) enum Wake {
    /// Something in a lane may have become claimable.
    Lanes,
    /// A run is over.
    Over(Over),
    /// Somebody wants the dispatcher to end.
    End,
}

/// Ends a dispatcher from another thread. The first call lets agents finish, the second stops them.
#[derive(Clone, Debug)]
pub struct Control(pub(super) Sender<Wake>);

impl Control {
    /// Asks once.
    pub fn end(&self) {
        // Nobody listens any more: it has ended already.
        let _ = self.0.send(Wake::End);
    }
}

/// The lanes whose changes wake the loop.
pub(super) struct Listened(Mutex<Vec<String>>);

impl Listened {
    pub(super) fn new(lanes: Vec<String>) -> Self {
        Self(Mutex::new(lanes))
    }

    pub(super) fn lanes(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Other lanes from now on.
    pub(super) fn change(&self, store: &Store, lanes: Vec<String>) {
        let before = std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), lanes);
        store.nudge(&before);
    }

    /// Wakes the loop when a lane changes.
    pub(super) fn listen(&self, store: &Store, sender: Sender<Wake>, ended: &AtomicBool) {
        let mut lanes = self.lanes();
        let mut watch = store.watch_lanes(&lanes);
        while !ended.load(Ordering::SeqCst) {
            let has_changed = watch.wait(Instant::now() + ATTENTION);
            let present = self.lanes();
            if present != lanes {
                lanes = present;
                watch = store.watch_lanes(&lanes);
            }
            if has_changed && sender.send(Wake::Lanes).is_err() {
                return;
            }
        }
    }
}
