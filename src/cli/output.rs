//! All printing: data on standard output, everything else on standard error.

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::colour::{Colour, ColourChoice, painted};
use super::env;
use super::text_format::{shorten, with_times};
use crate::error::{Error, Result, printable};
use crate::model::Time;
use crate::model::json::{self, Object};
use crate::model::names::is_hidden;
use crate::model::task::object;
use crate::signals;
use crate::store::{ProgressListener, Watch};

/// How a command prints, as its flags say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OutputOptions {
    /// Print JSON.
    pub json: bool,
    /// Print JSON on one line.
    pub compact: bool,
    /// Print no hints and no heartbeats.
    pub quiet: bool,
    /// Print rows in full on a terminal too.
    pub wide: bool,
    /// When to print colours.
    pub colour: ColourChoice,
}

/// Returns the width of a terminal, by its own word or else by the variable `COLUMNS`.
fn terminal_width(size: Option<u16>, variable: Option<usize>) -> usize {
    let known = size.map(usize::from).filter(|columns| *columns > 0);
    known.or(variable.filter(|columns| *columns > 0)).unwrap_or(80)
}

/// Formats a time in a zone, to the second.
fn local_time(time: Time, zone: TimeZone) -> String {
    let timestamp = Timestamp::from_microsecond(time.micros());
    timestamp.map_or_else(
        |_| time.to_string(),
        |timestamp| timestamp.to_zoned_datetime(zone).strftime("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

/// Returns a sentence whose times are those of the person's zone, to the second.
fn with_local_times(text: &str) -> String {
    with_times(text, |time| local_time(time, env::time_zone()))
}

/// Returns a line for standard error: on a terminal with times of the person's zone.
fn for_stderr(line: &str) -> Cow<'_, str> {
    if io::stderr().is_terminal() { with_local_times(line).into() } else { line.into() }
}

/// Standard output and standard error of a command.
pub(super) struct Output {
    stdout: BufWriter<Stdout>,
    terminal: bool,
    /// Whether rows are printed in full on a terminal too.
    wide: bool,
    /// The width for rows where standard output is no terminal, but its reader shows them on one.
    columns: Option<usize>,
    /// Whether colours are printed.
    is_coloured: bool,
    /// Whether the caller asked for JSON.
    pub json: bool,
    /// Whether JSON is printed on one line.
    compact: bool,
    /// The fields of tasks that are printed as JSON; `None` for all.
    pub task_fields: Option<Vec<String>>,
    /// Whether hints and heartbeats are suppressed.
    pub quiet: bool,
    /// The task that a failure of the command is about, for programs.
    pub task_of_failure: Option<String>,
    /// Whether the reader of standard output has closed it.
    reader_is_gone: bool,
    /// Whether what was printed last ended a line.
    is_at_line_start: bool,
}

impl Output {
    /// Makes the output of this process.
    pub(super) fn new(OutputOptions { json, compact, quiet, wide, colour }: OutputOptions) -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let is_coloured = colour.is_coloured(env::colour_variables(), terminal);
        let stdout = BufWriter::new(stdout);
        Self {
            stdout,
            terminal,
            wide,
            columns: None,
            is_coloured,
            json,
            compact,
            task_fields: None,
            quiet,
            task_of_failure: None,
            reader_is_gone: false,
            is_at_line_start: true,
        }
    }

    /// Makes the output of a command that prints no notes.
    pub(super) fn quiet() -> Self {
        Self::new(OutputOptions { quiet: true, ..OutputOptions::default() })
    }

    /// Returns the columns that a row may take, those of the terminal; `None` where rows are printed in full.
    pub(super) fn row_width(&self) -> Option<usize> {
        match (self.wide, self.terminal) {
            (true, _) => None,
            (false, true) => {
                let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok();
                Some(terminal_width(size.map(|size| size.ws_col), env::columns()))
            }
            (false, false) => self.columns,
        }
    }

    /// Makes rows fit a terminal of this width where standard output is none.
    pub(super) fn fit(&mut self, columns: usize) {
        self.columns = Some(columns);
    }

    /// Returns a time as it is shown: on a terminal that of the person's zone, to the second; otherwise UTC, in full.
    pub(super) fn time(&self, time: Time) -> String {
        match self.terminal && !self.wide {
            true => local_time(time, env::time_zone()),
            false => time.to_string(),
        }
    }

    /// Returns a sentence whose times are shown as [`Self::time`] shows them.
    pub(super) fn sentence(&self, text: &str) -> String {
        if self.terminal && !self.wide { with_local_times(text) } else { text.to_string() }
    }

    /// Returns how many columns of a free text a row may hold, where a file or a pipe gets `piped`.
    pub(super) fn text_room(&self, piped: usize) -> usize {
        if self.wide { usize::MAX } else { self.row_width().unwrap_or(piped) }
    }

    /// Returns whether standard output gets colours.
    pub(super) fn is_coloured(&self) -> bool {
        self.is_coloured
    }

    /// Returns what is shown for a state of a task or a level of a diagnosis in its colour, if colours are printed.
    pub(super) fn state<'a>(&self, shown: &'a str) -> Cow<'a, str> {
        painted(shown, Colour::of_state(shown).filter(|_| self.is_coloured))
    }

    /// Prints bytes as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        erase_transient();
        self.is_at_line_start = bytes.last().map_or(self.is_at_line_start, |last| *last == b'\n');
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

    /// Prints a JSON object: keys sorted, indented by two spaces or on one line, non-ASCII characters unescaped.
    pub(super) fn object(&mut self, object: &Object) -> Result<()> {
        let selected = self.task_fields.as_ref().map(|fields| select(object, fields));
        self.json_text(&json_text(selected.as_ref().unwrap_or(object), self.compact))
    }

    /// Returns whether JSON is printed on one line.
    pub(super) fn is_compact(&self) -> bool {
        self.compact
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

    /// Returns whether what was printed last ended a line, or went elsewhere than to a terminal.
    pub(super) fn is_at_line_start(&self) -> bool {
        self.is_at_line_start || !self.terminal
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
            print_error_line(&for_stderr(text));
        }
    }

    /// Reports on standard error why the command failed: a line for people or, with `--json`, an object in one line.
    /// Returns the exit code.
    pub(super) fn failure(&self, code: &str, message: &str, hint: Option<&str>, exit_code: u8) -> ExitCode {
        if self.json {
            let mut error = object([
                ("code", code.into()),
                ("error", printable(message).into()),
                ("exit_code", exit_code.into()),
            ]);
            error.extend(hint.map(|hint| ("hint".to_string(), printable(hint).into())));
            let task = self.task_of_failure.as_deref();
            error.extend(task.map(|id| ("task_id".to_string(), printable(id).into())));
            print_error_line(&Value::Object(error).to_string());
        } else {
            let hint = hint.map_or(String::new(), |hint| format!("; {hint}"));
            print_error_line(&for_stderr(&format!("lanes: {message}{hint}")));
        }
        ExitCode::from(exit_code)
    }

    /// Prints on standard error what a person may do next, if standard error is a terminal.
    pub(super) fn hint(&self, text: &str) {
        if io::stderr().is_terminal() {
            self.note(text);
        }
    }

    /// Says, if a person at a terminal would have to type the input, that this is waited for.
    pub(super) fn reads_stdin(&self) {
        if io::stdin().is_terminal() {
            self.hint("lanes: reading standard input; end with Ctrl-D");
        }
    }

    /// Prints a part of a question to the person at the terminal, on standard error.
    pub(super) fn prompt(&self, text: &str) {
        print_error(text);
    }

    /// Prints text for the holder of a claim on standard error, even when quiet; it may have several lines, which are
    /// escaped already. Returns whether it was written.
    pub(super) fn message(&self, text: &str) -> bool {
        print_error(&format!("{text}\n"))
    }

    /// Prints a warning on standard error.
    pub(super) fn warn(&self, text: &str) {
        print_error_line(&for_stderr(&format!("lanes: warning: {text}")));
    }
}

