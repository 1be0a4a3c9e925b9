//! The tasks that a call waits for. Only those that have changed are read again.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::model::{Task, TaskId};
use crate::store::{FeedCursor, Store};

/// The interval at which all open tasks are read again, for changes by the clock and by other implementations,
/// which leave no entry in the feed.
const FULL_READ_INTERVAL: Duration = Duration::from_secs(2);
/// How many entries of the feed are read at once.
const CHUNK: usize = 1000;

/// Tasks as they were when they were last read.
pub(super) struct WatchedTasks {
    tasks: Vec<Task>,
    cursor: FeedCursor,
    next_full_read: Instant,
}

impl WatchedTasks {
    /// Reads the tasks.
    ///
    /// # Errors
    /// As [`Store::read_settled`].
    pub(super) fn read(store: &Store, ids: &[TaskId]) -> Result<Self> {
        // Later changes are in the feed, even if the read below already includes them.
        let cursor = FeedCursor::after(store.feed_end()?);
        let tasks = ids.iter().map(|id| store.read_settled(id)).collect::<Result<_>>()?;
        Ok(Self { tasks, cursor, next_full_read: Instant::now() + FULL_READ_INTERVAL })
    }

    /// Reads those tasks again that have changed, by the feed; from time to time, all that are open.
    ///
    /// # Errors
    /// As [`Store::read_settled`] and [`Store::feed_after`].
    pub(super) fn update(&mut self, store: &Store) -> Result<()> {
        let mut changed = HashSet::new();
        loop {
            let before = self.cursor.seq();
            let entries = store.feed_after(&mut self.cursor, CHUNK)?;
            changed.extend(entries.into_iter().map(|entry| entry.task_id));
            if self.cursor.seq() == before {
                break;
            }
        }
        let now = Instant::now();
        let reads_all = now >= self.next_full_read;
        if reads_all {
            self.next_full_read = now + FULL_READ_INTERVAL;
        }
        for task in &mut self.tasks {
            if changed.contains(&task.id) || (reads_all && !task.status.is_terminal()) {
                *task = store.read_settled(&task.id)?;
            }
        }
        Ok(())
    }

    /// Returns the tasks, in the order in which they were named.
    pub(super) fn tasks(&self) -> &[Task] {
        &self.tasks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Answer, Command, LaneName, NewTask};
    use crate::store::StoreOptions;

    #[test]
    fn a_task_is_read_again_when_it_has_changed_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state"), StoreOptions::default()).unwrap();
        let submit = || store.submit(NewTask::prompt(LaneName::new("a").unwrap(), "x")).unwrap().task.id;
        let ids = [submit(), submit(), submit()];
        let mut watched = WatchedTasks::read(&store, &ids).unwrap();
        let ended = |watched: &WatchedTasks| -> Vec<bool> {
            watched.tasks().iter().map(|task| task.status.is_terminal()).collect()
        };
        store.apply(&ids[1], &Command::Respond(Answer::completed("w", "done"))).unwrap();
        // Another one changes behind the feed's back: its file alone.
        let file = dir.path().join("state/tasks").join(ids[2].as_str()).join("task.json");
        std::fs::remove_file(file).unwrap();
        watched.next_full_read = Instant::now() + Duration::from_secs(3600);
        watched.update(&store).unwrap();
        assert_eq!(ended(&watched), [false, true, false]);
        watched.next_full_read = Instant::now();
        assert!(watched.update(&store).is_err(), "the full read finds what no feed has told");
        assert!(watched.next_full_read > Instant::now());
    }
}
