//! Parses YAML and JSON files that people write into a common form: a JSON object.
//!
//! The syntax follows what PyYAML accepts, since other implementations read the same files: a byte order mark,
//! CRLF, keys that are not text, merge keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Number, Value};

use super::depth;
use super::syntax::why_not_yaml;
use super::tree::Tree;
use crate::model::json::{self, Object};

/// The content of a YAML or JSON file.
#[derive(Debug, Default)]
pub(in crate::workspace) struct Document {
    /// Its keys and values.
    pub object: Object,
    /// The source text of numbers that JSON writes differently.
    pub written: Written,
    /// Whether the other numbers are exactly as written; the JSON parser normalizes exponents.
    pub is_exact: bool,
    /// Whether there may be a duplicate key; `false` is certain.
    pub may_repeat_a_key: bool,
    /// The whole text, for the lines of keys; empty unless it comes from a file.
    pub text: Arc<str>,
}

/// Returns the source text of the number at `path` (keys, and positions in lists) of a YAML or JSON text.
pub(crate) fn written_number(text: &str, path: &[String]) -> Option<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    depth::check(text).ok()?;
    match Tree::parse(text).ok()?.at(path)? {
        Tree::Number { written, .. } => Some(written.clone()),
        _ => None,
    }
}

/// Parses YAML, or JSON if the text starts like a JSON object.
///
/// What YAML supports and JSON does not becomes text: keys that are numbers or booleans, numbers that are not
/// finite. Numbers keep their notation where JSON allows it.
///
/// # Errors
/// The reason on one line, with line and column where they are known.
pub(in crate::workspace) fn parse(text: &str) -> Result<Document, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    depth::check(text)?;
    if looks_like_json(text) {
        // YAML allows a little more, such as a comma at the end; what neither can read was most
        // likely meant as JSON.
        return match json::parse_object(text.as_bytes()) {
            Ok(object) => Ok(Document { object, may_repeat_a_key: true, ..Document::default() }),
            Err(error) => parse_yaml(text).map_err(|_| error),
        };
    }
    parse_yaml(text)
}

/// Parses valid JSON as JSON, since YAML refuses tabs and rounds long numbers.
fn looks_like_json(text: &str) -> bool {
    text.trim_start().strip_prefix('{').is_some_and(|inner| inner.trim_start().starts_with(['"', '}']))
}

fn parse_yaml(text: &str) -> Result<Document, String> {
    match Tree::parse(text) {
        Ok(tree @ Tree::Map(_)) => {
            let mut written = Written::new();
            let may_repeat_a_key = tree.may_repeat_a_key();
            match to_json(tree, "", &mut written)? {
                Value::Object(object) => {
                    Ok(Document { object, written, is_exact: true, may_repeat_a_key, ..Document::default() })
                }
                _ => Ok(Document::default()),
            }
        }
        Ok(_) => Err("it must be a mapping: lines of the form `key: value`, or a JSON object".to_string()),
        Err(error) => {
            let mut message = why_not_yaml(&error.to_string());
            if let Some(at) = error.location() {
                if !message.contains(" line ") {
                    message.push_str(&format!(" at line {} column {}", at.line(), at.column()));
                }
                message.push_str(&near(text, at.line()));
            }
            Err(message)
        }
    }
}

/// Quotes a line of the text, or the line before it if it is blank.
fn near(text: &str, line: usize) -> String {
    let mut before: Vec<&str> = text.lines().take(line).collect();
    while before.pop_if(|line| line.trim().is_empty()).is_some() {}
    match before.last() {
        Some(words) => format!(", near '{}'", words.trim().chars().take(60).collect::<String>()),
        None => String::new(),
    }
}

/// Converts a value to the type of serde_yaml, for readers of the `dispatch` section.
pub(in crate::workspace) fn to_yaml(value: Value) -> serde_yaml::Value {
    match value {
        Value::Null => serde_yaml::Value::Null,
        Value::Bool(flag) => flag.into(),
        Value::Number(number) => {
            if let Some(whole) = number.as_i64() {
                whole.into()
            } else if let Some(whole) = number.as_u64() {
                whole.into()
            } else {
                number.as_f64().map_or(serde_yaml::Value::Null, Into::into)
            }
        }
        Value::String(text) => text.into(),
        Value::Array(items) => items.into_iter().map(to_yaml).collect(),
        Value::Object(object) => object
            .into_iter()
            .map(|(key, value)| (serde_yaml::Value::from(key), to_yaml(value)))
            .collect::<serde_yaml::Mapping>()
            .into(),
    }
}

/// The location of a number: the keys and positions that lead to it, each preceded by `/`.
pub(in crate::workspace) type Written = BTreeMap<String, String>;

/// Converts a tree to JSON, and records in `written`, by path, the source text of numbers that JSON writes
/// differently.
fn to_json(tree: Tree, path: &str, written: &mut Written) -> Result<Value, String> {
    Ok(match tree {
        Tree::Null => Value::Null,
        Tree::Bool(flag) => flag.into(),
        Tree::Number { value: None, written: text } | Tree::Text(text) => text.into(),
        Tree::Number { value: Some(number), written: text } => match as_json_number(&text) {
            Some(same) => Value::Number(same),
            None => {
                written.insert(path.to_string(), text);
                Value::Number(number)
            }
        },
        Tree::List(items) => items
            .into_iter()
            .enumerate()
            .map(|(n, item)| to_json(item, &format!("{path}/{n}"), written))
            .collect::<Result<_, _>>()?,
        Tree::Map(entries) => {
            let (mut object, mut merged) = (Object::new(), None);
            for (key, value) in entries {
                let key = key.scalar().unwrap_or_default().to_string();
                if key == "<<" {
                    merged = Some(value);
                    continue;
                }
                let value = to_json(value, &format!("{path}/{key}"), written)?;
                object.insert(key, value);
            }
            if let Some(merged) = merged {
                merge(&mut object, merged, path, written)?;
            }
            Value::Object(object)
        }
    })
}

