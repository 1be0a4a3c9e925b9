//! Collects what has changed in the store between two rounds of the watcher.

use std::collections::{BTreeSet, HashMap};

use crate::error::Result;
use crate::model::{LaneName, TaskId};
use crate::store::{FeedCursor, FeedEntry, Store};

/// What has changed in the store since the last round of the watcher.
#[derive(Default)]
pub(super) struct StoreChanges {
    /// The changes, oldest first.
    pub entries: Vec<FeedEntry>,
    /// The sequence number of the newest change.
    pub latest: u64,
    /// How many changes each lane has had; at least 1 for lanes in which a task may have become claimable.
    pub lanes: HashMap<LaneName, usize>,
    /// The numbers of requests that have just begun to wait.
    pub added: BTreeSet<u64>,
    /// The groups whose next request is to be tried, because the client of the one that was woken has disconnected.
    pub passed_on: BTreeSet<String>,
    /// Whether it is time for the slow check, which also checks requests that no change concerns.
    pub is_slow_check: bool,
}

impl StoreChanges {
    /// Returns whether a stream of this task's events may have something to send.
    pub(super) fn may_affect(&self, number: u64, id: &TaskId) -> bool {
        self.is_slow_check
            || self.added.contains(&number)
            || self.entries.iter().any(|entry| entry.task_id == *id)
    }
}

/// Reads the feed from the position of the last read.
pub(super) struct ChangeReader {
    cursor: FeedCursor,
    /// The lanes that were paused at the last check.
    paused: BTreeSet<LaneName>,
}

impl ChangeReader {
    /// Makes a reader that begins at the end of the feed.
    ///
    /// # Errors
    /// Any error of the store.
    pub(super) fn new(store: &Store) -> Result<Self> {
        let cursor = FeedCursor::after(store.feed_end()?);
        Ok(Self { cursor, paused: store.paused()?.into_keys().collect() })
    }

    /// Returns the sequence number of the last change that was read.
    pub(super) fn latest(&self) -> u64 {
        self.cursor.seq()
    }

    /// Adds what has happened since the last call to `changes`.
    pub(super) fn read(&mut self, store: &Store, changes: &mut StoreChanges) {
        // What cannot be read now is read at the next signal or slow check.
        while let Ok(batch) = store.feed_after(&mut self.cursor, 1000)
            && !batch.is_empty()
        {
            changes.entries.extend(batch);
        }
        for entry in &changes.entries {
            *changes.lanes.entry(entry.lane.clone()).or_default() += 1;
        }
        // Resuming a lane notifies watchers, but leaves no entry in the feed.
        if let Ok(paused) = store.paused() {
            let paused: BTreeSet<LaneName> = paused.into_keys().collect();
            for lane in self.paused.difference(&paused) {
                changes.lanes.insert(lane.clone(), usize::MAX);
            }
            self.paused = paused;
        }
    }
}
