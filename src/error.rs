//! The error type, and the meaning of each kind of error for HTTP and for people.
//!
//! HTTP turns an [`Error`] into its reply with the exhaustive matches in this file, so that a new kind cannot be
//! forgotten; a command that fails with one ends with code 2 if it is misuse, with 75 if a server cannot be reached, and
//! otherwise with 1.

use std::fmt;
use std::path::Path;

use crate::model::{Refusal, names};

/// The result of every fallible function in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// The kind of an [`Error`]: decides the HTTP status and the machine-readable code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The input is not valid: a bad flag, a malformed id, a value out of range.
    Invalid,
    /// Configuration or a task file cannot be used as it is.
    Config,
    /// There is no such task, lane or file.
    NotFound,
    /// The rules of the queue refuse it: wrong state, wrong token, changed request.
    Refused,
    /// Another process holds a lock and did not release it in time.
    Locked,
    /// The state directory has a newer format: this program can read it but not change it.
    NewerFormat,
    /// The state directory contains a file that is not valid.
    Corrupt,
    /// A file operation failed in the operating system.
    Io,
    /// The server of a remote store cannot be reached, or does not answer; what became of the request may be unknown.
    Unavailable,
}

impl ErrorKind {
    /// Returns the HTTP status of a response with this error.
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Invalid | Self::Config => 400,
            Self::NotFound => 404,
            Self::Refused => 409,
            Self::Locked | Self::NewerFormat | Self::Unavailable => 503,
            Self::Corrupt | Self::Io => 500,
        }
    }

    /// Returns whether this program must not change the store, which it can still read: its format is newer, or it is
    /// where locks cannot be trusted.
    pub(crate) const fn forbids_changes(self) -> bool {
        matches!(self, Self::Config | Self::NewerFormat)
    }

    /// Returns a stable code for programs; the message may change, the code does not.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Config => "config",
            Self::NotFound => "not_found",
            Self::Refused => "refused",
            Self::Locked => "locked",
            Self::NewerFormat => "newer_format",
            Self::Corrupt => "corrupt",
            Self::Io => "io",
            Self::Unavailable => "unavailable",
        }
    }

    /// Returns the kind with this code, if there is one.
    pub(crate) fn of_code(code: &str) -> Option<Self> {
        [
            Self::Invalid,
            Self::Config,
            Self::NotFound,
            Self::Refused,
            Self::Locked,
            Self::NewerFormat,
            Self::Corrupt,
            Self::Io,
            Self::Unavailable,
        ]
        .into_iter()
        .find(|kind| kind.code() == code)
    }
}

/// A failure: its kind, a one-line message, and often a hint about what to do.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<std::io::Error>,
    refusal: Option<Box<Refusal>>,
    is_misuse: bool,
}

impl Error {
    /// Makes an error of `kind`; `message` is one line, without a full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, source: None, refusal: None, is_misuse: false }
    }

    /// Makes an error about input that can never be valid.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { is_misuse: true, ..Self::new(ErrorKind::Invalid, message) }
    }

    /// Makes an error about input that is not valid here and now: a file with other content, another state of the
    /// queue or another environment could make the same input valid.
    pub fn invalid_here(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Makes an error about a rule of the queue.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, message)
    }

    /// Makes an error about something that does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// Makes an error about a configuration that cannot be used.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// Makes an error about a file of the state directory that is not valid.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// Makes an error about a failed file operation, with the operation, the path and the cause.
    pub fn io(operation: &str, path: impl AsRef<Path>, source: impl Into<std::io::Error>) -> Self {
        let source = source.into();
        let path = printable(&path.as_ref().to_string_lossy());
        let message = format!("cannot {operation} {path}: {}", cause(&source));
        Self { source: Some(source), ..Self::new(ErrorKind::Io, message) }
    }

    /// Adds a line about what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Returns the kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns whether the input can never be valid: on a command line, bad usage.
    pub fn is_misuse(&self) -> bool {
        self.is_misuse
    }

    /// Returns what to do next, if there is a remedy.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Returns the reason why the rules of the queue refused the command, if they did. A store on another machine sends its
    /// message alone.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_deref()
    }

    /// Returns whether the store was not reached, so that nothing is known about the tasks that were asked for.
    pub(crate) fn is_of_whole_store(&self) -> bool {
        matches!(self.kind, ErrorKind::Unavailable | ErrorKind::Config)
    }

    /// Returns the message without the hint.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the operating system's message behind this failure, if there is one.
    pub fn cause(&self) -> Option<String> {
        self.source.as_ref().map(cause)
    }

    /// Returns the operating system's error number behind this failure, if there is one.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.source.as_ref().and_then(std::io::Error::raw_os_error)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let error = Self::refused(refusal.to_string());
        Self { hint: refusal.hint(), refusal: Some(Box::new(refusal)), ..error }
    }
}

/// Returns the operating system's message for an error, without the "(os error N)" that `std` adds.
fn cause(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) => text[..end].to_string(),
        None => text,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

/// Escapes control characters and invisible ones in `text`, so that a hostile name cannot move the terminal's
/// cursor, split a one-line message, or pass for another.
pub(crate) fn printable(text: &str) -> String {
    if names::first_hidden(text).is_none() {
        return text.to_string();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if names::is_hidden(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Shortens and escapes a text from outside for a message.
pub(crate) fn brief(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    let mut shown = printable(&text.chars().take(MAX_CHARS).collect::<String>());
    if text.chars().nth(MAX_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

/// Shortens a list of names from outside for a message: at most ten, each shortened.
pub(crate) fn brief_list<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    const MAX_NAMES: usize = 10;
    let mut names = names.into_iter();
    let mut shown: Vec<String> = names.by_ref().take(MAX_NAMES).map(|name| brief(name.as_ref())).collect();
    match names.count() {
        0 => {}
        more => shown.push(format!("and {more} more")),
    }
    shown.join(", ")
}

/// Quotes `text` as one word of a command line that can be pasted into a shell, if it needs quoting.
pub(crate) fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_string();
    }
    format!("'{}'", printable(text).replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_of_a_newer_format_or_on_a_network_can_still_be_read() {
        for kind in [ErrorKind::Config, ErrorKind::NewerFormat] {
            assert!(kind.forbids_changes(), "{kind:?}");
        }
        // A lock that is held, or a file that is damaged, is a trouble of its own.
        for kind in [ErrorKind::Locked, ErrorKind::Corrupt, ErrorKind::Io, ErrorKind::Refused] {
            assert!(!kind.forbids_changes(), "{kind:?}");
        }
    }

    #[test]
    fn a_shell_takes_a_quoted_word_as_one() {
        for (text, word) in [
            ("review", "review"),
            ("レビュー/a-b", "レビュー/a-b"),
            ("two words", "'two words'"),
            ("$(rm x); y", "'$(rm x); y'"),
            ("it's", r"'it'\''s'"),
            ("a\nb", r"'a\nb'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(text), word);
        }
    }

    #[test]
    fn io_errors_name_operation_path_and_cause_in_one_line() {
        let error = Error::io("open", "/x\ny", std::io::Error::from_raw_os_error(2));
        assert_eq!(error.to_string(), "cannot open /x\\ny: No such file or directory");
    }
}
