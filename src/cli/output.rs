//! All printing: data on standard output, everything else on standard error.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result, printable};
use crate::model::json::{self, Object};
use crate::model::names::is_hidden;
use crate::store::ProgressListener;

/// Standard output and standard error of a command.
pub(super) struct Output {
    stdout: BufWriter<Stdout>,
    terminal: bool,
    /// Whether the caller asked for JSON.
    pub json: bool,
    /// Whether hints and heartbeats are suppressed.
    pub quiet: bool,
    /// Whether the reader of standard output has closed it.
    reader_is_gone: bool,
}

impl Output {
    /// Makes the output of this process.
    pub(super) fn new(json: bool, quiet: bool) -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        Self { stdout: BufWriter::new(stdout), terminal, json, quiet, reader_is_gone: false }
    }

    /// Makes the output of a command that prints no notes.
    pub(super) fn quiet() -> Self {
        Self::new(false, true)
    }

    /// Returns whether standard output is a terminal, and colour is not disabled.
    pub(super) fn colour(&self) -> bool {
        self.terminal && !super::env::no_colour()
    }

    /// Prints bytes as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.stdout.write_all(bytes);
        self.check(written)
    }

    /// Prints text from outside. A file or a pipe gets it unchanged; on a terminal, control characters except
    /// line ends and tabs are escaped.
    pub(super) fn foreign(&mut self, bytes: &[u8]) -> Result<()> {
        if !self.terminal {
            return self.raw(bytes);
        }
        let text = String::from_utf8_lossy(bytes);
        for part in text.split_inclusive(['\n', '\t']) {
            let end = part.trim_end_matches(['\n', '\t']).len();
            self.raw(printable(&part[..end]).as_bytes())?;
            self.raw(&part.as_bytes()[end..])?;
        }
        Ok(())
    }

    /// Prints one line.
    pub(super) fn line(&mut self, text: &str) -> Result<()> {
        self.raw(text.as_bytes())?;
        self.raw(b"\n")
    }

    /// Prints a `key=value` line for scripts. Line ends in the value are escaped, so that it cannot forge another
    /// line.
    pub(super) fn pair(&mut self, key: &str, value: &str) -> Result<()> {
        self.line(&format!("{key}={}", printable(value)))
    }

    /// Prints a JSON object: keys sorted, indented by two spaces, non-ASCII characters unescaped.
    pub(super) fn object(&mut self, object: &Object) -> Result<()> {
        self.json_text(&json::portable_text(object))
    }

    /// Prints a JSON object on one line, for streams.
    pub(super) fn object_line(&mut self, object: &Object) -> Result<()> {
        self.json_text(&json::portable_line(object))
    }

    /// Prints JSON text. JSON escapes most control characters; on a terminal, the others are escaped too.
    pub(super) fn json_text(&mut self, text: &str) -> Result<()> {
        if !self.terminal {
            return self.raw(text.as_bytes());
        }
        let mut safe = String::with_capacity(text.len());
        for c in text.chars() {
            if is_hidden(c) && c != '\n' {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    safe.push_str(&format!("\\u{unit:04x}"));
                }
            } else {
                safe.push(c);
            }
        }
        self.raw(safe.as_bytes())
    }

    /// Writes everything to standard output. Only then may the command report success.
    pub(super) fn flush(&mut self) -> Result<()> {
        let flushed = self.stdout.flush();
        self.check(flushed)
    }

    /// Returns whether a write has failed because the reader of standard output has closed it.
    pub(super) fn reader_is_gone(&self) -> bool {
        self.reader_is_gone
    }

    fn check(&mut self, written: io::Result<()>) -> Result<()> {
        written.map_err(|error| {
            self.reader_is_gone |= error.kind() == io::ErrorKind::BrokenPipe;
            Error::io("write", "standard output", error)
        })
    }

    /// Prints a hint or a heartbeat on standard error; dropped when quiet.
    pub(super) fn note(&self, text: &str) {
        if !self.quiet {
            print_error_line(text);
        }
    }

    /// Prints on standard error what a person may do next, if standard error is a terminal.
    pub(super) fn hint(&self, text: &str) {
        if io::stderr().is_terminal() {
            self.note(text);
        }
    }

    /// Prints a part of a question to the person at the terminal, on standard error.
    pub(super) fn prompt(&self, text: &str) {
        let _ = io::stderr().write_all(text.as_bytes());
    }

    /// Prints text for the holder of a claim on standard error, even when quiet; it may have several lines, which are
    /// escaped already. Returns whether it was written.
    pub(super) fn message(&self, text: &str) -> bool {
        io::stderr().write_all(format!("{text}\n").as_bytes()).is_ok()
    }

    /// Prints a warning on standard error.
    pub(super) fn warn(&self, text: &str) {
        print_error_line(&format!("lanes: warning: {text}"));
    }
}

/// A progress line on a terminal, shown after one second of a long command.
pub(super) struct ProgressLine {
    what: &'static str,
    started: Option<Instant>,
    shown: Option<Instant>,
    wanted: bool,
}

impl ProgressLine {
    /// Makes a progress line, which is shown only if standard error is a terminal and not suppressed.
    pub(super) fn new(out: &Output, what: &'static str) -> Self {
        let wanted = !out.quiet && io::stderr().is_terminal();
        Self { what, started: Some(Instant::now()), shown: None, wanted }
    }

    /// Makes a progress line for work that the store does before a command, such as a rebuild of the index.
    pub(super) fn for_store(out: &Output, what: &'static str) -> ProgressListener {
        let progress = Self { started: None, ..Self::new(out, what) };
        if !progress.wanted {
            return ProgressListener::default();
        }
        let progress = Mutex::new(progress);
        ProgressListener::new(move |done, total| {
            let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
            if done < total {
                progress.update_count(done, total);
            } else {
                progress.clear();
            }
        })
    }

    /// Updates the progress line, at most five times a second.
    pub(super) fn update(&mut self, text: impl FnOnce() -> String) {
        let pause = Duration::from_millis(200);
        if !self.wanted {
            return;
        }
        let now = Instant::now();
        let started = *self.started.get_or_insert(now);
        if now >= self.shown.map_or(started + Duration::from_secs(1), |shown| shown + pause) {
            self.shown = Some(now);
            let _ = write!(io::stderr(), "\r\u{1b}[K{}: {}", self.what, text());
        }
    }

    /// Shows how many of how many tasks have been read.
    pub(super) fn update_count(&mut self, done: u64, total: u64) {
        const WIDTH: u64 = 30;
        self.update(|| {
            let filled = (done * WIDTH / total.max(1)).min(WIDTH) as usize;
            let bar = "#".repeat(filled) + &".".repeat(WIDTH as usize - filled);
            format!("[{bar}] {done} of {total} tasks")
        });
    }
}

impl ProgressLine {
    /// Removes the line, so that the next update starts another progress line.
    fn clear(&mut self) {
        if self.shown.take().is_some() {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
        }
        self.started = None;
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Prints one line on standard error, with control characters escaped. A failed write is not an error.
pub(super) fn print_error_line(text: &str) {
    // A single write keeps the lines of processes that share a terminal apart.
    let _ = io::stderr().write_all(format!("{}\n", printable(text)).as_bytes());
}
