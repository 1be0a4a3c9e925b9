//! Reads a YAML mapping key by key, with errors that name file, line and key.
//!
//! Typed deserialization loses the position of every error that is not a syntax error. The `dispatch:` section of
//! `handoff.yaml` is edited by hand and controls spending, so each of its errors names its line.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_yaml::{Mapping, Value};

use super::key_line::line_of_key;
use super::written_number;
use crate::error::{brief, printable};
use crate::model::duration::{self, TimeLimit};
use crate::model::names;
use crate::{Error, Result};

/// A configuration file: its name for messages, its text for line numbers.
#[derive(Clone, Copy, Debug)]
pub struct SourceText<'a> {
    /// The path as the user knows it.
    pub file: &'a str,
    /// The text of the file.
    pub text: &'a str,
}

impl SourceText<'_> {
    /// Returns the line of a key, or of the mapping that should contain it.
    #[cfg(feature = "cli")]
    pub(crate) fn line(&self, path: &[String]) -> Option<usize> {
        line_of_key(self.text, path)
    }

    /// Returns file, line and key, for messages.
    pub fn location(&self, path: &[String]) -> String {
        let mut place = printable(self.file);
        if let Some(line) = line_of_key(self.text, path) {
            place.push_str(&format!(" line {line}"));
        }
        if !path.is_empty() {
            let path: Vec<String> = path.iter().map(|key| brief(key)).collect();
            place.push_str(&format!(": {}", path.join(".")));
        }
        place
    }
}

/// The value of a key that may override an inherited value. An explicit `null` differs from a missing key: it
/// removes the inherited value.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Override<T> {
    /// The key is missing: the value is inherited.
    #[default]
    Inherit,
    /// The key is `null`: there is no value, even if one would be inherited.
    Off,
    /// The key has this value.
    Value(T),
}

impl<T> Override<T> {
    /// Returns the effective value if `inherited` is that of the level above.
    pub fn or_inherit(self, inherited: Option<T>) -> Option<T> {
        match self {
            Self::Inherit => inherited,
            Self::Off => None,
            Self::Value(value) => Some(value),
        }
    }

    /// Returns the value given here, if any.
    pub fn value(self) -> Option<T> {
        self.or_inherit(None)
    }

    /// Returns the value given here, or `default` if the key is missing or `null`.
    pub fn or(self, default: T) -> T {
        self.value().unwrap_or(default)
    }
}

/// The keys that have another name in a file than in the code that reads it: the name in the code, that in the file.
pub(crate) type KeyNames = &'static [(&'static str, &'static str)];

/// A mapping in the file, with the path of keys that leads to it.
#[derive(Clone, Debug)]
pub struct Section<'a> {
    source: SourceText<'a>,
    path: Vec<String>,
    mapping: Mapping,
    key_names: KeyNames,
}

impl<'a> Section<'a> {
    /// Reads the mapping at `path`; `null` and a missing value are an empty mapping.
    ///
    /// # Errors
    /// `Config` if the value is not a mapping.
    pub fn new(source: SourceText<'a>, path: &[&str], value: Option<&Value>) -> Result<Self> {
        let path = path.iter().map(ToString::to_string).collect();
        let mut section = Self { source, path, mapping: Mapping::new(), key_names: &[] };
        match value {
            None | Some(Value::Null) => {}
            Some(Value::Mapping(mapping)) => section.mapping = mapping.clone(),
            Some(_) => return Err(section.error_here("expected keys with values")),
        }
        Ok(section)
    }

    /// Returns a section at the same location in the file with other content, for values merged with defaults.
    pub fn with_mapping(&self, mapping: Mapping) -> Self {
        Self { mapping, ..self.clone() }
    }

    /// Returns the same section, of which some keys have other names in the file than in the code that reads it.
    pub(crate) fn with_key_names(self, key_names: KeyNames) -> Self {
        Self { key_names, ..self }
    }

