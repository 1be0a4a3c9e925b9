//! Progress notifications of a call that waits.

use std::time::Duration;

use rmcp::model::{ProgressNotificationParam, ProgressToken};
use rmcp::{Peer, RoleServer};
use tokio::time::Instant;

/// The minimum time between two notifications.
const LEAST: Duration = Duration::from_secs(1);
/// The maximum time between two notifications.
const MOST: Duration = Duration::from_secs(15);
/// How long a call waits for a client that does not read notifications.
const PATIENCE: Duration = Duration::from_millis(100);

/// When a notification is due.
#[derive(Debug, Default)]
struct ProgressPace {
    last: Option<(Instant, String)>,
}

impl ProgressPace {
    /// Returns whether `text` is to be sent now, and if so, counts it as sent: the first at once, a new text a second
    /// after the last one, and the same text every 15 seconds.
    fn is_due(&mut self, now: Instant, text: &str) -> bool {
        let is_due = match &self.last {
            None => true,
            Some((at, sent)) => now >= *at + if sent == text { MOST } else { LEAST },
        };
        if is_due {
            self.last = Some((now, text.to_string()));
        }
        is_due
    }

    /// Returns when to check for a new text.
    fn next_check(&self, now: Instant) -> Instant {
        let soonest = self.last.as_ref().map_or(now, |(at, _)| *at + LEAST);
        if soonest > now { soonest } else { now + LEAST }
    }
}

/// Reports the progress of a call to a client that asked for it.
pub(super) struct ProgressReporter {
    peer: Peer<RoleServer>,
    token: ProgressToken,
    sent: u32,
    pace: ProgressPace,
}

impl ProgressReporter {
    /// Makes a reporter that has reported nothing yet.
    pub(super) fn new(peer: Peer<RoleServer>, token: ProgressToken) -> Self {
        Self { peer, token, sent: 0, pace: ProgressPace::default() }
    }

    /// Sends `text` if it is due.
    pub(super) async fn report(&mut self, text: String) {
        if !self.pace.is_due(Instant::now(), &text) {
            return;
        }
        self.sent += 1;
        let progress = ProgressNotificationParam::new(self.token.clone(), f64::from(self.sent));
        let sent = self.peer.notify_progress(progress.with_message(text));
        // Nothing relies on progress, so a client that does not read it must not delay the call.
        let _ = tokio::time::timeout(PATIENCE, sent).await;
    }

    /// Returns when to check for a new text.
    pub(super) fn next_check(&self) -> Instant {
        self.pace.next_check(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_comes_at_once_then_by_the_second_and_at_least_every_fifteen() {
        let start = Instant::now();
        let mut pace = ProgressPace::default();
        let mut sent = Vec::new();
        for tenth in 0..400_u64 {
            let now = start + Duration::from_millis(tenth * 100);
            // A new text all the time in the first three seconds, then none.
            let text = format!("step {}", tenth.min(30));
            if pace.is_due(now, &text) {
                sent.push(tenth);
            }
            assert!(pace.next_check(now) > now && pace.next_check(now) <= now + LEAST);
        }
        assert_eq!(sent, [0, 10, 20, 30, 180, 330]);
    }
}
