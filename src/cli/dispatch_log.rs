//! The log of a dispatcher: written by a thread of its own, so that nobody who is slow to read it, or does
//! not read it at all, keeps the dispatcher from its work.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::dispatch::event::DispatchEvent;
use crate::model::Time;

/// Moments that may wait to be written.
const MOST_WAITING: usize = 1000;
/// How long the end waits for what is still to be written, and how often it looks.
const LAST_WORDS: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(10);

enum LogEntry {
    Event(Time, DispatchEvent),
    /// Acknowledge that everything before this is written.
    Flush(SyncSender<()>),
}

/// Takes events and never waits for a reader.
pub(super) struct DispatchLog {
    sender: SyncSender<LogEntry>,
    /// How many moments have found no room since the last one that did.
    missed: Mutex<u64>,
}

impl DispatchLog {
    /// A log that `write` writes, on a thread that nobody waits for.
    pub(super) fn start(write: impl FnMut(Time, &DispatchEvent) + Send + 'static) -> Self {
        Self::with_room(MOST_WAITING, write)
    }

    fn with_room(room: usize, mut write: impl FnMut(Time, &DispatchEvent) + Send + 'static) -> Self {
        let (sender, receiver): (_, Receiver<LogEntry>) = sync_channel(room);
        std::thread::spawn(move || {
            for line in receiver {
                match line {
                    LogEntry::Event(at, event) => write(at, &event),
                    LogEntry::Flush(done) => {
                        // The waiting side is gone.
                        let _ = done.try_send(());
                    }
                }
            }
        });
        Self { sender, missed: Mutex::new(0) }
    }

    /// Adds a moment, or counts it if there is no room for it.
    pub(super) fn add(&self, at: Time, event: DispatchEvent) {
        let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        if !(self.told_of_missed(at, &mut missed) && self.sender.try_send(LogEntry::Event(at, event)).is_ok())
        {
            *missed += 1;
        }
    }

    /// Writes how many events found no room; returns whether none are left to report.
    fn told_of_missed(&self, at: Time, missed: &mut u64) -> bool {
        if *missed > 0 {
            let message = format!("{missed} lines of this log are missing: it was not read fast enough");
            if self.sender.try_send(LogEntry::Event(at, DispatchEvent::Warning { message })).is_err() {
                return false;
            }
            *missed = 0;
        }
        true
    }

    /// Waits a moment for what is still to be written; whether all of it was.
    pub(super) fn finish(self, at: Time) -> bool {
        let until = Instant::now() + LAST_WORDS;
        let (done, is_done) = sync_channel(1);
        let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut flush = LogEntry::Flush(done);
        loop {
            if self.told_of_missed(at, &mut missed) {
                match self.sender.try_send(flush) {
                    Ok(()) => break,
                    Err(TrySendError::Full(line) | TrySendError::Disconnected(line)) => flush = line,
                }
            }
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        is_done.recv_timeout(until.saturating_duration_since(Instant::now())).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_nobody_reads_is_counted_and_told_of_later() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let (let_go, may_go) = sync_channel::<()>(1);
        let (began, has_begun) = sync_channel::<()>(1);
        let into = written.clone();
        let mut is_first = true;
        let log = DispatchLog::with_room(2, move |_, event| {
            if std::mem::take(&mut is_first) {
                began.send(()).expect("the test waits");
                may_go.recv().expect("the test lets it go");
            }
            into.lock().expect("no panic").push(event.message());
        });
        let at = Time::from_micros(0);
        let add = |words: &str| log.add(at, DispatchEvent::Warning { message: words.to_string() });
        add("0");
        has_begun.recv().expect("the first is being written");
        ["1", "2", "3", "4"].into_iter().for_each(add);
        let_go.send(()).expect("it waits");
        assert!(log.finish(at));
        let written = written.lock().expect("no panic");
        assert_eq!(written[..3], ["0", "1", "2"]);
        assert!(written[3].starts_with("2 lines of this log are missing"), "{written:?}");
        assert_eq!(written.len(), 4);
    }

    #[test]
    fn the_end_does_not_wait_for_a_reader_that_never_reads() {
        let (_kept, never) = sync_channel::<()>(1);
        let log = DispatchLog::with_room(1, move |_, _| {
            let _ = never.recv();
        });
        let at = Time::from_micros(0);
        for _ in 0..10 {
            log.add(at, DispatchEvent::Done { answered: 0, failed: 0 });
        }
        assert!(!log.finish(at));
    }
}
