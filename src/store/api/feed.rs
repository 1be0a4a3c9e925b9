//! The feed, and watches to sleep on.

use super::{Engine, Store};
use crate::error::Result;
use crate::model::{LaneName, TaskId};
use crate::store::{FeedCursor, FeedEntry, Watch};

impl Store {
    /// Returns the changes after number `since`, oldest first, at most `limit` of them.
    ///
    /// # Errors
    /// `Io`.
    pub fn feed_since(&self, since: u64, limit: usize) -> Result<Vec<FeedEntry>> {
        engine!(self, feed_since(since, limit))
    }

    /// Returns the changes after a cursor and advances it; cheap to call repeatedly.
    ///
    /// # Errors
    /// `Io`.
    pub fn feed_after(&self, cursor: &mut FeedCursor, limit: usize) -> Result<Vec<FeedEntry>> {
        engine!(self, feed_after(cursor, limit))
    }

    /// Returns the number of the oldest change in the feed; `None` when the feed is empty. It grows when
    /// [`Store::gc`] removes old entries: a reader of earlier ones has missed some.
    ///
    /// # Errors
    /// `Io`.
    pub fn feed_start(&self) -> Result<Option<u64>> {
        engine!(self, feed_start())
    }

    /// Returns the number of the newest change; 0 when the feed is empty.
    ///
    /// # Errors
    /// `Io`.
    pub fn feed_end(&self) -> Result<u64> {
        engine!(self, feed_end())
    }

    /// Returns whether waits are woken by notifications rather than checking repeatedly.
    pub fn can_watch(&self) -> bool {
        engine!(self, can_watch())
    }

    /// Returns a watch that wakes when one of these tasks changes.
    pub fn watch_tasks(&self, ids: &[TaskId]) -> Watch {
        engine!(self, watch_tasks(ids))
    }

    /// Returns the same watch for a process that ends after it and does not use SIGIO otherwise.
    pub fn watch_tasks_until_exit(&self, ids: &[TaskId]) -> Watch {
        engine!(self, watch_tasks_until_exit(ids))
    }

    /// Returns a watch that wakes when a task of these lanes may have become claimable.
    pub fn watch_lanes(&self, lanes: &[LaneName]) -> Watch {
        engine!(self, watch_lanes(lanes))
    }

    /// Returns the same watch for a process that ends after it and does not use SIGIO otherwise.
    pub fn watch_lanes_until_exit(&self, lanes: &[LaneName]) -> Watch {
        engine!(self, watch_lanes_until_exit(lanes))
    }

    /// Returns a watch that wakes when anything changes.
    pub fn watch_feed(&self) -> Watch {
        engine!(self, watch_feed())
    }

    /// Wakes the waiters of these lanes although no task has changed. A process that ends wakes its own
    /// threads this way.
    pub fn wake_waiters(&self, lanes: &[LaneName]) {
        engine!(self, wake_waiters(lanes))
    }
}
