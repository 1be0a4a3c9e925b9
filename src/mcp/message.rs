//! One line from a client: a message for the SDK, or the error that answers it.
//!
//! The SDK's own reader ignores lines that are not JSON, so that the client never gets an answer. Here, every
//! line that may have been meant as a request gets an answer.

use std::borrow::Cow;

use rmcp::model::{ClientJsonRpcMessage, ErrorCode};
use serde_json::{Value, json};

use crate::model::json::{BYTE_ORDER_MARK, escaped_unit, why_not_json};

/// The longest line, in bytes.
pub(super) const MAX_LINE: usize = 8 * 1024 * 1024;
/// How deep objects and lists may be nested.
const MAX_NESTING: usize = 64;
/// How many values a message may have: the members and items of all levels together. A parsed value takes many times
/// the two bytes that its text may have.
const MAX_VALUES: usize = 100_000;

/// What a line from a client is.
#[derive(Debug)]
pub(super) enum Incoming {
    /// A message.
    Message(Box<ClientJsonRpcMessage>),
    /// Not a valid message; this is the answer.
    Refused(Value),
    /// Nothing to answer: a blank line, or an unknown notification.
    Nothing,
}

/// Returns the answer to a line of more than [`MAX_LINE`] bytes.
pub(super) fn too_long() -> Incoming {
    refused(None, ErrorCode::INVALID_REQUEST, format!("a message has more than {MAX_LINE} bytes"))
}

/// Reads a line.
pub(super) fn read_line(line: &[u8]) -> Incoming {
    let parse_error = |why: String| refused(None, ErrorCode::PARSE_ERROR, why);
    let Ok(text) = std::str::from_utf8(line) else {
        return parse_error("a message is not UTF-8 text".to_string());
    };
    let text = text.trim_start_matches(BYTE_ORDER_MARK).trim();
    if text.is_empty() {
        return Incoming::Nothing;
    }
    let (depth, values) = extent(text);
    if depth > MAX_NESTING {
        return parse_error(format!("a message is nested more than {MAX_NESTING} deep"));
    }
    if values > MAX_VALUES {
        return parse_error(format!("a message has more than {MAX_VALUES} values"));
    }
    match serde_json::from_str(&without_lone_surrogates(text)) {
        Ok(value) => read_value(value),
        Err(error) => parse_error(format!("a message is not valid JSON: {}", why_not_json(&error))),
    }
}

fn read_value(value: Value) -> Incoming {
    let invalid = |id, why: &str| refused(id, ErrorCode::INVALID_REQUEST, why.to_string());
    let object = match &value {
        Value::Object(object) => object,
        Value::Array(_) => return invalid(None, "batches are not supported; send one message a line"),
        _ => return invalid(None, "a message must be an object"),
    };
    let id = object.get("id").cloned();
    if id.as_ref().is_some_and(|id| !id.is_string() && id.as_i64().is_none()) {
        return invalid(None, "an id must be a string or an integer");
    }
    if object.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return invalid(id, "'jsonrpc' must be \"2.0\"");
    }
    let is_reply = object.contains_key("result") || object.contains_key("error");
    match object.get("method") {
        Some(Value::String(_)) => {}
        None if is_reply => return Incoming::Nothing,
        _ => return invalid(id, "'method' must be a string"),
    }
    match serde_json::from_value(value) {
        Ok(message) => Incoming::Message(Box::new(message)),
        Err(_) if id.is_none() => Incoming::Nothing,
        Err(_) => refused(id, ErrorCode::INVALID_PARAMS, "'params' must be an object".to_string()),
    }
}

/// Makes the error that answers a line. An unknown id is null; the SDK's own error type would omit it.
fn refused(id: Option<Value>, code: ErrorCode, message: String) -> Incoming {
    let error = json!({"code": code.0, "message": message});
    Incoming::Refused(json!({"jsonrpc": "2.0", "id": id, "error": error}))
}

/// Returns how deep objects and lists are nested in a text, which need not be valid JSON, and at most how many values
/// it has.
fn extent(text: &str) -> (usize, usize) {
    let (mut depth, mut deepest, mut values) = (0_usize, 0, 1);
    let (mut is_in_string, mut is_escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_in_string => is_escaped = true,
            b'"' => is_in_string = !is_in_string,
            b'{' | b'[' if !is_in_string => {
                depth += 1;
                deepest = deepest.max(depth);
                values += 1;
            }
            b'}' | b']' if !is_in_string => depth = depth.saturating_sub(1),
            b',' if !is_in_string => values += 1,
            _ => {}
        }
    }
    (deepest, values)
}

