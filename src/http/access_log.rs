//! The access log: one line of JSON for each answer, written by a thread of its own, so that nobody who is slow
//! to read it, or does not read it at all, keeps a request from its answer or the server from its end.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::model::Time;
use crate::model::json::{Object, to_ascii_line};
use crate::model::task::object;

/// Lines that may wait to be written.
const MOST_WAITING: usize = 4096;
/// How long the end waits for what is still to be written, and how often it looks.
const LAST_WORDS: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(10);

/// Where the lines go, if anywhere.
pub struct AccessLog {
    way: Option<SyncSender<LogMessage>>,
    /// How many lines have found no room since the last one that did.
    missed: Mutex<u64>,
    /// How many have found no room at all.
    dropped: AtomicU64,
}

enum LogMessage {
    Line(String),
    /// All before this is written; tell so.
    Flush(SyncSender<()>),
}

/// One answer.
pub struct AccessRecord<'a> {
    /// When it was given.
    pub time: Time,
    /// The method as it was sent.
    pub method: &'a str,
    /// The path as it was sent, without its query, which may hold what is nobody's business.
    pub path: &'a str,
    /// The status.
    pub status: u16,
    /// From the whole request to the answer.
    pub took: Duration,
    /// Bytes of the body.
    pub bytes: usize,
}

impl AccessLog {
    /// A log that goes to `writer`, on a thread that nobody waits for.
    ///
    /// # Errors
    /// `Io` when the thread cannot be started.
    pub fn new(writer: Option<Box<dyn Write + Send>>) -> Result<Self> {
        Self::with_room(MOST_WAITING, writer)
    }

    fn with_room(room: usize, writer: Option<Box<dyn Write + Send>>) -> Result<Self> {
        let start = |mut writer: Box<dyn Write + Send>| {
            let (way, inbox) = sync_channel(room);
            let write = move || {
                for entry in inbox {
                    match entry {
                        // A log that cannot be written is no reason not to serve.
                        LogMessage::Line(line) => {
                            let _ = writer.write_all(line.as_bytes()).and_then(|()| writer.flush());
                        }
                        // Nobody may wait any more.
                        LogMessage::Flush(done) => drop(done.try_send(())),
                    }
                }
            };
            std::thread::Builder::new().name("access log".to_string()).spawn(write).map(|_| way)
        };
        let way = writer.map(start).transpose().map_err(|error| Error::io("start", "a thread", error))?;
        Ok(Self { way, missed: Mutex::new(0), dropped: AtomicU64::new(0) })
    }

    /// Adds a line, or counts it if there is no room for it.
    pub fn write(&self, line: &AccessRecord<'_>) {
        let Some(way) = &self.way else { return };
        let text = to_ascii_line(&object([
            ("time", line.time.to_string().into()),
            ("method", line.method.into()),
            ("path", line.path.into()),
            ("status", line.status.into()),
            ("seconds", line.took.as_secs_f64().into()),
            ("bytes", line.bytes.into()),
        ]));
        let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        if !(told_of_missed(way, line.time, &mut missed) && way.try_send(LogMessage::Line(text)).is_ok()) {
            *missed += 1;
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many lines found no room.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits a moment for what is still to be written.
    pub fn finish(&self, now: Time) {
        let Some(way) = &self.way else { return };
        let until = Instant::now() + LAST_WORDS;
        let (done, is_done) = sync_channel(1);
        let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut flush = LogMessage::Flush(done);
        while Instant::now() < until {
            if told_of_missed(way, now, &mut missed) {
                match way.try_send(flush) {
                    Ok(()) => {
                        let _ = is_done.recv_timeout(until.saturating_duration_since(Instant::now()));
                        return;
                    }
                    Err(TrySendError::Full(entry) | TrySendError::Disconnected(entry)) => flush = entry,
                }
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// Says how many lines found no room; whether none are left to be told of.
fn told_of_missed(way: &SyncSender<LogMessage>, at: Time, missed: &mut u64) -> bool {
    if *missed > 0 {
        let line: Object = object([("time", at.to_string().into()), ("dropped", (*missed).into())]);
        if way.try_send(LogMessage::Line(to_ascii_line(&line))).is_err() {
            return false;
        }
        *missed = 0;
    }
    true
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::Receiver;

    use super::*;

    /// A reader that reads when it is told to.
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
    fn lines_that_find_no_room_are_counted_and_told_of() {
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
        let told = |line: &str| -> Option<u64> {
            serde_json::from_str::<Object>(line).unwrap().get("dropped")?.as_u64()
        };
        // The thread may have taken its first line while others were dropped already: then they are told of in two.
        assert_eq!(text.lines().filter_map(told).sum::<u64>(), dropped, "{text}");
        assert_eq!(text.lines().filter(|line| told(line).is_none()).count() as u64, 10 - dropped, "{text}");
    }

    #[test]
    fn the_end_waits_only_a_moment_for_a_reader_that_never_reads() {
        let (_kept, reads) = sync_channel(1);
        let access = AccessLog::with_room(1, Some(Box::new(Slow(reads, Arc::default())))).unwrap();
        for _ in 0..5 {
            access.write(&line("/"));
        }
        let start = Instant::now();
        access.finish(Time::from_micros(0));
        assert!(start.elapsed() >= LAST_WORDS && access.dropped() >= 3);
    }
}
