//! All printing: data on standard output, everything else on standard error.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use crate::error::{Error, ErrorKind, Result, printable};
use crate::model::json::{self, Object};

/// Where a command's words go.
pub struct Output {
    stdout: BufWriter<Stdout>,
    /// Whether the caller asked for JSON.
    pub json: bool,
    /// Whether hints and heartbeats are unwanted.
    pub quiet: bool,
}

impl Output {
    /// Standard output and standard error of this process.
    pub fn new(json: bool, quiet: bool) -> Self {
        Self { stdout: BufWriter::new(io::stdout()), json, quiet }
    }

    /// Whether people look at standard output and want colour.
    pub fn colour(&self) -> bool {
        io::stdout().is_terminal() && !super::env::no_colour()
    }

    /// Text as it is, with nothing added.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.stdout.write_all(bytes).map_err(failed)
    }

    /// One line.
    pub fn line(&mut self, text: &str) -> Result<()> {
        self.raw(text.as_bytes())?;
        self.raw(b"\n")
    }

    /// A `key=value` line for scripts; a value cannot forge another line.
    pub fn pair(&mut self, key: &str, value: &str) -> Result<()> {
        self.line(&format!("{key}={}", printable(value)))
    }

    /// A JSON object: keys sorted, indented by two, non-ASCII as it is.
    pub fn object(&mut self, object: &Object) -> Result<()> {
        self.raw(json::to_text(object).as_bytes())
    }

    /// A JSON object on one line, for streams.
    pub fn object_line(&mut self, object: &Object) -> Result<()> {
        self.raw(json::to_line(object).as_bytes())
    }

    /// Hands everything to the reader; only then may the command report success.
    pub fn flush(&mut self) -> Result<()> {
        self.stdout.flush().map_err(failed)
    }

    /// A hint or a sign of life, on standard error; dropped when quiet.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            complain(text);
        }
    }

    /// A warning, on standard error.
    pub fn warn(&self, text: &str) {
        complain(&format!("lanes: warning: {text}"));
    }
}

/// One line on standard error, whatever the names in it hold. Nobody there to read it is no reason
/// to fail.
pub(super) fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{}", printable(text));
}

fn failed(error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Error::new(ErrorKind::BrokenPipe, "nobody reads our output any more")
    } else {
        Error::io("write", "standard output", error)
    }
}
