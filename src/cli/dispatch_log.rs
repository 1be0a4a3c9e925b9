//! The log of a dispatcher. A thread of its own writes it, so that a reader that is slow or has stopped reading
//! does not block the dispatcher.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::dispatch::event::DispatchEvent;
use crate::model::Time;

/// Maximum number of events that wait to be written; further ones are dropped and counted.
const MAX_QUEUED: usize = 1000;
/// Maximum time to write the remaining events when the dispatcher ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// Time between two attempts to queue an entry when the dispatcher ends.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

enum LogEntry {
    Event(Time, DispatchEvent),
    /// Acknowledge that everything before this entry is written.
    Flush(SyncSender<()>),
}

/// A queue of events to be written. Adding an event never blocks.
pub(super) struct DispatchLog {
    sender: SyncSender<LogEntry>,
    /// Number of events dropped since the last one that was queued.
    dropped: Mutex<u64>,
}

impl DispatchLog {
    /// Creates a log whose entries are written by `write`, on a thread that is not joined.
    pub(super) fn start(write: impl FnMut(Time, &DispatchEvent) + Send + 'static) -> Self {
        Self::with_capacity(MAX_QUEUED, write)
    }

    fn with_capacity(capacity: usize, mut write: impl FnMut(Time, &DispatchEvent) + Send + 'static) -> Self {
        let (sender, receiver): (_, Receiver<LogEntry>) = sync_channel(capacity);
        std::thread::spawn(move || {
            for entry in receiver {
                match entry {
                    LogEntry::Event(at, event) => write(at, &event),
                    LogEntry::Flush(done) => {
                        // Fails if `finish` has stopped waiting.
                        let _ = done.try_send(());
                    }
                }
            }
        });
        Self { sender, dropped: Mutex::new(0) }
    }

    /// Queues an event, or drops and counts it if the queue is full.
    pub(super) fn add(&self, at: Time, event: DispatchEvent) {
        let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        let is_queued =
            self.report_dropped(at, &mut dropped) && self.sender.try_send(LogEntry::Event(at, event)).is_ok();
        if !is_queued {
            *dropped += 1;
        }
    }

    /// Queues a warning about dropped events, if there are any. Returns false if the queue is full.
    fn report_dropped(&self, at: Time, dropped: &mut u64) -> bool {
        if *dropped > 0 {
            let message = format!("{dropped} lines of this log are missing: it was not read fast enough");
            if self.sender.try_send(LogEntry::Event(at, DispatchEvent::Warning { message })).is_err() {
                return false;
            }
            *dropped = 0;
        }
        true
    }

    /// Waits until all queued events are written, for at most [`FLUSH_TIMEOUT`]. Returns whether they are.
    pub(super) fn finish(self, at: Time) -> bool {
        let until = Instant::now() + FLUSH_TIMEOUT;
        let (done, is_done) = sync_channel(1);
        let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        let mut flush = LogEntry::Flush(done);
        loop {
            if self.report_dropped(at, &mut dropped) {
                match self.sender.try_send(flush) {
                    Ok(()) => break,
                    Err(TrySendError::Full(entry) | TrySendError::Disconnected(entry)) => flush = entry,
                }
            }
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(RETRY_INTERVAL);
        }
        is_done.recv_timeout(until.saturating_duration_since(Instant::now())).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn dropped_events_are_counted_and_reported_later() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let (release, released) = sync_channel::<()>(1);
        let (began, has_begun) = sync_channel::<()>(1);
        let into = written.clone();
        let mut is_first = true;
        let log = DispatchLog::with_capacity(2, move |_, event| {
            if std::mem::take(&mut is_first) {
                began.send(()).expect("the test waits");
                released.recv().expect("the test releases it");
            }
            into.lock().expect("no panic").push(event.message());
        });
        let at = Time::from_micros(0);
        let add = |text: &str| log.add(at, DispatchEvent::Warning { message: text.to_string() });
        add("0");
        has_begun.recv().expect("the first is being written");
        ["1", "2", "3", "4"].into_iter().for_each(add);
        release.send(()).expect("it waits");
        assert!(log.finish(at));
        let written = written.lock().expect("no panic");
        assert_eq!(written[..3], ["0", "1", "2"]);
        assert!(written[3].starts_with("2 lines of this log are missing"), "{written:?}");
        assert_eq!(written.len(), 4);
    }

    #[test]
    fn finish_does_not_wait_for_a_reader_that_never_reads() {
        let (_kept, never) = sync_channel::<()>(1);
        let log = DispatchLog::with_capacity(1, move |_, _| {
            let _ = never.recv();
        });
        let at = Time::from_micros(0);
        for _ in 0..10 {
            log.add(at, DispatchEvent::Done { answered: 0, failed: 0, failed_tasks: 0, asked: 0 });
        }
        assert!(!log.finish(at));
    }
}
