//! Reads JSON from clients, and accepts only what every program reads in the same way.

use std::collections::HashSet;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::{Deserializer, Value};

use crate::error::{Error, Result};
use crate::model::json::{Object, why_not_json};

/// How deep a body may be nested, in levels.
const MAX_DEPTH: usize = 64;
/// How many values a body may have: the members and items of all levels together. A parsed value takes many times
/// the two bytes that its text may have.
const MAX_VALUES: usize = 100_000;

/// Reads a body, which must be one JSON object without duplicate keys, not nested too deep and without too many
/// values. The values of members that are not `known` are replaced by null.
///
/// # Errors
/// `Invalid` with what is wrong with the body.
pub(crate) fn parse(bytes: &[u8], known: impl Fn(&str) -> bool) -> Result<Object> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::invalid("the body is not UTF-8 text"))?;
    check(text)?;
    let mut reader = Deserializer::from_str(text);
    let read = reader.deserialize_map(Members(known)).and_then(|object| reader.end().map(|()| object));
    read.map_err(|error| {
        if error.is_data() { Error::invalid("the body is not a JSON object") } else { not_json(&error) }
    })
}

fn not_json(error: &serde_json::Error) -> Error {
    Error::invalid(format!("the body is not JSON: {}", why_not_json(error)))
}

/// Builds the members of an object that are known.
struct Members<F>(F);

impl<'de, F: Fn(&str) -> bool> Visitor<'de> for Members<F> {
    type Value = Object;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> std::result::Result<Object, A::Error> {
        let mut object = Object::new();
        while let Some(key) = members.next_key::<String>()? {
            let value = if (self.0)(&key) {
                members.next_value()?
            } else {
                members.next_value::<IgnoredAny>()?;
                Value::Null
            };
            object.insert(key, value);
        }
        Ok(object)
    }
}

/// Checks keys, depth and number of values only; the parser checks everything else.
fn check(text: &str) -> Result<()> {
    let bytes = text.as_bytes();
    // The keys of each open object; lists have none.
    let mut open: Vec<HashSet<String>> = Vec::new();
    let (mut at, mut values) = (0, 0);
    while at < bytes.len() {
        if matches!(bytes[at], b'{' | b'[' | b',') {
            values += 1;
        }
        match bytes[at] {
            b'{' | b'[' => open.push(HashSet::new()),
            b'}' | b']' => drop(open.pop()),
            b'"' => {
                let end = string_end(bytes, at);
                // The parser does not check the surrogates of values that it skips.
                if text[at..end].contains("\\u") {
                    serde_json::from_str::<String>(&text[at..end]).map_err(|error| not_json(&error))?;
                }
                let is_key = text[end..].trim_start().starts_with(':');
                if let (true, Some(keys)) = (is_key, open.last_mut())
                    && let Ok(key) = serde_json::from_str::<String>(&text[at..end])
                    && !keys.insert(key)
                {
                    return Err(Error::invalid("the body has the same key twice in one object"));
                }
                at = end;
                continue;
            }
            _ => {}
        }
        if open.len() > MAX_DEPTH {
            return Err(Error::invalid(format!("the body is nested deeper than {MAX_DEPTH} levels")));
        }
        if values > MAX_VALUES {
            return Err(Error::invalid(format!("the body has more than {MAX_VALUES} values")));
        }
        at += 1;
    }
    Ok(())
}

/// Returns where the string that begins at `start` ends.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(text: &str) -> String {
        parse(text.as_bytes(), |key| key != "unknown")
            .map_or_else(|error| error.to_string(), |_| "fine".to_string())
    }

    #[test]
    fn only_plain_objects_pass() {
        assert_eq!(why("{\"a\": [{\"b\": 1}, {\"b\": 2}], \"b\": \"a\\\"a\", \"c\": \"b\"}"), "fine");
        assert_eq!(why("[1]"), "the body is not a JSON object");
        for twice in ["{\"a\": 1, \"a\": 2}", "{\"a\": 1, \"\\u0061\" : 2}", "{\"x\": {\"a\": 1, \"a\": []}}"]
        {
            assert!(why(twice).contains("same key twice"), "{twice}");
        }
        for bad in [
            "",
            "{",
            "{\"a\": NaN}",
            "{\"a\": 1}}",
            "nul",
            "{\"a\": \"\\",
            "{\"a\": \"\\ud800\"}",
            "\"\\é",
            "{\"unknown\": [\"\\ud800\"]}",
        ] {
            assert!(why(bad).starts_with("the body is not JSON"), "{bad}: {}", why(bad));
        }
        let deep = format!("{{\"a\": {}1{}}}", "[".repeat(100), "]".repeat(100));
        assert!(why(&deep).contains("nested deeper"));
        for many in ["0", "[]", "{\"a\": 1}", "\"\""] {
            let list = |count: usize| format!("{{\"a\": [{}]}}", vec![many; count].join(","));
            assert!(why(&list(MAX_VALUES)).contains("more than 100000 values"), "{many}");
            assert_eq!(why(&list(MAX_VALUES / 3)), "fine", "{many}");
        }
        assert_eq!(parse(&[b'{', 0xff], |_| true).unwrap_err().to_string(), "the body is not UTF-8 text");
    }

    #[test]
    fn what_is_not_known_is_not_built() {
        let object =
            parse(b"{\"a\": [1.50], \"b\": [1, {\"c\": null}], \"\\u0063\": \"\\n\"}", |key| key != "b");
        assert_eq!(Value::Object(object.unwrap()).to_string(), r#"{"a":[1.50],"b":null,"c":"\n"}"#);
        assert!(why("{\"a\": [1,]}").starts_with("the body is not JSON"));
    }
}