/// Replaces unpaired surrogate escapes by U+FFFD. They come from clients that cut a text between the two halves
/// of a character.
fn without_lone_surrogates(text: &str) -> Cow<'_, str> {
    const REPLACEMENT: &str = "\\ufffd";
    if !text.contains("\\ud") && !text.contains("\\uD") {
        return Cow::Borrowed(text);
    }
    let mut repaired = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        repaired.push_str(&rest[..at]);
        rest = &rest[at..];
        let is_low = |unit: u32| (0xdc00..0xe000).contains(&unit);
        let next = rest.get(6..).and_then(escaped_unit);
        let (written, length) = match escaped_unit(rest) {
            Some(0xd800..0xdc00) if next.is_some_and(is_low) => (&rest[..12], 12),
            Some(0xd800..0xe000) => (REPLACEMENT, 6),
            Some(_) => (&rest[..6], 6),
            // Any other escape consists of two characters.
            None => {
                let length = 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
                (&rest[..length], length)
            }
        };
        repaired.push_str(written);
        rest = &rest[length..];
    }
    repaired.push_str(rest);
    Cow::Owned(repaired)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer to a line, as text; `message` or `nothing` for the other cases.
    fn read(line: &str) -> String {
        match read_line(line.as_bytes()) {
            Incoming::Message(_) => "message".to_string(),
            Incoming::Refused(answer) => answer.to_string(),
            Incoming::Nothing => "nothing".to_string(),
        }
    }

    #[test]
    fn every_line_is_a_message_or_has_an_answer_unless_none_is_expected() {
        for line in [
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
            r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"wait","arguments":{"seconds":1.5}}}"#,
            r#"{"jsonrpc":"2.0","id":2,"method":"nobody/knows","params":{}}"#,
            "\u{feff}{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\r",
        ] {
            assert_eq!(read(line), "message", "{line}");
        }
        for line in [
            "",
            "  \r",
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            r#"{"jsonrpc":"2.0","method":"x","params":3}"#,
        ] {
            assert_eq!(read(line), "nothing", "{line}");
        }
        for (line, code, id) in [
            ("{", -32700, "null"),
            ("nonsense", -32700, "null"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":NaN}}"#, -32700, "null"),
            (&"[".repeat(10_000), -32700, "null"),
            ("[]", -32600, "null"),
            ("3", -32600, "null"),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600, "null"),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, -32600, "null"),
            (r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#, -32600, "null"),
            (r#"{"jsonrpc":"2.0","id":99999999999999999999,"method":"ping"}"#, -32600, "null"),
            (r#"{"id":1,"method":"ping"}"#, -32600, "1"),
            (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, -32600, "1"),
            (r#"{"jsonrpc":"2.0","id":"x"}"#, -32600, r#""x""#),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}"#, -32602, "1"),
        ] {
            let answer: Value = serde_json::from_str(&read(line)).unwrap();
            let shown = &line[..line.len().min(60)];
            assert_eq!(answer["error"]["code"].as_i64(), Some(code), "{shown}");
            assert_eq!(answer["id"].to_string(), id, "{shown}");
            assert!(answer.as_object().unwrap().contains_key("id"), "{shown}");
        }
        assert!(matches!(read_line(b"\xff"), Incoming::Refused(_)));
    }

    #[test]
    fn brackets_in_strings_are_not_nesting() {
        assert_eq!(extent(r#"{"a":["[[,[[\"[[",{}]}"#), (3, 5));
        assert_eq!(extent("]]]["), (1, 2));
    }

    #[test]
    fn a_message_has_a_limited_number_of_values() {
        let message = |values: usize| {
            let list = vec!["0"; values].join(",");
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"_meta":{{"x":[{list}]}}}}}}"#)
        };
        assert_eq!(read(&message(MAX_VALUES - 20)), "message");
        let refused = read(&message(MAX_VALUES));
        assert!(refused.contains("-32700") && refused.contains("more than 100000 values"), "{refused}");
    }

    #[test]
    fn half_a_character_is_replaced() {
        for (text, repaired) in [
            (r#""a\ud83d\ude00""#, r#""a\ud83d\ude00""#),
            (r#""a\ud83d""#, r#""a\ufffd""#),
            (r#""\ude00b\uD83Dc""#, r#""\ufffdb\ufffdc""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\n\u00e9 é""#, r#""\n\u00e9 é""#),
        ] {
            assert_eq!(without_lone_surrogates(text), repaired);
            serde_json::from_str::<String>(repaired).unwrap();
        }
    }
}
