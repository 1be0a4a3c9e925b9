//! Wakes waiting calls when something in the store may have changed.
//!
//! One thread sleeps on the store's feed for all of them, so that a call that waits holds no thread. Changes
//! without a notification, and those by the clock, are noticed when the sleep ends, after at most two seconds.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::error::{Error, Result};
use crate::store::Store;

/// The longest sleep.
const LONGEST_SLEEP: Duration = Duration::from_secs(2);
/// The minimum time between two wake-ups, so that a busy store leaves the calls time for their work.
const REST: Duration = Duration::from_millis(5);

/// Counts the changes of a store.
#[derive(Debug)]
pub(super) struct ChangeCounter(watch::Receiver<u64>);

impl ChangeCounter {
    /// Starts the thread. What changes after this call is counted.
    ///
    /// # Errors
    /// `Io` when the thread cannot be started.
    pub(super) fn start(store: &Store) -> Result<Self> {
        let mut watch = store.watch_feed();
        let (counter, receiver) = watch::channel(0);
        let run = move || {
            while !counter.is_closed() {
                watch.wait(Instant::now() + LONGEST_SLEEP);
                counter.send_modify(|changes: &mut u64| *changes += 1);
                std::thread::sleep(REST);
            }
        };
        let started = std::thread::Builder::new().name("changes".to_string()).spawn(run);
        started.map_err(|error| Error::io("start", "a thread", error))?;
        Ok(Self(receiver))
    }

    /// Returns a receiver that is woken by every change.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.clone()
    }
}