    /// Returns the name in the file of a key.
    fn written<'k>(&self, key: &'k str) -> &'k str {
        written_key(self.key_names, key)
    }

    /// Returns whether the mapping has a key.
    pub fn has(&self, key: &str) -> bool {
        self.mapping.contains_key(self.written(key))
    }

    /// Returns the keys that lead to this mapping.
    pub(crate) fn path(&self) -> &[String] {
        &self.path
    }

    /// Returns the file.
    pub fn source(&self) -> SourceText<'a> {
        self.source
    }

    /// Returns the mapping.
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// Returns the mapping below `key`.
    ///
    /// # Errors
    /// `Config` if the value is not a mapping.
    pub fn section(&self, key: &str) -> Result<Self> {
        let mut path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        path.push(self.written(key));
        Self::new(self.source, &path, self.mapping.get(self.written(key)))
    }

    /// Returns the keys.
    ///
    /// # Errors
    /// `Config` for a key that is not a scalar.
    pub fn keys(&self) -> Result<Vec<String>> {
        self.mapping
            .keys()
            .map(|key| scalar(key, self.source, &[]).map_err(|_| self.error_here("every key must be text")))
            .collect()
    }

    /// Refuses keys that are not in `known`.
    ///
    /// # Errors
    /// `Config`, with the most similar known key as a hint.
    pub fn refuse_unknown_keys(&self, known: &[&str]) -> Result<()> {
        for key in self.keys()? {
            if !known.contains(&key.as_str()) {
                let error = error_at(self.source, &self.below([key.clone()]), "unknown key");
                let other_name = self.key_names.iter().find(|(name, _)| *name == key);
                let similar = other_name.map(|(_, written)| *written).or_else(|| most_similar(&key, known));
                return Err(match similar {
                    Some(similar) => error.with_hint(format!("did you mean {similar}?")),
                    None => error,
                });
            }
        }
        Ok(())
    }

    /// Reads text. A number or a boolean must be quoted.
    ///
    /// # Errors
    /// As [`Section::read`], like those of the other readers.
    pub fn text(&self, key: &str) -> Result<Override<String>> {
        self.read(key, |value| match value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(_) | Value::Bool(_) => Err("expected text; put it in quotes".to_string()),
            _ => Err("expected text".to_string()),
        })
    }

    /// Reads text that is passed to a program: it has no invisible characters and cannot be taken for a flag.
    pub fn argument(&self, key: &str) -> Result<Override<String>> {
        let given = self.text(key)?;
        match &given {
            Override::Value(text) => {
                names::check_argument("it", text).map_err(|error| self.error(key, error.message()))?
            }
            Override::Inherit | Override::Off => {}
        }
        Ok(given)
    }

    /// Reads a whole number from 0 to `u32::MAX`.
    pub fn count(&self, key: &str) -> Result<Override<u32>> {
        self.read(key, |value| {
            value
                .as_u64()
                .and_then(|number| u32::try_from(number).ok())
                .ok_or_else(|| "expected a whole number from 0 up".to_string())
        })
    }

    /// Reads a whole number, which may be negative.
    pub fn integer(&self, key: &str) -> Result<Override<i64>> {
        self.read(key, |value| value.as_i64().ok_or_else(|| "expected a whole number".to_string()))
    }

    /// Reads a boolean.
    pub fn boolean(&self, key: &str) -> Result<Override<bool>> {
        self.read(key, |value| value.as_bool().ok_or_else(|| "expected true or false".to_string()))
    }

    /// Reads a number above 0, such as an amount of money.
    pub fn positive_number(&self, key: &str) -> Result<Override<f64>> {
        self.read(key, |value| {
            value
                .as_f64()
                .filter(|number| number.is_finite() && *number > 0.0)
                .ok_or_else(|| "expected a number above 0".to_string())
        })
    }

    /// Reads a duration: seconds, or text such as `15m`.
    pub fn duration(&self, key: &str) -> Result<Override<Duration>> {
        self.read(key, |value| {
            let length = match value {
                Value::Number(number) => number.as_f64().and_then(duration::from_seconds),
                Value::String(text) => duration::parse(text),
                _ => None,
            };
            length.ok_or_else(|| "expected seconds or a length such as 90s, 15m, 2h or 1d".to_string())
        })
    }

    /// Reads a limit on a duration; `null`, `none` and 0 mean that there is none.
    pub fn limit(&self, key: &str) -> Result<Override<Duration>> {
        let given = self.read(key, |value| {
            let limit = match value {
                Value::Number(number) => number.as_f64().and_then(duration::from_seconds).map(TimeLimit::of),
                Value::String(text) => TimeLimit::parse(text),
                _ => None,
            };
            limit.ok_or_else(|| "expected seconds, a length such as 90s, 15m, 2h or 1d, or none".to_string())
        })?;
        Ok(match given {
            Override::Inherit => Override::Inherit,
            Override::Off | Override::Value(TimeLimit(None)) => Override::Off,
            Override::Value(TimeLimit(Some(length))) => Override::Value(length),
        })
    }

    /// Reads a list of text. Numbers in it are read as written, because arguments are often numbers.
    pub fn list(&self, key: &str) -> Result<Override<Vec<String>>> {
        self.read(key, |value| match value {
            Value::Sequence(items) => {
                let place = |n: usize| self.below([self.written(key).to_string(), n.to_string()]);
                items.iter().enumerate().map(|(n, item)| argument(item, self.source, &place(n))).collect()
            }
            _ => Err("expected a list of text".to_string()),
        })
    }

    fn below(&self, keys: impl IntoIterator<Item = String>) -> Vec<String> {
        self.path.iter().cloned().chain(keys).collect()
    }

    /// Reads a mapping from text to text, in which numbers and booleans are read as written; `null` means "unset".
    pub fn variables(&self, key: &str) -> Result<BTreeMap<String, Option<String>>> {
        let section = self.section(key)?;
        let mut variables = BTreeMap::new();
        for name in section.keys()? {
            let place = section.below([name.clone()]);
            let value = section.read(&name, |value| scalar(value, self.source, &place))?.value();
            variables.insert(name, value);
        }
        Ok(variables)
    }

    /// Reads any value with `convert`.
    ///
    /// # Errors
    /// `Config`: the message of `convert`, preceded by file, line and key.
    pub fn read<T>(
        &self,
        key: &str,
        convert: impl FnOnce(&Value) -> std::result::Result<T, String>,
    ) -> Result<Override<T>> {
        match self.mapping.get(self.written(key)) {
            None => Ok(Override::Inherit),
            Some(Value::Null) => Ok(Override::Off),
            Some(value) => convert(value).map(Override::Value).map_err(|reason| self.error(key, &reason)),
        }
    }

    /// Returns an error about `key` of this mapping.
    pub fn error(&self, key: &str, reason: &str) -> Error {
        let mut path = self.path.clone();
        path.push(self.written(key).to_string());
        error_at(self.source, &path, reason)
    }

    /// Returns an error about this mapping as a whole.
    pub fn error_here(&self, reason: &str) -> Error {
        error_at(self.source, &self.path, reason)
    }
}