/// Formats an object for other programs.
pub(super) fn json_text(object: &Object, compact: bool) -> String {
    if compact { json::portable_line(object) } else { json::portable_text(object) }
}

/// Returns an answer with the selected fields of its tasks.
fn select(object: &Object, fields: &[String]) -> Object {
    let select_in = |(key, value): (&String, &Value)| {
        let value = match (key.as_str(), value) {
            ("task", Value::Object(task)) => Value::Object(select_fields(task, fields)),
            ("results", Value::Array(results)) => results
                .iter()
                .map(|result| match result {
                    Value::Object(result) => Value::Object(select(result, fields)),
                    other => other.clone(),
                })
                .collect(),
            _ => value.clone(),
        };
        (key.clone(), value)
    };
    object.iter().map(select_in).collect()
}

/// Returns the selected fields of a task; one that it does not have is null.
pub(super) fn select_fields(task: &Object, fields: &[String]) -> Object {
    fields.iter().map(|field| (field.clone(), task.get(field).cloned().unwrap_or(Value::Null))).collect()
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
            show_transient(&format!("{}: {}", self.what, text()));
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
            erase_transient();
        }
        self.started = None;
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A line on a terminal that says what a wait waits for, and since when. It is updated every second, and erased before
/// anything else is printed.
pub(super) struct WaitLine {
    started: Instant,
    is_shown: bool,
}