/// Returns a number as it is written, if JSON allows that notation.
fn as_json_number(text: &str) -> Option<Number> {
    serde_json::from_str::<Number>(text).ok()?;
    // The parser returns exponents in a different notation.
    Some(Number::from_string_unchecked(text.to_string()))
}

/// Applies a merge key: `<<` names mappings whose keys replace those that are missing.
fn merge(object: &mut Object, merged: Tree, path: &str, written: &mut Written) -> Result<(), String> {
    let sources = match merged {
        Tree::List(items) => items,
        single => vec![single],
    };
    for source in sources {
        let Tree::Map(entries) = source else {
            return Err("'<<' takes mappings only".to_string());
        };
        let mut texts = Written::new();
        let Value::Object(source) = to_json(Tree::Map(entries), path, &mut texts)? else { continue };
        for (key, value) in source {
            if !object.contains_key(&key) {
                let place = format!("{path}/{key}");
                let below = format!("{place}/");
                let moved = texts.iter().filter(|(at, _)| **at == place || at.starts_with(&below));
                written.extend(moved.map(|(at, text)| (at.clone(), text.clone())));
                object.insert(key, value);
            }
        }
    }
    Ok(())
}

/// Returns a scalar as text; `None` for lists and mappings.
pub(in crate::workspace) fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Null | Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value(text: &str) -> Value {
        Value::Object(parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}")).object)
    }

    #[test]
    fn what_pyyaml_accepts_is_accepted() {
        assert_eq!(value("\u{feff}a: 1\r\nb: x\r\n"), json!({"a": 1, "b": "x"}));
        assert_eq!(value("a: 1\na: {b: 1, b: 2}\na: {b: 3, b: 4}\n"), json!({"a": {"b": 4}}));
        assert_eq!(
            value("base: &b {x: 1, y: 2}\nall:\n  <<: *b\n  y: 3\n"),
            json!({"base": {"x": 1, "y": 2}, "all": {"x": 1, "y": 3}})
        );
        assert_eq!(value("<<: [{a: 1}, {a: 2, b: 3}]"), json!({"a": 1, "b": 3}));
        assert_eq!(value("# only\n{a: 1}\n"), json!({"a": 1}));
    }

    #[test]
    fn what_json_lacks_becomes_text() {
        assert_eq!(
            value("1: a\ntrue: b\n~: c\n2.5: d\n"),
            json!({"1": "a", "true": "b", "null": "c", "2.5": "d"})
        );
        assert_eq!(
            value("a: .nan\nb: 2026-01-01\nc: ~\nd:\n"),
            json!({"a": ".nan", "b": "2026-01-01", "c": null, "d": null})
        );
    }

    #[test]
    fn json_keeps_tabs_and_long_numbers() {
        assert_eq!(value("\u{feff}\n{\n\t\"a\":\t[1],\n\t\"a\": 2\n}"), json!({"a": 2}));
        let long = "123456789012345678901234567890.5";
        assert_eq!(value(&format!("{{\"n\": {long}}}"))["n"].to_string(), long);
        assert_eq!(value("{}"), json!({}));
        assert_eq!(value("{\"a\": 1,}"), json!({"a": 1}));
    }

    #[test]
    fn bad_text_is_refused_with_its_place() {
        for (text, expected) in [
            ("a: [1\nb: 2", "line 2 column 2"),
            ("a: 1\n  b: 2\n", "line 2 column 4"),
            ("a:\n\t- b", "line 2 column 1"),
            ("a: !x 1", "tags such as !name are not supported at line 1 column 4"),
            ("? [a]\n: 1", "a key must be text, not a list or a mapping at line 1"),
            ("<<: 3", "'<<' takes mappings only"),
            ("a: *nope", "line 1 column 4"),
            ("{\"a\": 1\n\"b\": 2}", "line 2 column 1"),
            ("{a: 1, b", "line 2 column 1"),
            ("a: 1\n---\nb: 2\n", "more than one document"),
            ("- 1", "must be a mapping"),
            ("", "must be a mapping"),
            ("# nothing\n", "must be a mapping"),
            ("text", "must be a mapping"),
            ("a: &x [*x]", "line 1 column"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
        assert!(parse("a: 1\n  b: 2\n\n").unwrap_err().ends_with(", near 'b: 2'"));
        assert!(parse("a: [\n\n").unwrap_err().ends_with(", near 'a: ['"));
    }

    #[test]
    fn bombs_are_refused() {
        for deep in ["[", "{a: ", "- ", "? ", "[\n"] {
            let many = deep.repeat(1024 * 1024 / deep.len());
            let why = parse(&format!("a:\n- {many}")).unwrap_err();
            assert!(why.contains("nested") || why.contains("recursion"), "{why}");
        }
        let deep = format!("{{\"a\": {}", "[".repeat(500_000));
        assert!(parse(&deep).unwrap_err().contains("nested"));
        let mut wide = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
        for n in 1..12 {
            let aliases = format!("*a{},", n - 1).repeat(9);
            wide.push_str(&format!("a{n}: &a{n} [{aliases}]\n"));
        }
        assert!(parse(&wide).unwrap_err().contains("repetition"));
    }

    #[test]
    fn the_way_to_yaml_values_keeps_types() {
        let object = value("a: [1, 2.5, x, ~, true]\nb: {c: -1}\n");
        let expected: serde_yaml::Value =
            serde_yaml::from_str("a: [1, 2.5, x, ~, true]\nb: {c: -1}\n").unwrap();
        assert_eq!(to_yaml(object), expected);
    }
}
