//! The fields and errors that edits of all settings files share.

use std::fmt;

use serde_json::Value;

/// A field of an entry, and its value.
pub(super) type EntryField = (&'static str, Value);

/// Why a settings file cannot be read or edited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SettingsError {
    /// It is not valid, at a line and a column, both from 1.
    Syntax { line: usize, column: usize, what: String },
    /// The member of this name does not have the type that a client expects.
    Shape(String),
    /// It could not be edited with everything else unchanged.
    Layout,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { line, column, what } => write!(f, "line {line}, column {column}: {what}"),
            Self::Shape(name) => write!(f, "{name} is not a table of settings"),
            Self::Layout => f.write_str("its layout cannot be kept"),
        }
    }
}
