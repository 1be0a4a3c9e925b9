//! Lenient reading of JSON lines that agents print, and typed access to their members.

use serde_json::Value;

use crate::model::json::escaped_unit;

/// Returns the JSON object on this line, if it is one and has a `type`. Bytes that are not UTF-8 become
/// replacement characters, and so does a lone surrogate, which a strict parser refuses: one broken character must
/// not lose a result.
pub(super) fn object(line: &[u8]) -> Option<Value> {
    let start = line.iter().position(|byte| !byte.is_ascii_whitespace())?;
    if line[start] != b'{' {
        return None;
    }
    let text = String::from_utf8_lossy(line);
    let value: Value = match serde_json::from_str(&text) {
        Ok(value) => value,
        Err(_) if text.contains("\\u") => serde_json::from_str(&without_lone_surrogates(&text)).ok()?,
        Err(_) => return None,
    };
    value.get("type")?.as_str()?;
    Some(value)
}

/// Returns the text at `key`, or an empty string if it is missing or not text.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Returns the text at `key` if it is not empty.
pub(super) fn some_text(value: &Value, key: &str) -> Option<String> {
    Some(text(value, key)).filter(|text| !text.is_empty()).map(str::to_string)
}

/// Returns the count at `key`.
pub(super) fn count(value: &Value, key: &str) -> Option<u64> {
    value.get(key)?.as_u64()
}

/// Returns the amount at `key` if it is finite and not negative.
pub(super) fn amount(value: &Value, key: &str) -> Option<f64> {
    value.get(key)?.as_f64().filter(|amount| amount.is_finite() && *amount >= 0.0)
}

/// Returns the HTTP status at `key`.
pub(super) fn status(value: &Value, key: &str) -> Option<u16> {
    u16::try_from(count(value, key)?).ok()
}

/// Returns the HTTP status that a message names: "last status: 429 Too Many Requests", `"code":400`.
pub(crate) fn status_in(message: &str) -> Option<u16> {
    const NAMES: [&str; 5] = ["status", "code", "api error", "http", "statuscode"];
    let lower = message.to_ascii_lowercase();
    let named = NAMES.iter().flat_map(|name| lower.match_indices(name));
    let found = named.filter_map(|(at, name)| {
        let rest = lower[at + name.len()..].trim_start_matches([':', ' ', '"', '\\', '=', '(']);
        let digits = rest.find(|c: char| !c.is_ascii_digit()).map_or(rest, |end| &rest[..end]);
        let is_whole = !rest[digits.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '.');
        let status = digits.parse().ok().filter(|status| digits.len() == 3 && (400..600).contains(status));
        Some((at, status.filter(|_| is_whole)?))
    });
    // The first one is the outer status; a body that is quoted after it may contain others.
    found.min_by_key(|(at, _)| *at).map(|(_, status)| status)
}

/// Replaces every lone surrogate escape (`\uD800`…`\uDFFF`) in a JSON text.
fn without_lone_surrogates(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = &rest[at..];
        let taken = match escaped_unit(escape) {
            Some(0xd800..=0xdbff)
                if matches!(escape.get(6..).and_then(escaped_unit), Some(0xdc00..=0xdfff)) =>
            {
                12
            }
            Some(0xd800..=0xdfff) => {
                out.push('\u{fffd}');
                rest = &escape[6..];
                continue;
            }
            Some(_) => 6,
            // An ordinary escape such as \\ or \n: two characters, copied together.
            None => escape.chars().take(2).map(char::len_utf8).sum(),
        };
        out.push_str(&escape[..taken]);
        rest = &escape[taken..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lone_surrogates_do_not_lose_the_line() {
        let line = br#"{"type":"result","result":"a\ud83d b\udc00 \\ud800 \ud83d\ude00"}"#;
        let value = object(line).expect("readable");
        assert_eq!(text(&value, "result"), "a\u{fffd} b\u{fffd} \\ud800 \u{1f600}");
    }

    #[test]
    fn a_status_is_found_in_a_message() {
        for (message, expected) in [
            ("exceeded retry limit, last status: 429 Too Many Requests", Some(429)),
            ("unexpected status 400 Bad Request: {\"error\":{\"status\":\"INVALID\"}}", Some(400)),
            ("{\"type\":\"error\",\"status\":400,\"error\":{}}", Some(400)),
            ("{\\\"code\\\": 404}", Some(404)),
            ("API Error: 529 Overloaded", Some(529)),
            ("HTTP 503", Some(503)),
            ("exited with code 1", None),
            ("code 4000", None),
            ("status 200 OK", None),
        ] {
            assert_eq!(status_in(message), expected, "{message}");
        }
    }

    #[test]
    fn amounts_are_finite_and_not_negative() {
        let value = object(br#"{"type":"x","a":0.5,"b":-1,"c":1e999,"d":"1"}"#).expect("an object");
        assert_eq!(amount(&value, "a"), Some(0.5));
        for key in ["b", "c", "d", "e"] {
            assert_eq!(amount(&value, key), None, "{key}");
        }
    }
}