/// Returns the name in the file of a key.
pub(crate) fn written_key(key_names: KeyNames, key: &str) -> &str {
    key_names.iter().find(|(name, _)| *name == key).map_or(key, |(_, written)| written)
}

/// Returns the text of the scalar at the path `place`; a number as written there.
fn scalar(value: &Value, source: SourceText<'_>, place: &[String]) -> std::result::Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => match written_number(source.text, place) {
            // A value that was merged from another place in the file has a different text here.
            Some(text) if serde_yaml::from_str::<Value>(&text).is_ok_and(|found| found == *value) => Ok(text),
            _ if number.is_f64() => Err("expected text; put it in quotes".to_string()),
            _ => Ok(number.to_string()),
        },
        Value::Bool(flag) => Ok(flag.to_string()),
        _ => Err("expected text".to_string()),
    }
}

fn argument(value: &Value, source: SourceText<'_>, place: &[String]) -> std::result::Result<String, String> {
    match value {
        Value::Bool(_) => Err("expected a list of text; put each in quotes".to_string()),
        Value::Number(_) => scalar(value, source, place),
        _ => scalar(value, source, place).map_err(|_| "expected a list of text".to_string()),
    }
}

fn error_at(source: SourceText<'_>, path: &[String], reason: &str) -> Error {
    Error::config(format!("{}: {reason}", source.location(path)))
}

