//! YAML and JSON files that people write, read into one form: a JSON object.
//!
//! The shape follows what PyYAML accepts, since the same files are read by other implementations:
//! duplicate keys (the last wins), a byte order mark, CRLF, keys that are not text, merge keys.

use std::fmt;

use serde::de::{Deserialize, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

use crate::model::json::{self, Object};

/// Parses YAML, or JSON if the text starts with `{`.
///
/// What YAML has and JSON lacks becomes text: keys that are numbers or booleans, numbers that are
/// not finite.
///
/// # Errors
/// One line that says what is wrong, with line and column where they are known.
pub(super) fn parse(text: &str) -> Result<Object, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_start().starts_with('{') {
        // A flow mapping of YAML may start so too; then JSON's complaint would mislead.
        return json::parse_object(text.as_bytes()).or_else(|error| parse_yaml(text).map_err(|_| error));
    }
    parse_yaml(text)
}

fn parse_yaml(text: &str) -> Result<Object, String> {
    match serde_yaml::from_str(text) {
        Ok(Node(Value::Object(object))) => Ok(object),
        Ok(_) => Err("it must be a mapping: lines of the form `key: value`".to_string()),
        Err(error) => {
            let message = error.to_string();
            match error.location() {
                Some(at) if !message.contains(" line ") => {
                    Err(format!("{message} at line {} column {}", at.line(), at.column()))
                }
                _ => Err(message),
            }
        }
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
