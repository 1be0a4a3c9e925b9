//! The time for which a run waits for a person, which its time limits do not count.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For how long a run has waited for a person so far.
#[derive(Debug, Default)]
pub(super) struct PersonWait(Mutex<WaitState>);

#[derive(Clone, Copy, Debug, Default)]
struct WaitState {
    since: Option<Instant>,
    /// The waits that are over.
    total: Duration,
    last_end: Option<Instant>,
}

impl PersonWait {
    /// Records whether the run waits for a person at `now`.
    pub(super) fn set(&self, is_waiting: bool, now: Instant) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (state.since, is_waiting) {
            (None, true) => state.since = Some(now),
            (Some(since), false) => {
                state.total += now.saturating_duration_since(since);
                (state.since, state.last_end) = (None, Some(now));
            }
            _ => {}
        }
    }

    /// Returns whether the run waits.
    pub(super) fn is_waiting(&self) -> bool {
        self.state().since.is_some()
    }

    /// Returns when a limit of the whole run is reached that would be reached at `at` without waits; `None` during a wait.
    pub(super) fn postponed(&self, at: Instant) -> Option<Instant> {
        let state = self.state();
        if state.since.is_some() { None } else { at.checked_add(state.total) }
    }

    /// Returns the later one of `last` and the end of the last wait; `None` during a wait.
    pub(super) fn last_end_or(&self, last: Instant) -> Option<Instant> {
        let state = self.state();
        if state.since.is_some() { None } else { Some(state.last_end.map_or(last, |end| end.max(last))) }
    }

    fn state(&self) -> WaitState {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_do_not_count_the_time_of_waits() {
        let wait = PersonWait::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!((wait.postponed(at(10)), wait.last_end_or(at(1))), (Some(at(10)), Some(at(1))));
        wait.set(true, at(2));
        wait.set(true, at(3));
        assert!(wait.is_waiting());
        assert_eq!((wait.postponed(at(10)), wait.last_end_or(at(1))), (None, None));
        wait.set(false, at(7));
        wait.set(false, at(8));
        assert_eq!((wait.postponed(at(10)), wait.last_end_or(at(1))), (Some(at(15)), Some(at(7))));
        assert_eq!(wait.last_end_or(at(9)), Some(at(9)));
        wait.set(true, at(20));
        wait.set(false, at(21));
        assert_eq!(wait.postponed(at(10)), Some(at(16)));
    }
}
