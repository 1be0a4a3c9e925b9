//! Counts the tasks in each lane and state, finds those that need a person, and caches both.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::model::{LaneName, TaskText};
use crate::store::Store;
use crate::workspace::{TaskConcern, TaskConcerns};

/// Tasks by lane.
pub(crate) type Counts = BTreeMap<LaneName, LaneCounts>;

/// The tasks of a lane, counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct LaneCounts {
    /// By the state in which they are shown.
    pub states: BTreeMap<String, u64>,
    /// How many of the failed ones were cancelled.
    pub cancelled: u64,
}

/// A count that took longer than this is reused for a while even if the store has changed.
const SLOW_COUNT: Duration = Duration::from_millis(50);
/// How long counts are reused if the feed has no change since: other implementations leave no entry in it.
const MAX_AGE: Duration = Duration::from_secs(2);

#[derive(Clone)]
struct CachedCounts {
    counts: Arc<Counts>,
    concerns: Arc<TaskConcerns>,
    feed: u64,
    at: Instant,
    took: Duration,
}

/// The last count, so that frequent requests cost little.
#[derive(Default)]
pub(crate) struct CountCache(Mutex<Option<CachedCounts>>);

impl CountCache {
    /// Returns the counts, which may be slightly out of date.
    ///
    /// # Errors
    /// Any error of the store.
    pub(crate) fn read(&self, store: &Store) -> Result<Arc<Counts>> {
        Ok(self.count(store)?.counts)
    }

    /// Returns what the tasks need a person for, which may be slightly out of date, and the number of the last event that
    /// it takes into account: later counts take no fewer events into account.
    ///
    /// # Errors
    /// Any error of the store.
    pub(crate) fn concerns(&self, store: &Store) -> Result<(Arc<TaskConcerns>, u64)> {
        let counted = self.count(store)?;
        Ok((counted.concerns, counted.feed))
    }

    fn count(&self, store: &Store) -> Result<CachedCounts> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let feed = store.feed_end()?;
        if let Some(taken) = &*last {
            let age = taken.at.elapsed();
            let is_same = taken.feed == feed && age < MAX_AGE;
            // At most a tenth of the time is spent counting.
            if is_same || (taken.took > SLOW_COUNT && age < taken.took * 10) {
                return Ok(taken.clone());
            }
        }
        let (at, now) = (Instant::now(), store.now());
        let (mut counts, mut concerns) = (Counts::new(), TaskConcerns::default());
        let shown = store.shown_states();
        let extract = |task: &TaskText<'_>| {
            let status = shown.status_of(task);
            let concern = TaskConcern::of(task, &status, &now);
            (task.spec.lane_name(), status.as_str().to_string(), task.is_cancelled(), concern)
        };
        store.scan_names(&store.task_names()?, extract, &mut |_, seen| {
            if let Ok((lane, state, is_cancelled, concern)) = seen {
                let lane = counts.entry(lane).or_default();
                *lane.states.entry(state).or_default() += 1;
                lane.cancelled += u64::from(is_cancelled);
                concern.into_iter().for_each(|concern| concerns.add(concern));
            }
            ControlFlow::Continue(())
        });
        let (counts, concerns) = (Arc::new(counts), Arc::new(concerns));
        Ok(last.insert(CachedCounts { counts, concerns, feed, at, took: at.elapsed() }).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NewTask;
    use crate::store::StoreOptions;

    #[test]
    fn counts_tell_the_last_event_that_they_take_into_account() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
        let submit = || store.submit(NewTask::prompt(LaneName::new("l").unwrap(), "x")).unwrap();
        submit();
        let cache = CountCache::default();
        assert_eq!(cache.concerns(&store).unwrap().1, 1);
        // A count that took long is reused although the store has changed.
        cache.0.lock().unwrap().as_mut().unwrap().took = Duration::from_secs(3600);
        submit();
        assert_eq!(cache.concerns(&store).unwrap().1, 1);
        assert_eq!(
            cache.read(&store).unwrap().values().flat_map(|lane| lane.states.values()).sum::<u64>(),
            1
        );
        cache.0.lock().unwrap().as_mut().unwrap().took = Duration::ZERO;
        assert_eq!(cache.concerns(&store).unwrap().1, 2);
        assert_eq!(
            cache.read(&store).unwrap().values().flat_map(|lane| lane.states.values()).sum::<u64>(),
            2
        );
    }
}
