//! Reads typed values from a YAML or JSON object, with errors that name the key.

use serde_json::Value;

use super::document::{Document, Written, scalar_text};
use super::file_part::FilePart;
use crate::error::{Error, ErrorKind, Result, brief_list};
use crate::model::duration;
use crate::model::json::Object;

/// Takes typed values out of an object; the keys that are left at the end are unknown.
///
/// A null value counts as absent, since YAML parses an empty value as null.
pub(in crate::workspace) struct MappingReader {
    /// Where the object comes from.
    place: FilePart,
    object: Object,
    written: Written,
    is_exact: bool,
    /// Whether a number may stand where text is expected, as in YAML, where people leave quotes out.
    takes_numbers_as_text: bool,
    /// The kind of an error about a value.
    refusal: ErrorKind,
}

impl MappingReader {
    /// Makes a reader for a mapping inside a file.
    #[cfg(feature = "cli")]
    pub(in crate::workspace) fn of_part(place: FilePart, object: Object) -> Self {
        Self { place, ..Self::of_file(String::new(), Document { object, ..Document::default() }) }
    }

    /// Makes a reader for JSON that a program has written, where text is in quotes; what is wrong is the fault of a request,
    /// not of a file.
    pub(in crate::workspace) fn of_request(source: String, object: Object) -> Self {
        Self {
            takes_numbers_as_text: false,
            refusal: ErrorKind::Invalid,
            ..Self::of_file(source, Document { object, ..Document::default() })
        }
    }

    /// Makes a reader for a file.
    pub(in crate::workspace) fn of_file(source: String, document: Document) -> Self {
        let Document { object, written, is_exact, text, .. } = document;
        Self {
            place: FilePart::whole(source, text),
            object,
            written,
            is_exact,
            takes_numbers_as_text: true,
            refusal: ErrorKind::Config,
        }
    }

    /// Returns text, or a number as it is written; `place` is the path of keys and positions that leads to it.
    fn written(&self, place: &str, value: &Value) -> Option<String> {
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(_) if self.takes_numbers_as_text => self
                .written
                .get(place)
                .cloned()
                .or_else(|| scalar_text(value).filter(|text| self.is_exact || !text.contains(['e', 'E']))),
            _ => None,
        }
    }

    /// Returns the source of the object.
    pub(in crate::workspace) fn source(&self) -> String {
        self.place.describe()
    }

    /// Makes an error about one key.
    pub(in crate::workspace) fn invalid_value(&self, key: &str, expected: &str) -> Error {
        Error::new(self.refusal, format!("{}: '{key}' must be {expected}", self.place.before(key)))
    }

    /// Returns whether the key is present, even if it is null.
    pub(in crate::workspace) fn has(&self, key: &str) -> bool {
        self.object.contains_key(key)
    }

    /// Takes a value of any type.
    pub(in crate::workspace) fn value(&mut self, key: &str) -> Option<Value> {
        self.object.remove(key).filter(|value| !value.is_null())
    }

    /// Takes a text; a number counts as its source text.
    ///
    /// # Errors
    /// `Config` when the value is not text or a number.
    pub(in crate::workspace) fn text(&mut self, key: &str) -> Result<Option<String>> {
        match self.value(key) {
            None => Ok(None),
            Some(value) => match self.written(&format!("/{key}"), &value) {
                Some(text) => Ok(Some(text)),
                None => Err(self.invalid_value(key, "text; put it in quotes")),
            },
        }
    }

    /// Takes a text; an empty one counts as absent.
    ///
    /// # Errors
    /// `Config` when the value is not text or a number.
    pub(in crate::workspace) fn text_or_blank(&mut self, key: &str) -> Result<Option<String>> {
        Ok(self.text(key)?.filter(|text| !text.trim().is_empty()))
    }

    /// Takes an integer.
    ///
    /// # Errors
    /// `Config` when the value is not an integer.
    pub(in crate::workspace) fn integer(&mut self, key: &str) -> Result<Option<i64>> {
        match self.value(key) {
            None => Ok(None),
            Some(value) => match value.as_i64() {
                Some(number) => Ok(Some(number)),
                None => Err(self.invalid_value(key, "a whole number")),
            },
        }
    }

    /// Takes a duration in seconds: a number, or text such as `15m`.
    ///
    /// # Errors
    /// `Config` when the value is not a duration.
    pub(in crate::workspace) fn seconds(&mut self, key: &str) -> Result<Option<f64>> {
        let seconds = match self.value(key) {
            None => return Ok(None),
            Some(Value::Number(number)) => number.as_f64(),
            Some(Value::String(text)) => duration::parse(&text).map(|length| length.as_secs_f64()),
            Some(_) => None,
        };
        match seconds {
            Some(seconds) => Ok(Some(seconds)),
            None => Err(self.invalid_value(key, "a number of seconds or a time such as 15m, 2h, 1d")),
        }
    }

    /// Takes a mapping; empty if absent.
    ///
    /// # Errors
    /// `Config` when the value is not a mapping.
    pub(in crate::workspace) fn mapping(&mut self, key: &str) -> Result<Object> {
        match self.value(key) {
            None => Ok(Object::new()),
            Some(Value::Object(object)) => Ok(object),
            Some(_) => Err(self.invalid_value(key, "a mapping")),
        }
    }

    /// Takes a list; empty if absent.
    ///
    /// # Errors
    /// `Config` when the value is not a list.
    pub(in crate::workspace) fn list(&mut self, key: &str) -> Result<Vec<Value>> {
        match self.value(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => Ok(items),
            Some(_) => Err(self.invalid_value(key, "a list")),
        }
    }

    /// Takes a list of texts; empty if absent.
    ///
    /// # Errors
    /// `Config` when the value is not a list of texts.
    pub(in crate::workspace) fn texts(&mut self, key: &str) -> Result<Vec<String>> {
        self.list(key)?
            .iter()
            .enumerate()
            .map(|(n, item)| self.written(&format!("/{key}/{n}"), item))
            .collect::<Option<Vec<String>>>()
            .ok_or_else(|| self.invalid_value(key, "a list of texts"))
    }

    /// Takes a list of texts, each plain or as the value `name` of a mapping; empty if absent, `None` if an item is
    /// something else.
    ///
    /// # Errors
    /// `Config` when the value is not a list.
    pub(in crate::workspace) fn texts_or(&mut self, key: &str, name: &str) -> Result<Option<Vec<String>>> {
        let items = self.list(key)?;
        let texts = items.iter().enumerate().map(|(n, item)| match item.get(name) {
            Some(inner) => self.written(&format!("/{key}/{n}/{name}"), inner),
            None => self.written(&format!("/{key}/{n}"), item),
        });
        Ok(texts.collect())
    }

    /// Returns a warning about unknown keys, if there are any.
    pub(in crate::workspace) fn unknown_keys(&self) -> Option<String> {
        if self.object.is_empty() {
            return None;
        }
        Some(format!(
            "{} has unknown keys, which are ignored: {}",
            self.place.describe(),
            brief_list(self.object.keys())
        ))
    }
}
