//! Names the place in a file that a message is about.

use std::sync::Arc;

use super::key_line::line_of_key;
use crate::error::{Error, brief};

/// A part of a file that people write: the whole, or a mapping inside it.
#[derive(Clone, Debug, Default)]
pub(in crate::workspace) struct FilePart {
    /// The file, for messages: `config file /w/handoff.yaml`.
    source: String,
    /// Its text; empty if its lines are not known.
    text: Arc<str>,
    /// The keys, and positions in lists, that lead to the part.
    path: Vec<String>,
    /// The part, for messages: `schedules.nightly`; empty for the whole.
    label: String,
}

impl FilePart {
    /// Names a whole file.
    pub(in crate::workspace) fn whole(source: String, text: Arc<str>) -> Self {
        Self { source, text, ..Self::default() }
    }

    /// Names a part of this file, to which `path` leads.
    pub(in crate::workspace) fn part(&self, path: &[&str], label: String) -> Self {
        Self { path: path.iter().map(ToString::to_string).collect(), label, ..self.clone() }
    }

    /// Returns the file, and the line of a key of the part, or of the part itself.
    pub(super) fn line(&self, key: Option<&str>) -> String {
        let path: Vec<String> = self.path.iter().cloned().chain(key.map(str::to_string)).collect();
        match line_of_key(&self.text, &path) {
            Some(line) => format!("{} line {line}", self.source),
            None => self.source.clone(),
        }
    }

    /// Returns file, line and part.
    pub(in crate::workspace) fn describe(&self) -> String {
        match self.label.is_empty() {
            true => self.source.clone(),
            false => format!("{}: {}", self.line(None), self.label),
        }
    }

    /// Returns what comes before a message about a key that it names.
    pub(super) fn before(&self, key: &str) -> String {
        match self.label.is_empty() {
            true => self.line(Some(key)),
            false => format!("{}: {}", self.line(Some(key)), self.label),
        }
    }

    /// Makes an error about a key of the part.
    #[cfg(feature = "cli")]
    pub(in crate::workspace) fn error(&self, key: &str, why: &str) -> Error {
        Error::config(format!("{}.{}: {why}", self.before(key), brief(key)))
    }

    /// Makes an error about the part as a whole.
    #[cfg(feature = "cli")]
    pub(in crate::workspace) fn error_here(&self, why: &str) -> Error {
        Error::config(format!("{} {why}", self.describe()))
    }
}
