//! Counts the tasks in each lane and state, and caches the counts.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::model::{LaneName, TaskText};
use crate::store::Store;

/// Tasks by lane and state.
pub(super) type Counts = BTreeMap<LaneName, BTreeMap<String, u64>>;

/// A count that took longer than this is reused for a while even if the store has changed.
const SLOW_COUNT: Duration = Duration::from_millis(50);
/// How long counts are reused if the feed has no change since: other implementations leave no entry in it.
const MAX_AGE: Duration = Duration::from_secs(2);

struct CachedCounts {
    counts: Arc<Counts>,
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
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let feed = store.feed_end()?;
        if let Some(taken) = &*last {
            let age = taken.at.elapsed();
            let is_same = taken.feed == feed && age < MAX_AGE;
            // At most a tenth of the time is spent counting.
            if is_same || (taken.took > SLOW_COUNT && age < taken.took * 10) {
                return Ok(Arc::clone(&taken.counts));
            }
        }
        let at = Instant::now();
        let mut counts = Counts::new();
        let place = |task: &TaskText<'_>| (task.spec.lane_name(), task.state().into_owned());
        store.scan_names(&store.task_names()?, place, &mut |_, place| {
            if let Ok((lane, state)) = place {
                *counts.entry(lane).or_default().entry(state).or_default() += 1;
            }
            ControlFlow::Continue(())
        });
        let counts = Arc::new(counts);
        *last = Some(CachedCounts { counts: Arc::clone(&counts), feed, at, took: at.elapsed() });
        Ok(counts)
    }
}
