//! Reads the standard error of an adapter, which is its log, to its end.

use std::io::Read;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::redaction::Redaction;
use crate::error::printable;

/// Receives the lines of an adapter's log, each printable and without secrets.
pub(crate) type AdapterLog = Arc<dyn Fn(&str) + Send + Sync>;

/// Number of lines that are passed on in each [`WINDOW`].
const LINES_PER_WINDOW: usize = 20;
/// Period after which further lines are passed on.
const WINDOW: Duration = Duration::from_secs(60);
/// Maximum length of a line that is passed on, in characters; the rest is dropped.
const MAX_LINE_CHARS: usize = 1000;
/// Maximum length of a line that is read; only after its secrets are hidden is it cut to the other length.
const MAX_LINE_BYTES: usize = 256 * 1024;
/// Maximum wait for the end of the log after the adapter has ended: an unrelated process may keep it open.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// The thread that reads the log of one adapter process.
pub(super) struct StderrReader {
    last_line: Arc<Mutex<String>>,
    end: Receiver<()>,
}

impl StderrReader {
    /// Starts the thread.
    pub(super) fn start(stderr: impl Read + Send + 'static, redaction: Redaction, log: AdapterLog) -> Self {
        let last_line = Arc::new(Mutex::new(String::new()));
        let (sender, end) = channel();
        let shared = Arc::clone(&last_line);
        std::thread::spawn(move || {
            read_all(stderr, &redaction, &*log, &shared);
            // Nobody receives it if the end has taken too long.
            let _ = sender.send(());
        });
        Self { last_line, end }
    }

    /// Waits for the end of the log, and returns its last line.
    pub(super) fn last_line(&self) -> String {
        let _ = self.end.recv_timeout(END_TIMEOUT);
        self.last_line.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read_all(mut stderr: impl Read, redaction: &Redaction, log: &dyn Fn(&str), last_line: &Mutex<String>) {
    let mut lines = LogLines::new(Instant::now());
    let mut buffer = [0; 64 * 1024];
    loop {
        let length = match stderr.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        for piece in buffer[..length].split_inclusive(|byte| *byte == b'\n') {
            lines.read(piece, redaction, log, last_line);
        }
    }
    lines.read(b"\n", redaction, log, last_line);
    lines.report_omitted(log);
}

/// Cuts a log into lines, and limits how many of them are passed on.
struct LogLines {
    /// The beginning of the current line.
    partial: Vec<u8>,
    window_start: Instant,
    passed_on: usize,
    omitted: u64,
}

impl LogLines {
    fn new(now: Instant) -> Self {
        Self { partial: Vec::new(), window_start: now, passed_on: 0, omitted: 0 }
    }

    /// Adds a piece, and passes on the line that it completes, without secrets.
    fn read(&mut self, piece: &[u8], redaction: &Redaction, log: &dyn Fn(&str), last_line: &Mutex<String>) {
        let Some(line) = self.add(piece) else { return };
        let line: String = redaction.hide(&line).chars().take(MAX_LINE_CHARS).collect();
        self.pass_on(&line, Instant::now(), log);
        *last_line.lock().unwrap_or_else(PoisonError::into_inner) = line;
    }

    /// Adds a piece that has a line break at its end or none. Returns the line that it completes, unless it is empty.
    fn add(&mut self, piece: &[u8]) -> Option<String> {
        let room = MAX_LINE_BYTES.saturating_sub(self.partial.len());
        self.partial.extend_from_slice(&piece[..piece.len().min(room)]);
        if piece.last() != Some(&b'\n') {
            return None;
        }
        let line = std::mem::take(&mut self.partial);
        let line = printable(String::from_utf8_lossy(&line).trim_end());
        (!line.is_empty()).then_some(line)
    }

    /// Passes a line on unless there were too many.
    fn pass_on(&mut self, line: &str, now: Instant, log: &dyn Fn(&str)) {
        if now.saturating_duration_since(self.window_start) >= WINDOW {
            self.report_omitted(log);
            self.window_start = now;
            self.passed_on = 0;
        }
        if self.passed_on < LINES_PER_WINDOW {
            self.passed_on += 1;
            log(line);
        } else {
            self.omitted += 1;
        }
    }

    /// Reports how many lines were left out since the last report.
    fn report_omitted(&mut self, log: &dyn Fn(&str)) {
        let omitted = std::mem::take(&mut self.omitted);
        if omitted > 0 {
            log(&format!("[{omitted} more lines left out]"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn a_flood_is_read_to_its_end_and_limited() {
        let logged = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&logged);
        let text = "key hunter2\n".to_string() + &"x".repeat(100_000) + "\n\n" + &"y\n".repeat(1000) + "end";
        let reader = StderrReader::start(
            std::io::Cursor::new(text.into_bytes()),
            Redaction::new([crate::workspace::Secret::new("hunter2")]),
            Arc::new(move |line: &str| log.lock().unwrap().push(line.to_string())),
        );
        assert_eq!(reader.last_line(), "end");
        let logged = logged.lock().unwrap();
        assert_eq!(logged.len(), 21);
        assert_eq!((logged[0].as_str(), logged[1].len()), ("key ***", MAX_LINE_CHARS));
        assert_eq!(logged[20], "[983 more lines left out]");
    }

    #[test]
    fn further_lines_are_passed_on_after_a_while() {
        let start = Instant::now();
        let mut lines = LogLines::new(start);
        let logged = RefCell::new(Vec::new());
        let log = |line: &str| logged.borrow_mut().push(line.to_string());
        for _ in 0..22 {
            lines.pass_on("early", start, &log);
        }
        lines.pass_on("late", start + WINDOW, &log);
        assert_eq!(logged.borrow()[19..], ["early", "[2 more lines left out]", "late"]);
        assert_eq!(lines.add(b"a\x1b"), None);
        assert_eq!(lines.add(b"b\r\n"), Some("a\\u{1b}b".to_string()));
    }
}
