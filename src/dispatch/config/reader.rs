//! Reading a YAML mapping key by key, with errors that name file, line and key.
//!
//! Typed deserialization loses the position of every error that is not about syntax. The `dispatch:`
//! part of `handoff.yaml` is edited by hand and decides about somebody's money, so each of its
//! errors points at its line.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_yaml::{Mapping, Value};

use super::yaml_location::line_of;
use crate::error::{brief, printable};
use crate::model::duration::{self, Limit};
use crate::model::names;
use crate::workspace::written_number;
use crate::{Error, Result};

/// The file that the values come from: its name for messages, its text for line numbers.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Path as the user knows it.
    pub file: &'a str,
    /// The file's whole text.
    pub text: &'a str,
}

impl Source<'_> {
    /// File, line and key, for messages.
    pub fn place(&self, path: &[String]) -> String {
        let mut place = printable(self.file);
        if let Some(line) = line_of(self.text, path) {
            place.push_str(&format!(" line {line}"));
        }
        if !path.is_empty() {
            let path: Vec<String> = path.iter().map(|key| brief(key)).collect();
            place.push_str(&format!(": {}", path.join(".")));
        }
        place
    }
}

/// What a mapping says about one key. An explicit `null` differs from silence: it switches an
/// inherited value off.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Given<T> {
    /// The key is missing: inherit.
    #[default]
    Absent,
    /// The key is `null`: nothing, whatever would be inherited.
    Off,
    /// The key has this value.
    Value(T),
}

impl<T> Given<T> {
    /// The value that holds when `inherited` is the value of the level above.
    pub fn over(self, inherited: Option<T>) -> Option<T> {
        match self {
            Self::Absent => inherited,
            Self::Off => None,
            Self::Value(value) => Some(value),
        }
    }

    /// The value given here, or nothing.
    pub fn value(self) -> Option<T> {
        self.over(None)
    }

    /// The value given here, or `default` when the key is missing or `null`.
    pub fn or(self, default: T) -> T {
        self.value().unwrap_or(default)
    }
}

/// One mapping of the file together with the keys that lead to it.
#[derive(Clone, Debug)]
pub struct Section<'a> {
    source: Source<'a>,
    path: Vec<String>,
    mapping: Mapping,
}

impl<'a> Section<'a> {
    /// The mapping at `path`; `null` and a missing value read as an empty mapping.
    pub fn new(source: Source<'a>, path: &[&str], value: Option<&Value>) -> Result<Self> {
        let path = path.iter().map(ToString::to_string).collect();
        let mut section = Self { source, path, mapping: Mapping::new() };
        match value {
            None | Some(Value::Null) => {}
            Some(Value::Mapping(mapping)) => section.mapping = mapping.clone(),
            Some(_) => return Err(section.error_here("expected keys with values")),
        }
        Ok(section)
    }

    /// The same place in the file with other content, for values that were merged with defaults.
    pub fn with_mapping(&self, mapping: Mapping) -> Self {
        Self { mapping, ..self.clone() }
    }