/// Returns the known word that is most similar to `text`, if at most a third of its letters differ.
pub(crate) fn most_similar<'k>(text: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|candidate| (strsim::osa_distance(text, candidate), *candidate))
        .min()
        .filter(|(distance, candidate)| distance * 3 <= text.len().max(candidate.len()))
        .map(|(_, candidate)| candidate)
}

/// Returns a question after the known word that is most similar to `text`, if there is one.
pub(crate) fn did_you_mean(text: &str, known: &[&str]) -> Option<String> {
    most_similar(text, known).map(|similar| format!("did you mean {}?", printable(similar)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
workspace_id: demo
timeout: 1
dispatch:
  # how agents run
  timeout: 15m
  retries: null
  routes:
    review:
      timeout: soon
      env: {A: 1, B: null}
    'build it':
      tiemout: 5
";

    fn dispatch() -> Section<'static> {
        let value: Value = serde_yaml::from_str(TEXT).expect("valid YAML");
        let source = SourceText { file: "handoff.yaml", text: TEXT };
        Section::new(source, &["dispatch"], value.get("dispatch")).expect("a mapping")
    }

    #[test]
    fn a_missing_key_null_and_a_value_differ() {
        let section = dispatch();
        assert_eq!(section.count("missing").expect("absent"), Override::Inherit);
        assert_eq!(section.count("retries").expect("null"), Override::Off);
        let quarter = Duration::from_secs(900);
        assert_eq!(section.duration("timeout").expect("length"), Override::Value(quarter));
        assert_eq!(Override::Off.or_inherit(Some(1)), None);
        assert_eq!(Override::Inherit.or_inherit(Some(1)), Some(1));
    }

    #[test]
    fn errors_name_file_line_and_key() {
        let routes = dispatch().section("routes").expect("a mapping");
        let error = routes
            .section("review")
            .and_then(|review| review.duration("timeout"))
            .expect_err("soon is not a length");
        assert_eq!(
            error.message(),
            "handoff.yaml line 9: dispatch.routes.review.timeout: expected seconds or a length such as 90s, 15m, 2h or 1d"
        );
        let error = routes
            .section("build it")
            .and_then(|route| route.refuse_unknown_keys(&["timeout", "prompt"]))
            .expect_err("a misspelt key");
        assert_eq!(
            error.to_string(),
            "handoff.yaml line 12: dispatch.routes.build it.tiemout: unknown key; did you mean timeout?"
        );
    }

    #[test]
    fn a_key_in_braces_has_a_line() {
        let error = dispatch()
            .section("routes")
            .and_then(|routes| routes.section("review"))
            .and_then(|review| review.section("env"))
            .and_then(|env| env.list("A"))
            .expect_err("1 is not a list");
        assert!(error.message().starts_with("handoff.yaml line 10: "), "{error}");
    }

    #[test]
    fn only_similar_words_are_suggested() {
        let known = ["timeout", "env", "cwd", "vendor", "model", "lanes", "args"];
        for (text, similar) in [
            ("timeuot", Some("timeout")),
            ("tiemout", Some("timeout")),
            ("evn", Some("env")),
            ("vendors", Some("vendor")),
            ("lane", Some("lanes")),
            ("arg", Some("args")),
            ("mode", Some("model")),
            ("colour", None),
            ("pwd", Some("cwd")),
            ("time", None),
            ("x", None),
            ("max", None),
        ] {
            assert_eq!(most_similar(text, &known), similar, "{text}");
        }
    }

    #[test]
    fn variables_keep_null_as_unset() {
        let review =
            dispatch().section("routes").and_then(|routes| routes.section("review")).expect("a mapping");
        let variables = review.variables("env").expect("variables");
        assert_eq!(variables["A"].as_deref(), Some("1"));
        assert_eq!(variables["B"], None);
    }
}