impl WaitLine {
    /// How often it is updated, and how long a wait is before it is shown.
    const INTERVAL: Duration = Duration::from_secs(1);

    /// Makes the line of a wait that begins.
    pub(super) fn new(out: &Output) -> Self {
        let is_plain = env::colour_variables().is_plain;
        let is_shown = !out.quiet && !out.json && io::stderr().is_terminal() && !is_plain;
        Self { started: Instant::now(), is_shown }
    }

    /// Begins anew: the line is shown when this has lasted for long enough.
    pub(super) fn begin_again(&mut self) {
        self.started = Instant::now();
    }

    /// Returns whether the wait shows this line. It does not print heartbeats then, which are for logs.
    pub(super) fn is_shown(&self) -> bool {
        self.is_shown
    }

    /// Sleeps until something may have changed, at the latest until `until`, and shows the line meanwhile: `text` is
    /// given how long the wait has lasted. Returns whether it was woken.
    pub(super) fn sleep(
        &self,
        watch: &mut Watch,
        until: Instant,
        mut text: impl FnMut(Duration) -> String,
    ) -> bool {
        if !self.is_shown {
            return watch.wait(until);
        }
        loop {
            let lasted = self.started.elapsed();
            if lasted >= Self::INTERVAL {
                show_transient(&text(lasted));
            }
            let now = Instant::now();
            let next = until.min(now + Self::INTERVAL);
            // Without notifications, each second is a reason to look.
            if watch.wait(next) || next == until {
                return Instant::now() < until;
            }
        }
    }
}

impl Drop for WaitLine {
    fn drop(&mut self) {
        erase_transient();
    }
}

/// Whether a line that is to be erased stands on the terminal at standard error.
static TRANSIENT_IS_SHOWN: AtomicBool = AtomicBool::new(false);

/// Has the line erased when a signal ends the process.
static ERASE_AT_END: Once = Once::new();

/// The control sequence that erases a line and goes to its beginning.
const ERASE_LINE: &str = "\r\u{1b}[K";

/// Shows a line on the terminal at standard error, in place of the one that stands there. What does not fit is cut, since
/// a line that wraps could not be erased.
fn show_transient(text: &str) {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stderr()).ok();
    let room = terminal_width(size.map(|size| size.ws_col), env::columns()).saturating_sub(1);
    ERASE_AT_END.call_once(|| {
        signals::run_before_end(|| {
            // Whoever is about to show a line waits for this lock until the end.
            let mut stderr = io::stderr().lock();
            if TRANSIENT_IS_SHOWN.swap(false, Ordering::SeqCst) {
                let _ = stderr.write_all(ERASE_LINE.as_bytes());
            }
            stderr
        });
    });
    let line = shorten(&printable(text), room);
    let mut stderr = io::stderr().lock();
    TRANSIENT_IS_SHOWN.store(true, Ordering::SeqCst);
    let _ = stderr.write_all(format!("{ERASE_LINE}{line}").as_bytes());
}

/// Erases the line that [`show_transient`] has shown, if it stands there.
fn erase_transient() {
    // Called for every piece of output, and hardly ever with something to erase.
    if TRANSIENT_IS_SHOWN.load(Ordering::Relaxed) {
        print_error("");
    }
}

/// Prints text on standard error, after erasing what [`show_transient`] has shown. Returns whether it was written.
fn print_error(text: &str) -> bool {
    let erase = if TRANSIENT_IS_SHOWN.swap(false, Ordering::SeqCst) { ERASE_LINE } else { "" };
    // A single write keeps the lines of processes that share a terminal apart.
    io::stderr().write_all(format!("{erase}{text}").as_bytes()).is_ok()
}

/// Prints one line on standard error, with control characters escaped. A failed write is not an error.
pub(super) fn print_error_line(text: &str) {
    print_error(&format!("{}\n", printable(text)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_zone_to_the_second() {
        let time = Time::parse("2026-11-30T02:04:05.999999Z").unwrap();
        let shown = |zone: &str| local_time(time, TimeZone::get(zone).unwrap());
        assert_eq!(shown("UTC"), "2026-11-30 02:04:05");
        assert_eq!(shown("America/New_York"), "2026-11-29 21:04:05");
    }

    #[test]
    fn a_terminal_is_as_wide_as_it_says() {
        assert_eq!(terminal_width(Some(132), Some(60)), 132);
        assert_eq!(terminal_width(Some(0), Some(60)), 60);
        assert_eq!(terminal_width(None, Some(0)), 80);
        assert_eq!(terminal_width(None, None), 80);
    }
}
