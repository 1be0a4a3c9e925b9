//! The settings files of clients by their format.

use serde_json::Value;

use super::settings::{EntryField, SettingsError};
use super::{json_text, toml_text};

/// The format of a settings file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SettingsFormat {
    /// JSON.
    Json,
    /// JSON with comments and trailing commas.
    JsonWithComments,
    /// TOML.
    Toml,
}

impl SettingsFormat {
    /// Returns the entry at `path`; `None` when there is none. An empty text has none.
    ///
    /// # Errors
    /// `Syntax`.
    pub(super) fn entry(self, text: &str, path: [&str; 2]) -> Result<Option<Value>, SettingsError> {
        match self {
            _ if text.trim().is_empty() => Ok(None),
            Self::Toml => toml_text::value(text, &path),
            _ => json_text::value(text, self.has_comments(), &path),
        }
    }

    /// Returns the text with these fields in the entry at `path`; its other fields stay.
    ///
    /// # Errors
    /// Any [`SettingsError`].
    pub(super) fn set(
        self,
        text: &str,
        path: [&str; 2],
        fields: &[EntryField],
    ) -> Result<String, SettingsError> {
        let edited = match self {
            Self::Toml => toml_text::set(text, path, fields)?,
            _ => json_text::set(text, self.has_comments(), &path, fields)?,
        };
        match self.entry(&edited, path) {
            Ok(Some(entry)) if holds(&entry, fields) => Ok(edited),
            _ => Err(SettingsError::Layout),
        }
    }

    /// Returns the text without the entry at `path`.
    ///
    /// # Errors
    /// Any [`SettingsError`].
    pub(super) fn remove(self, text: &str, path: [&str; 2]) -> Result<String, SettingsError> {
        let edited = match self {
            Self::Toml => toml_text::remove(text, path)?,
            _ => json_text::remove(text, self.has_comments(), &path)?,
        };
        match self.entry(&edited, path) {
            Ok(None) => Ok(edited),
            _ => Err(SettingsError::Layout),
        }
    }

    fn has_comments(self) -> bool {
        self == Self::JsonWithComments
    }
}

/// Returns whether an entry has these fields with these values. Of an object, only the members named are compared.
pub(super) fn holds(entry: &Value, fields: &[EntryField]) -> bool {
    fields.iter().all(|(key, value)| entry.get(key).is_some_and(|found| contains(found, value)))
}

fn contains(found: &Value, wanted: &Value) -> bool {
    match wanted {
        Value::Object(members) => {
            members.iter().all(|(key, value)| found.get(key).is_some_and(|found| contains(found, value)))
        }
        wanted => found == wanted,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_entry_holds_what_it_has_at_least() {
        let entry = json!({"command": "/l", "args": ["mcp"], "tools": {"a": {"mode": "x", "y": 1}, "b": {}}});
        assert!(holds(&entry, &[("command", json!("/l")), ("tools", json!({"a": {"mode": "x"}}))]));
        for wanted in
            [("command", json!("/m")), ("args", json!([])), ("tools", json!({"c": {}})), ("z", json!(1))]
        {
            assert!(!holds(&entry, std::slice::from_ref(&wanted)), "{wanted:?}");
        }
    }

    #[test]
    fn errors_are_one_line() {
        let error = SettingsFormat::Json.entry("{\n  x", ["a", "b"]).unwrap_err();
        assert_eq!(error.to_string(), "line 2, column 3: a key must be a text in quotes, as in {\"key\": 1}");
        let error = SettingsFormat::Toml.set("a = \n", ["a", "b"], &[]).unwrap_err().to_string();
        assert!(error.starts_with("line 1, column 5: ") && !error.contains('\n'), "{error}");
        for format in [SettingsFormat::Json, SettingsFormat::JsonWithComments, SettingsFormat::Toml] {
            assert_eq!(format.entry(" \n", ["a", "b"]), Ok(None));
        }
    }
}
