//! The dispatcher that is started when an agent gets a task and nobody serves it, and that leaves when it is idle.
//!
//! A store has at most one, which keeps a lock. No task is left behind when it leaves: it first announces in its
//! registration that it is draining, and only then looks for tasks for the last time. A submitter looks at the
//! registrations after it has stored its task. So either the dispatcher still finds the task, or the submitter
//! finds a dispatcher that is draining and starts another one, which waits here for the lock.

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::store::{FileLock, Store};

/// Time between two checks of the dispatcher whose end is awaited.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// Waits for the lock of the on-demand dispatcher. Returns `None` when another one is there to claim tasks, or waits
/// for the lock already.
///
/// # Errors
/// `NewerFormat`, `Io`; `Corrupt` when something other than a file has the name of a lock.
pub(crate) fn take_place(store: &Store) -> Result<Option<FileLock>> {
    loop {
        if let Some(place) = store.spool().try_on_demand_lock()? {
            return Ok(Some(place));
        }
        if is_another_claiming(store)? {
            return Ok(None);
        }
        // One process waits for the end of the one that is draining, which may take as long as its runs.
        let Some(turn) = store.spool().try_on_demand_next_lock()? else { return Ok(None) };
        let place = wait_for_place(store)?;
        drop(turn);
        if place.is_some() {
            return Ok(place);
        }
        // The other one is claiming again. A process that found the turn taken relies on this one, so this must
        // still be true after the turn is given up: look again.
    }
}

/// Waits until the lock is free, which it then holds, or until its holder claims tasks.
fn wait_for_place(store: &Store) -> Result<Option<FileLock>> {
    loop {
        if let Some(place) = store.spool().try_on_demand_lock()? {
            return Ok(Some(place));
        }
        if is_another_claiming(store)? {
            return Ok(None);
        }
        std::thread::sleep(CHECK_INTERVAL);
    }
}

fn is_another_claiming(store: &Store) -> Result<bool> {
    Ok(store.on_demand_dispatcher()?.is_some_and(|dispatcher| !dispatcher.is_draining()))
}

/// Measures how long a dispatcher has been idle.
#[derive(Debug)]
pub(crate) struct IdleTimer {
    limit: Duration,
    since: Option<Instant>,
}

impl IdleTimer {
    /// Makes the timer of a dispatcher that may be idle for `limit`.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, since: None }
    }

    /// Records whether the dispatcher is idle at `now`. Returns how long it may stay idle from now on: zero when it has
    /// been idle for long enough, no limit while it is not idle.
    pub(crate) fn record(&mut self, is_idle: bool, now: Instant) -> Duration {
        if !is_idle {
            self.since = None;
            return Duration::MAX;
        }
        let since = *self.since.get_or_insert(now);
        self.limit.saturating_sub(now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;

    #[test]
    fn idle_time_begins_anew_after_work() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut timer = IdleTimer::new(Duration::from_secs(60));
        assert_eq!(timer.record(true, after(0)).as_secs(), 60);
        assert_eq!(timer.record(true, after(59)).as_secs(), 1);
        assert_eq!(timer.record(false, after(60)), Duration::MAX);
        assert_eq!(timer.record(true, after(70)).as_secs(), 60);
        assert_eq!(timer.record(true, after(130)).as_secs(), 0);
        let mut impatient = IdleTimer::new(Duration::ZERO);
        assert_eq!(impatient.record(false, start), Duration::MAX, "it must not leave while it works");
        assert_eq!(impatient.record(true, start).as_secs(), 0);
    }

    #[test]
    fn one_waits_for_the_place_and_no_second_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = || Store::open(dir.path(), StoreOptions::default()).unwrap();
        let first = take_place(&store()).unwrap().expect("it is free");
        // Nobody has registered, so that the second waits: the first may be about to end.
        let second = store();
        // It finds the turn taken whenever the loop below has just looked.
        let waiting = std::thread::spawn(move || while take_place(&second).unwrap().is_none() {});
        let third = store();
        while third.spool().try_on_demand_next_lock().unwrap().is_some() {
            std::thread::yield_now();
        }
        assert!(take_place(&third).unwrap().is_none(), "another one waits already");
        drop(first);
        waiting.join().unwrap();
    }
}
