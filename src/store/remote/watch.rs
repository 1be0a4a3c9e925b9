//! Sleeps until something changes in a remote store: the server is asked to wait, two seconds at a time.

use std::thread::sleep;
use std::time::Duration;

use super::RemoteStore;
use super::client::StoreClient;
use crate::model::{LaneName, TaskId};
use crate::store::Watch;

/// How long the server is asked to wait: what leaves no entry in the feed, such as the end of a pause, is seen then.
const LONGEST: Duration = Duration::from_secs(2);

/// The delay after a failure. The check that follows says what is wrong, if it is still wrong.
const DELAY: Duration = Duration::from_millis(500);

/// A watch on a server.
#[derive(Debug)]
struct RemoteWatch {
    client: StoreClient,
    ids: Vec<String>,
    lanes: Vec<String>,
    is_working: bool,
    /// The number of the last change that is known; `None` until the server has told one.
    since: Option<u64>,
}

impl RemoteWatch {
    /// Sleeps until something may have changed, at the latest for `left`. Returns whether to check again.
    fn wait(&mut self, left: Duration) -> bool {
        let Some(since) = self.since else {
            self.since = end(&self.client);
            if self.since.is_none() {
                sleep(left.min(DELAY));
            }
            return true;
        };
        let longest = left.min(LONGEST);
        let (since, seconds) = (since.to_string(), format!("{:.3}", longest.as_secs_f64()));
        let mut query = vec![("since", since.as_str()), ("wait_seconds", seconds.as_str())];
        query.extend(self.ids.iter().map(|id| ("id", id.as_str())));
        query.extend(self.lanes.iter().map(|lane| ("lane", lane.as_str())));
        if self.is_working {
            query.push(("is_working", "true"));
        }
        match self.client.wait(&query, longest) {
            Ok(end) => self.since = end.as_u64(),
            Err(_) => {
                self.since = None;
                sleep(left.min(DELAY));
            }
        }
        true
    }
}

/// Returns the number of the newest change.
fn end(client: &StoreClient) -> Option<u64> {
    client.read_once("feed-end", &[]).ok()?.as_u64()
}

/// More tasks than these do not fit into a request; then any change ends the sleep.
const MAX_IDS: usize = 100;

impl RemoteStore {
    fn watch(&self, ids: Vec<String>, lanes: Vec<String>) -> Watch {
        let client = self.client.clone();
        let ids = if ids.len() > MAX_IDS { Vec::new() } else { ids };
        let since = end(&client);
        let mut watch = RemoteWatch { client, ids, lanes, is_working: self.is_working(), since };
        Watch::remote(Box::new(move |left| watch.wait(left)))
    }

    pub(crate) fn can_watch(&self) -> bool {
        true
    }

    pub(crate) fn watch_tasks(&self, ids: &[TaskId]) -> Watch {
        self.watch(ids.iter().map(TaskId::to_string).collect(), Vec::new())
    }

    pub(crate) fn watch_tasks_until_exit(&self, ids: &[TaskId]) -> Watch {
        self.watch_tasks(ids)
    }

    pub(crate) fn watch_lanes(&self, lanes: &[LaneName]) -> Watch {
        self.watch(Vec::new(), lanes.iter().map(LaneName::to_string).collect())
    }

    pub(crate) fn watch_lanes_until_exit(&self, lanes: &[LaneName]) -> Watch {
        self.watch_lanes(lanes)
    }

    pub(crate) fn watch_feed(&self) -> Watch {
        self.watch(Vec::new(), Vec::new())
    }

    /// The waiters are processes of other machines, which the server wakes.
    pub(crate) fn wake_waiters(&self, _lanes: &[LaneName]) {}
}
