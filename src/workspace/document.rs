//! YAML and JSON files that people write, read into one form: a JSON object.
//!
//! The shape follows what PyYAML accepts, since the same files are read by other implementations:
//! duplicate keys (the last wins), a byte order mark, CRLF, keys that are not text, merge keys.

use std::fmt;

use serde::de::{Deserialize, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

use super::nesting;
use crate::model::json::{self, Object};

/// Parses YAML, or JSON if the text starts like a JSON object.
///
/// What YAML has and JSON lacks becomes text: keys that are numbers or booleans, numbers that are
/// not finite.
///
/// # Errors
/// One line that says what is wrong, with line and column where they are known.
pub(super) fn parse(text: &str) -> Result<Object, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    nesting::check(text)?;
    if looks_like_json(text) {
        // YAML allows a little more, such as a comma at the end; what neither can read was most
        // likely meant as JSON.
        return json::parse_object(text.as_bytes()).or_else(|error| parse_yaml(text).map_err(|_| error));
    }
    parse_yaml(text)
}

/// JSON proper is read as such, since YAML refuses tabs and rounds long numbers.
fn looks_like_json(text: &str) -> bool {
    text.trim_start().strip_prefix('{').is_some_and(|inner| inner.trim_start().starts_with(['"', '}']))
}

fn parse_yaml(text: &str) -> Result<Object, String> {
    match serde_yaml::from_str(text) {
        Ok(Node(Value::Object(object))) => Ok(object),
        Ok(_) => Err("it must be a mapping: lines of the form `key: value`".to_string()),
        Err(error) => {
            let mut message = error.to_string();
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

/// What stands in a line of the text, or before it if there is nothing.
fn near(text: &str, line: usize) -> String {
    let mut before: Vec<&str> = text.lines().take(line).collect();
    while before.pop_if(|line| line.trim().is_empty()).is_some() {}
    match before.last() {
        Some(words) => format!(", near '{}'", words.trim().chars().take(60).collect::<String>()),
        None => String::new(),
    }
}

/// A value as serde_yaml's own type holds it, for readers of the `dispatch` section.
pub(super) fn to_yaml(value: Value) -> serde_yaml::Value {
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

/// A value on its way from YAML to JSON.
struct Node(Value);

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor).map(Node)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(flag.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_i128<E>(self, number: i128) -> Result<Value, E> {
        Ok(big(number))
    }

    fn visit_u128<E>(self, number: u128) -> Result<Value, E> {
        Ok(big(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or_else(|| number.to_string().into(), Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Node(item)) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut object = Object::new();
        while let Some(Node(key)) = access.next_key()? {
            let Some(key) = scalar_text(&key) else {
                return Err(A::Error::custom("a key must be text, not a list or a mapping"));
            };
            let Node(value) = access.next_value()?;
            object.insert(key, value);
        }
        merge(&mut object).map_err(A::Error::custom)?;
        Ok(Value::Object(object))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _access: A) -> Result<Value, A::Error> {
        Err(A::Error::custom("tags such as !name are not supported"))
    }
}

fn big(number: impl fmt::Display) -> Value {
    // An integer's decimal digits are a JSON number.
    Value::Number(Number::from_string_unchecked(number.to_string()))
}

/// Carries out a merge key: `<<` names mappings whose keys stand in for those that are missing.
fn merge(object: &mut Object) -> Result<(), &'static str> {
    let sources = match object.remove("<<") {
        None => return Ok(()),
        Some(Value::Array(items)) => items,
        Some(single) => vec![single],
    };
    for source in sources {
        let Value::Object(source) = source else {
            return Err("'<<' takes mappings only");
        };
        for (key, value) in source {
            object.entry(key).or_insert(value);
        }
    }
    Ok(())
}

/// A value without parts as text; `None` for lists and mappings.
pub(super) fn scalar_text(value: &Value) -> Option<String> {
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
        Value::Object(parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}")))
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
            json!({"a": "NaN", "b": "2026-01-01", "c": null, "d": null})
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
        for (text, words) in [
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
            assert!(error.contains(words), "{text:?}: {error}");
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
