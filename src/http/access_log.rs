//! The access log: one line of JSON for each response, written by a thread of its own, so that a slow or stuck
//! reader of the log delays neither a response nor the end of the server.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::model::Time;
use crate::model::json::{Object, to_ascii_line};
use crate::model::task::object;

/// The maximum number of lines that may wait to be written.
const MAX_WAITING: usize = 4096;
/// How long the end of the server waits for lines that are still to be written.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);
/// The interval at which it tries to queue them.
const FINISH_INTERVAL: Duration = Duration::from_millis(10);

/// The queue to the thread that writes, if there is a log.
pub(crate) struct AccessLog {
    sender: Option<SyncSender<LogMessage>>,
    /// How many lines were dropped since the log last reported it.
    unreported: Mutex<u64>,
    /// How many lines were dropped in total.
    dropped: AtomicU64,
}

enum LogMessage {
    Line(String),
    /// Replies once everything before this is written.
    Flush(SyncSender<()>),
}

/// One response, as the access log records it.
pub(crate) struct AccessRecord<'a> {
    /// When it was sent.
    pub time: Time,
    /// The method as it was sent.
    pub method: &'a str,
    /// The path as it was sent, without its query, which may contain secrets.
    pub path: &'a str,
    /// The status code.
    pub status: u16,
    /// The time from the complete request to the response.
    pub took: Duration,
    /// The length of the body, in bytes.
    pub bytes: usize,
}

impl AccessLog {
    /// Makes a log that a thread of its own writes to `writer`.
    ///
    /// # Errors
    /// `Io` when the thread cannot be started.
    pub(crate) fn new(writer: Option<Box<dyn Write + Send>>) -> Result<Self> {
        Self::with_room(MAX_WAITING, writer)
    }

    fn with_room(room: usize, writer: Option<Box<dyn Write + Send>>) -> Result<Self> {
        let start = |mut writer: Box<dyn Write + Send>| {
            let (sender, inbox) = sync_channel(room);
            let write = move || {
                for entry in inbox {
                    match entry {
                        // The server continues when its log cannot be written.
                        LogMessage::Line(line) => {
                            let _ = writer.write_all(line.as_bytes()).and_then(|()| writer.flush());
                        }
                        // The server may have stopped waiting.
                        LogMessage::Flush(done) => drop(done.try_send(())),
                    }
                }
            };
            std::thread::Builder::new().name("access log".to_string()).spawn(write).map(|_| sender)
        };
        let sender = writer.map(start).transpose().map_err(|error| Error::io("start", "a thread", error))?;
        Ok(Self { sender, unreported: Mutex::new(0), dropped: AtomicU64::new(0) })
    }

    /// Queues a line, or counts it as dropped when the queue is full.
    pub(crate) fn write(&self, line: &AccessRecord<'_>) {
        let Some(sender) = &self.sender else { return };
        let text = to_ascii_line(&object([
            ("time", line.time.to_string().into()),
            ("method", line.method.into()),
            ("path", line.path.into()),
            ("status", line.status.into()),
            ("seconds", line.took.as_secs_f64().into()),
            ("bytes", line.bytes.into()),
        ]));
        let mut unreported = self.unreported.lock().unwrap_or_else(PoisonError::into_inner);
        if !(report_dropped(sender, line.time, &mut unreported)
            && sender.try_send(LogMessage::Line(text)).is_ok())
        {
            *unreported += 1;
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns how many lines were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits up to a second until everything is written.
    pub(crate) fn finish(&self, now: Time) {
        let Some(sender) = &self.sender else { return };
        let until = Instant::now() + FINISH_TIMEOUT;
        let (done, is_done) = sync_channel(1);
        let mut unreported = self.unreported.lock().unwrap_or_else(PoisonError::into_inner);
        let mut flush = LogMessage::Flush(done);
        while Instant::now() < until {
            if report_dropped(sender, now, &mut unreported) {
                match sender.try_send(flush) {
                    Ok(()) => {
                        let _ = is_done.recv_timeout(until.saturating_duration_since(Instant::now()));
                        return;
                    }
                    Err(TrySendError::Full(entry) | TrySendError::Disconnected(entry)) => flush = entry,
                }
            }
            std::thread::sleep(FINISH_INTERVAL);
        }
    }
}

/// Queues a line with the number of dropped lines. Returns `false` when the queue is full.
fn report_dropped(sender: &SyncSender<LogMessage>, at: Time, unreported: &mut u64) -> bool {
    if *unreported > 0 {
        let line: Object = object([("time", at.to_string().into()), ("dropped", (*unreported).into())]);
        if sender.try_send(LogMessage::Line(to_ascii_line(&line))).is_err() {
            return false;
        }
        *unreported = 0;
    }
    true
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::Receiver;

    use super::*;

    /// A reader that reads once for each message it receives.
    struct Slow(Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            self.1.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn line(path: &str) -> AccessRecord<'_> {
        let (time, took) = (Time::from_micros(0), Duration::ZERO);
        AccessRecord { time, method: "GET", path, status: 200, took, bytes: 0 }
    }

    #[test]
    fn dropped_lines_are_counted_and_reported() {
        let (read, reads) = sync_channel(100);
        let written = Arc::new(Mutex::new(Vec::new()));
        let access = AccessLog::with_room(2, Some(Box::new(Slow(reads, Arc::clone(&written))))).unwrap();
        // At most one is being written and two wait.
        for n in 0..10 {
            access.write(&line(&format!("/{n}")));
        }
        let dropped = access.dropped();
        assert!((7..=8).contains(&dropped), "{dropped}");
        for _ in 0..20 {
            read.send(()).unwrap();
        }
        access.finish(Time::from_micros(0));
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let dropped_count = |line: &str| -> Option<u64> {
            serde_json::from_str::<Object>(line).unwrap().get("dropped")?.as_u64()
        };
        // The thread may have taken its first line after others were dropped: then the report is in two lines.
        assert_eq!(text.lines().filter_map(dropped_count).sum::<u64>(), dropped, "{text}");
        assert_eq!(
            text.lines().filter(|line| dropped_count(line).is_none()).count() as u64,
            10 - dropped,
            "{text}"
        );
    }

    #[test]
    fn the_end_waits_only_shortly_for_a_reader_that_never_reads() {
        let (_kept, reads) = sync_channel(1);
        let access = AccessLog::with_room(1, Some(Box::new(Slow(reads, Arc::default())))).unwrap();
        for _ in 0..5 {
            access.write(&line("/"));
        }
        let start = Instant::now();
        access.finish(Time::from_micros(0));
        assert!(start.elapsed() >= FINISH_TIMEOUT && access.dropped() >= 3);
    }
}
