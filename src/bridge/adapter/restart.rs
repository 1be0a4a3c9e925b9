//! When an adapter that has failed is started again.

use std::time::{Duration, Instant};

/// The delay after the first failure.
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// The longest delay, and how long an adapter must run for its earlier failures to be forgotten.
const MAX_DELAY: Duration = Duration::from_secs(5 * 60);

/// The delay before the next start, which doubles from failure to failure.
#[derive(Debug, Default)]
pub(super) struct RestartDelay {
    /// Delay after the last failure.
    delay: Duration,
    /// Time of the next start, and the failure before it.
    pending: Option<(Instant, String)>,
}

impl RestartDelay {
    /// Records a failure of an adapter that was started at `started`. Returns the delay.
    pub(super) fn failed(&mut self, started: Instant, now: Instant, why: &str) -> Duration {
        let is_forgotten = now.saturating_duration_since(started) >= MAX_DELAY;
        self.delay = if is_forgotten { FIRST_DELAY } else { (self.delay * 2).clamp(FIRST_DELAY, MAX_DELAY) };
        self.pending = Some((now + self.delay, why.to_string()));
        self.delay
    }

    /// Returns how long the next start has to wait, and for which failure; `None` if it may happen now.
    pub(super) fn pending(&self, now: Instant) -> Option<(Duration, &str)> {
        let (at, why) = self.pending.as_ref()?;
        (now < *at).then(|| (at.saturating_duration_since(now), why.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_and_is_forgotten_after_a_long_run() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut restart = RestartDelay::default();
        assert_eq!(restart.pending(start), None);
        let delays: Vec<u64> =
            (0..10).map(|_| restart.failed(start, start + second, "it died").as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert_eq!(restart.pending(start + second * 2), Some((second * 299, "it died")));
        assert_eq!(restart.pending(start + second * 301), None);
        assert_eq!(restart.failed(start, start + second * 300, "").as_secs(), 1);
    }
}