    /// The file it stands in.
    pub fn source(&self) -> Source<'a> {
        self.source
    }

    /// The mapping itself.
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// The mapping below `key`.
    pub fn section(&self, key: &str) -> Result<Self> {
        let mut path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        path.push(key);
        Self::new(self.source, &path, self.mapping.get(key))
    }

    /// The keys in the order of the file; each must be text.
    pub fn keys(&self) -> Result<Vec<String>> {
        self.mapping
            .keys()
            .map(|key| scalar(key, self.source, &[]).map_err(|_| self.error_here("every key must be text")))
            .collect()
    }

    /// Refuses keys other than `known`, with the nearest known one as a hint.
    pub fn only(&self, known: &[&str]) -> Result<()> {
        for key in self.keys()? {
            if !known.contains(&key.as_str()) {
                let error = self.error(&key, "unknown key");
                return Err(match nearest(&key, known) {
                    Some(near) => error.with_hint(format!("did you mean {near}?")),
                    None => error,
                });
            }
        }
        Ok(())
    }

    /// Text. A number or a boolean is refused: whoever means the word puts it in quotes.
    pub fn text(&self, key: &str) -> Result<Given<String>> {
        self.read(key, |value| match value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(_) | Value::Bool(_) => Err("expected text; put it in quotes".to_string()),
            _ => Err("expected text".to_string()),
        })
    }

    /// Text that is handed to a program: visible, and nothing that it would read as a flag.
    pub fn argument(&self, key: &str) -> Result<Given<String>> {
        let given = self.text(key)?;
        match &given {
            Given::Value(text) => {
                names::argument("it", text).map_err(|error| self.error(key, error.message()))?
            }
            Given::Absent | Given::Off => {}
        }
        Ok(given)
    }

    /// A whole number from zero up.
    pub fn count(&self, key: &str) -> Result<Given<u32>> {
        self.read(key, |value| {
            value
                .as_u64()
                .and_then(|number| u32::try_from(number).ok())
                .ok_or_else(|| "expected a whole number from 0 up".to_string())
        })
    }

    /// A whole number, negative ones included.
    pub fn integer(&self, key: &str) -> Result<Given<i64>> {
        self.read(key, |value| value.as_i64().ok_or_else(|| "expected a whole number".to_string()))
    }

    /// Yes or no.
    pub fn flag(&self, key: &str) -> Result<Given<bool>> {
        self.read(key, |value| value.as_bool().ok_or_else(|| "expected true or false".to_string()))
    }

    /// A number above zero, as amounts of money are.
    pub fn amount(&self, key: &str) -> Result<Given<f64>> {
        self.read(key, |value| {
            value
                .as_f64()
                .filter(|number| number.is_finite() && *number > 0.0)
                .ok_or_else(|| "expected a number above 0".to_string())
        })
    }

    /// A length of time: seconds, or text such as `15m`.
    pub fn length(&self, key: &str) -> Result<Given<Duration>> {
        self.read(key, |value| {
            let length = match value {
                Value::Number(number) => number.as_f64().and_then(duration::from_seconds),
                Value::String(text) => duration::parse(text),
                _ => None,
            };
            length.ok_or_else(|| "expected seconds or a length such as 90s, 15m, 2h or 1d".to_string())
        })
    }

    /// A limit on a length of time; `null`, `none` and 0 mean that there is none.
    pub fn limit(&self, key: &str) -> Result<Given<Duration>> {
        let given = self.read(key, |value| {
            let limit = match value {
                Value::Number(number) => number.as_f64().and_then(duration::from_seconds).map(Limit::of),
                Value::String(text) => Limit::parse(text),
                _ => None,
            };
            limit.ok_or_else(|| "expected seconds, a length such as 90s, 15m, 2h or 1d, or none".to_string())
        })?;
        Ok(match given {
            Given::Absent => Given::Absent,
            Given::Off | Given::Value(Limit(None)) => Given::Off,
            Given::Value(Limit(Some(length))) => Given::Value(length),
        })
    }

    /// A list of text; numbers in it read as their text, as arguments are often numbers.
    pub fn list(&self, key: &str) -> Result<Given<Vec<String>>> {
        self.read(key, |value| match value {
            Value::Sequence(items) => {
                let place = |n: usize| self.below([key.to_string(), n.to_string()]);
                items.iter().enumerate().map(|(n, item)| argument(item, self.source, &place(n))).collect()
            }
            _ => Err("expected a list of text".to_string()),
        })
    }

    fn below(&self, keys: impl IntoIterator<Item = String>) -> Vec<String> {
        self.path.iter().cloned().chain(keys).collect()
    }

    /// A mapping from text to text, in which numbers and booleans read as their text; a `null` value
    /// means "unset".
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

    /// Any value, turned into `T` by `convert`, whose error text is placed in the file.
    pub fn read<T>(
        &self,
        key: &str,
        convert: impl FnOnce(&Value) -> std::result::Result<T, String>,
    ) -> Result<Given<T>> {
        match self.mapping.get(key) {
            None => Ok(Given::Absent),
            Some(Value::Null) => Ok(Given::Off),
            Some(value) => convert(value).map(Given::Value).map_err(|reason| self.error(key, &reason)),
        }
    }

    /// An error about `key` of this mapping.
    pub fn error(&self, key: &str, reason: &str) -> Error {
        let mut path = self.path.clone();
        path.push(key.to_string());
        error_at(self.source, &path, reason)
    }

    /// An error about this mapping as a whole.
    pub fn error_here(&self, reason: &str) -> Error {
        error_at(self.source, &self.path, reason)
    }
}

