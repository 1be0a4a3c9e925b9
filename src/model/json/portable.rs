//! JSON that every reader accepts.
//!
//! A task may contain values that only some languages support: integers of thousands of digits, numbers outside
//! the range of a double, `NaN`, lone surrogates, deep nesting. The store keeps them unchanged. In a listing, one
//! such value would hide all other tasks from a reader that refuses the whole text, so listings contain them as
//! strings.

use serde_json::Value;

use super::{Object, SURROGATE_MARK, to_line, to_text};

/// The longest number, in characters. Python reads integers of at most 4,300 digits, Jackson numbers of 1,000.
const MAX_NUMBER: usize = 1000;

/// The deepest nesting of values. The limits of common readers are 64, 100 and 128 levels.
const MAX_DEPTH: usize = 56;

/// Formats an object as [`to_text`] does, with values that some readers refuse as strings.
pub(crate) fn portable_text(object: &Object) -> String {
    portable(object, to_text)
}

/// Formats an object as [`to_line`] does, with values that some readers refuse as strings.
pub(crate) fn portable_line(object: &Object) -> String {
    portable(object, to_line)
}

fn portable(object: &Object, write: fn(&Object) -> String) -> String {
    if object.values().all(|value| is_portable(value, 1)) {
        let text = write(object);
        // A placeholder in memory, a lone surrogate in the file.
        if !has_lone_surrogate(&text) {
            return text;
        }
    }
    write(&object.iter().map(|(key, value)| (escape_lone_surrogates(key), to_portable(value, 1))).collect())
}

/// Returns whether written text contains the escape of a lone surrogate. Other characters of that range are
/// never escaped, so no other escape begins with these letters.
fn has_lone_surrogate(text: &str) -> bool {
    let is_escape = |at: usize| {
        let before = text.as_bytes()[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
        before % 2 == 0
    };
    text.match_indices("\\ud").any(|(at, _)| is_escape(at))
}

fn is_portable(value: &Value, depth: usize) -> bool {
    match value {
        Value::Number(number) => is_portable_number(number.as_str()),
        Value::Array(items) => depth < MAX_DEPTH && items.iter().all(|item| is_portable(item, depth + 1)),
        Value::Object(object) => {
            depth < MAX_DEPTH && object.values().all(|item| is_portable(item, depth + 1))
        }
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

fn is_portable_number(text: &str) -> bool {
    // Any number of up to sixteen digits without an exponent fits a double.
    let is_short = text.len() <= 16 && text.bytes().all(|byte| byte.is_ascii_digit());
    is_short || (text.len() <= MAX_NUMBER && text.parse::<f64>().is_ok_and(f64::is_finite))
}

fn to_portable(value: &Value, depth: usize) -> Value {
    match value {
        Value::Number(number) if !is_portable_number(number.as_str()) => number.as_str().into(),
        Value::String(text) => escape_lone_surrogates(text).into(),
        Value::Array(_) | Value::Object(_) if depth >= MAX_DEPTH => {
            escape_lone_surrogates(&value.to_string()).into()
        }
        Value::Array(items) => items.iter().map(|item| to_portable(item, depth + 1)).collect(),
        Value::Object(object) => object
            .iter()
            .map(|(key, value)| (escape_lone_surrogates(key), to_portable(value, depth + 1)))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// Returns a text with lone surrogates written as their escapes.
fn escape_lone_surrogates(text: &str) -> String {
    text.replace(SURROGATE_MARK, "\\u")
}

#[cfg(test)]
mod tests {
    use super::super::parse_object;
    use super::*;

    fn written(text: &str) -> String {
        portable_line(&parse_object(text.as_bytes()).unwrap()).trim_end().to_string()
    }

    #[test]
    fn what_every_reader_takes_is_written_as_it_is() {
        let nested = format!("{}1{}", "[".repeat(50), "]".repeat(50));
        for value in [
            "0",
            "-0",
            "1.10",
            "1e+300",
            "1e-999",
            "12345678901234567890123456789012345678901234567890",
            "\"😀 \\\\ud800 \\\\\"",
            "[null,true,{\"b\":[1.5]}]",
            &nested,
        ] {
            let text = format!("{{\"a\":{value}}}");
            assert_eq!(written(&text), text);
            assert_eq!(
                portable_line(&parse_object(text.as_bytes()).unwrap()),
                to_line(&parse_object(text.as_bytes()).unwrap())
            );
        }
    }

    #[test]
    fn what_some_reader_refuses_is_written_as_text() {
        let digits = "7".repeat(5000);
        for value in [&digits, &format!("-{digits}.5"), "1e999", "-1e999", "NaN", "Infinity", "-Infinity"] {
            let text = written(&format!("{{\"a\": [{value}], \"b\": 1}}"));
            assert_eq!(text.replace("e+", "e"), format!("{{\"a\":[\"{value}\"],\"b\":1}}"));
        }
        assert_eq!(written("{\"a\": \"x\\ud800y\"}"), "{\"a\":\"x\\\\ud800y\"}");
        assert_eq!(written("{\"k\\udfff\": {\"\\ud800\": 1}}"), "{\"k\\\\udfff\":{\"\\\\ud800\":1}}");
    }

    #[test]
    fn deep_values_are_written_as_text_and_nothing_around_them() {
        let deep = format!("{{\"a\": {}{{\"n\": NaN}}{}, \"b\": [[2]]}}", "[".repeat(100), "]".repeat(100));
        let text = written(&deep);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["b"].to_string(), "[[2]]");
        let mut inner = &value["a"];
        let mut levels = 1;
        while let Some(item) = inner.get(0) {
            inner = item;
            levels += 1;
        }
        assert_eq!(levels, MAX_DEPTH);
        assert!(inner.as_str().unwrap().contains("{\"n\":NaN}"), "{inner}");
    }
}
