//! Reads a TOML table key by key, with errors that name file, line and key.

use std::path::Path;

use serde_yaml::Value;
use toml_edit::{Document, Item, TableLike};

use crate::error::{Error, Result, printable};

/// A table of the file, with the keys that lead to it.
pub(super) struct SettingsTable<'t> {
    table: &'t dyn TableLike,
    path: String,
    line: Option<usize>,
    text: &'t str,
    file: &'t Path,
}

/// Parses the file.
///
/// # Errors
/// `Config`, with line and column.
pub(super) fn parse<'t>(text: &'t str, file: &Path) -> Result<Document<&'t str>> {
    Document::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let before = text.get(..at).unwrap_or_default();
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let reason = error.message().lines().collect::<Vec<_>>().join(", ");
        Error::config(format!("{} line {} column {column}: {reason}", shown(file), line_at(text, at)))
    })
}

/// Returns a path for messages.
pub(super) fn shown(file: &Path) -> String {
    printable(&file.to_string_lossy())
}

fn line_at(text: &str, at: usize) -> usize {
    text.get(..at).unwrap_or_default().matches('\n').count() + 1
}

impl<'t> SettingsTable<'t> {
    /// Returns the whole file.
    pub(super) fn root(document: &'t Document<&'t str>, text: &'t str, file: &'t Path) -> Self {
        Self { table: document.as_table(), path: String::new(), line: None, text, file }
    }

    /// Returns the keys that lead to it.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Returns its keys, in the order of the file.
    pub(super) fn keys(&self) -> Vec<String> {
        self.table.iter().map(|(key, _)| key.to_string()).collect()
    }

    /// Returns the table below a key.
    ///
    /// # Errors
    /// `Config` for another type, as those of all readers.
    pub(super) fn table(&self, key: &str) -> Result<Option<Self>> {
        let Some(item) = self.table.get(key) else { return Ok(None) };
        let table = item.as_table_like().ok_or_else(|| self.error(key, "expected a table"))?;
        let path = self.below(key);
        let line = item.span().map(|span| line_at(self.text, span.start)).or(self.line);
        Ok(Some(Self { table, path, line, text: self.text, file: self.file }))
    }

    /// Reads text.
    pub(super) fn text(&self, key: &str) -> Result<Option<String>> {
        self.read(key, "expected text", |item| item.as_str().map(str::to_string))
    }

    /// Reads a list of text.
    pub(super) fn texts(&self, key: &str) -> Result<Option<Vec<String>>> {
        self.read(key, "expected a list of text", |item| {
            item.as_array()?.iter().map(|value| value.as_str().map(str::to_string)).collect()
        })
    }

    /// Reads a whole number from 0 up.
    pub(super) fn count(&self, key: &str) -> Result<Option<u32>> {
        self.read(key, "expected a whole number from 0 up", |item| u32::try_from(item.as_integer()?).ok())
    }

    /// Reads a whole number.
    pub(super) fn integer(&self, key: &str) -> Result<Option<i64>> {
        self.read(key, "expected a whole number", Item::as_integer)
    }

    /// Reads a number of seconds above 0.
    pub(super) fn seconds(&self, key: &str) -> Result<Option<Value>> {
        self.read(key, "expected a number of seconds above 0", |item| match item.as_integer() {
            Some(seconds) => Some(Value::from(seconds)).filter(|_| seconds > 0),
            None => item.as_float().filter(|seconds| seconds.is_finite() && *seconds > 0.0).map(Value::from),
        })
    }

    fn read<T>(
        &self,
        key: &str,
        expected: &str,
        convert: impl FnOnce(&Item) -> Option<T>,
    ) -> Result<Option<T>> {
        match self.table.get(key) {
            None => Ok(None),
            Some(item) => convert(item).map(Some).ok_or_else(|| self.error(key, expected)),
        }
    }

    /// Makes an error about a key of this table.
    pub(super) fn error(&self, key: &str, reason: &str) -> Error {
        let span = self.table.get(key).and_then(Item::span);
        let line = span.map(|span| line_at(self.text, span.start)).or(self.line);
        let line = line.map_or(String::new(), |line| format!(" line {line}"));
        Error::config(format!("{}{line}: {}: {reason}", shown(self.file), printable(&self.below(key))))
    }

    fn below(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_string() } else { format!("{}.{key}", self.path) }
    }
}