/// The text of a scalar at `place`, a number as it is written there.
fn scalar(value: &Value, source: Source<'_>, place: &[String]) -> std::result::Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => match written_number(source.text, place) {
            // Unless the value was merged in from elsewhere.
            Some(text) if serde_yaml::from_str::<Value>(&text).is_ok_and(|found| found == *value) => Ok(text),
            _ if number.is_f64() => Err("expected text; put it in quotes".to_string()),
            _ => Ok(number.to_string()),
        },
        Value::Bool(flag) => Ok(flag.to_string()),
        _ => Err("expected text".to_string()),
    }
}

fn argument(value: &Value, source: Source<'_>, place: &[String]) -> std::result::Result<String, String> {
    match value {
        Value::Bool(_) => Err("expected a list of text; put each in quotes".to_string()),
        Value::Number(_) => scalar(value, source, place),
        _ => scalar(value, source, place).map_err(|_| "expected a list of text".to_string()),
    }
}

fn error_at(source: Source<'_>, path: &[String], reason: &str) -> Error {
    Error::config(format!("{}: {reason}", source.place(path)))
}

/// The known word that differs from `word` least, if it is near enough to be meant: one letter of
/// every three may be wrong.
pub fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .min()
        .filter(|(distance, candidate)| distance * 3 <= word.len().max(candidate.len()))
        .map(|(_, candidate)| candidate)
}

/// How many letters must be added, removed, replaced or swapped with their neighbour to turn one word
/// into the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
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
        let source = Source { file: "handoff.yaml", text: TEXT };
        Section::new(source, &["dispatch"], value.get("dispatch")).expect("a mapping")
    }

    #[test]
    fn silence_null_and_value_differ() {
        let section = dispatch();
        assert_eq!(section.count("missing").expect("absent"), Given::Absent);
        assert_eq!(section.count("retries").expect("null"), Given::Off);
        let quarter = Duration::from_secs(900);
        assert_eq!(section.length("timeout").expect("length"), Given::Value(quarter));
        assert_eq!(Given::Off.over(Some(1)), None);
        assert_eq!(Given::Absent.over(Some(1)), Some(1));
    }

    #[test]
    fn errors_name_file_line_and_key() {
        let routes = dispatch().section("routes").expect("a mapping");
        let error = routes
            .section("review")
            .and_then(|review| review.length("timeout"))
            .expect_err("soon is no length");
        assert_eq!(
            error.message(),
            "handoff.yaml line 9: dispatch.routes.review.timeout: expected seconds or a length such as 90s, 15m, 2h or 1d"
        );
        let error = routes
            .section("build it")
            .and_then(|route| route.only(&["timeout", "prompt"]))
            .expect_err("a misspelt key");
        assert_eq!(
            error.to_string(),
            "handoff.yaml line 12: dispatch.routes.build it.tiemout: unknown key; did you mean timeout?"
        );
    }

    #[test]
    fn a_key_in_braces_has_a_line_too() {
        let error = dispatch()
            .section("routes")
            .and_then(|routes| routes.section("review"))
            .and_then(|review| review.section("env"))
            .and_then(|env| env.list("A"))
            .expect_err("1 is no list");
        assert!(error.message().starts_with("handoff.yaml line 10: "), "{error}");
    }

    #[test]
    fn only_words_that_are_near_are_suggested() {
        let known = ["timeout", "env", "cwd", "vendor", "model", "lanes", "args"];
        for (word, near) in [
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
            assert_eq!(nearest(word, &known), near, "{word}");
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
