//! JSON as other implementations write it: read without loss and written in their style.
//!
//! Python writes what RFC 8259 forbids: `NaN`, `Infinity` and lone surrogates. Such a value must not make a
//! task unreadable, and the next write must not change it. A text that the strict parser refuses is
//! therefore parsed a second time with placeholders for these values, which [`to_text`] converts back. The
//! same is done for a text that may contain a key reserved by serde_json, which the parser would take for
//! a number.

mod portable;
pub(crate) mod raw;
mod syntax;

pub(crate) use portable::{portable_line, portable_text};
use serde_json::{Map, Number, Value};
pub(crate) use syntax::why_not_json;

/// A JSON object; keys are kept sorted.
pub type Object = Map<String, Value>;

/// Parses a JSON object. Of duplicate keys the last one wins. Values are nested at most 127 levels deep, as in
/// serde_json.
///
/// # Errors
/// The reason, if `bytes` is not a JSON object.
pub fn parse_object(bytes: &[u8]) -> Result<Object, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8 text".to_string())?;
    match parse_value(text)? {
        Value::Object(object) => Ok(object),
        _ => Err("not a JSON object".to_string()),
    }
}

/// The byte order mark that editors on Windows put at the start of a text.
pub(crate) const BYTE_ORDER_MARK: char = '\u{feff}';

/// Returns a line without its byte order mark, which precedes the first line of a file, and of every file that
/// was appended to another.
pub(crate) fn strip_byte_order_mark(line: &[u8]) -> &[u8] {
    line.strip_prefix(BYTE_ORDER_MARK.to_string().as_bytes()).unwrap_or(line)
}

/// Parses a JSON object on one line of a file; the caller adds the line number to the error.
///
/// # Errors
/// As [`parse_object`], with the column but without the line.
pub(crate) fn parse_line(line: &[u8]) -> Result<Object, String> {
    parse_object(strip_byte_order_mark(line)).map_err(|why| match why.rsplit_once(" at line 1 column ") {
        Some((what, column)) => format!("not JSON: {what} at column {column}"),
        None => why,
    })
}

fn parse_value(text: &str) -> Result<Value, String> {
    let strict = serde_json::from_str::<Value>(text).map_err(|error| why_not_json(&error));
    // serde_json reads an object whose first key is `$serde_json::private::Number` as a number.
    let may_be_misread = text.contains("\"$") || text.contains("\"\\u0024");
    if strict.is_ok() && !may_be_misread {
        return strict;
    }
    let Some(lenient) = with_placeholders(text) else { return strict };
    match serde_json::from_str::<Value>(&lenient) {
        Ok(mut value) => {
            restore_placeholders(&mut value);
            Ok(value)
        }
        Err(error) => Err(strict.err().unwrap_or_else(|| why_not_json(&error))),
    }
}

/// Formats an object as text: indented by two spaces, keys sorted, newline at the end, non-ASCII unescaped.
pub fn to_text(object: &Object) -> String {
    // Serializing a map of JSON values to memory cannot fail.
    let mut text = serde_json::to_string_pretty(object).unwrap_or_default();
    text.push('\n');
    restore_surrogates(text)
}

/// Formats an object as one line, non-ASCII unescaped, newline at the end.
pub fn to_line(object: &Object) -> String {
    let mut line = restore_surrogates(serde_json::to_string(object).unwrap_or_default());
    line.push('\n');
    line
}

/// Formats an object as one line of a JSON Lines file: pure ASCII, because agent-lanes splits lines at U+2028,
/// U+2029 and U+0085 as well.
pub fn to_ascii_line(object: &Object) -> String {
    let mut line = to_ascii(&restore_surrogates(serde_json::to_string(object).unwrap_or_default()));
    line.push('\n');
    line
}

/// Returns a JSON text with all characters outside of ASCII as escapes.
pub(crate) fn to_ascii(text: &str) -> String {
    let mut ascii = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if c.is_ascii() && c != '\u{7f}' {
            ascii.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    ascii
}

/// The prefix of a placeholder for a number that JSON cannot express; one of [`NUMBERS`] follows.
const NUMBER_MARK: &str = "\u{10F7FF}number:";

/// What Python writes for numbers that JSON cannot express.
const NUMBERS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// The prefix of a placeholder for a lone surrogate; its four hex digits follow.
const SURROGATE_MARK: &str = "\u{10F7FF}surrogate:";

/// The prefix of a string that could be taken for a key reserved by serde_json.
const STRING_MARK: &str = "\u{10F7FF}string:";
const STRING_MARK_START: char = '\u{10F7FF}';

fn with_placeholders(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len() + 64);
    let mut at = 0;
    let mut in_string = false;
    let mut changed = false;
    while at < bytes.len() {
        let rest = &text[at..];
        if in_string {
            if let Some(unit) = escaped_unit(rest) {
                let low = escaped_unit(&rest[6..]).filter(|low| (0xDC00..0xE000).contains(low));
                match unit {
                    0xD800..0xDC00 if low.is_some() => {
                        out.push_str(&rest[..12]);
                        at += 12;
                    }
                    0xD800..0xE000 => {
                        out.push_str(&format!("{SURROGATE_MARK}{unit:04x}"));
                        changed = true;
                        at += 6;
                    }
                    _ => {
                        out.push_str(&rest[..6]);
                        at += 6;
                    }
                }
                continue;
            }
            if bytes[at] == b'\\' {
                let length = 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
                out.push_str(&rest[..length]);
                at += length;
                continue;
            }
            in_string = bytes[at] != b'"';
        } else if let Some(word) = NUMBERS.iter().find(|word| rest.starts_with(**word)) {
            out.push_str(&format!("\"{NUMBER_MARK}{word}\""));
            changed = true;
            at += word.len();
            continue;
        } else if let Some(inside) = rest.strip_prefix('"') {
            in_string = true;
            // Escapes may encode a dollar sign, or the prefix itself.
            if inside.starts_with(['$', STRING_MARK_START]) || inside.starts_with("\\u") {
                out.push('"');
                out.push_str(STRING_MARK);
                changed = true;
                at += 1;
                continue;
            }
        }
        let length = rest.chars().next().map_or(1, char::len_utf8);
        out.push_str(&rest[..length]);
        at += length;
    }
    changed.then_some(out)
}

/// Returns the UTF-16 code unit of the escape at the start of `text`: `\u` and four hex digits.
pub(crate) fn escaped_unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
}

fn restore_placeholders(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some(number) = text.strip_prefix(NUMBER_MARK).filter(|word| NUMBERS.contains(word)) {
                *value = Value::Number(Number::from_string_unchecked(number.to_string()));
            } else if text.starts_with(STRING_MARK) {
                text.drain(..STRING_MARK.len());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(restore_placeholders),
        Value::Object(object) => {
            object.values_mut().for_each(restore_placeholders);
            if object.keys().any(|key| key.starts_with(STRING_MARK)) {
                let marked = std::mem::take(object);
                let unmarked = |key: String| match key.strip_prefix(STRING_MARK) {
                    Some(own) => own.to_string(),
                    None => key,
                };
                *object = marked.into_iter().map(|(key, value)| (unmarked(key), value)).collect();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn restore_surrogates(text: String) -> String {
    if !text.contains(SURROGATE_MARK) {
        return text;
    }
    let mut parts = text.split(SURROGATE_MARK);
    let mut out = parts.next().unwrap_or_default().to_string();
    for part in parts {
        match part.get(..4) {
            Some(digits) if matches!(u32::from_str_radix(digits, 16), Ok(0xD800..0xE000)) => {
                out.push_str("\\u");
            }
            _ => out.push_str(SURROGATE_MARK),
        }
        out.push_str(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(text: &str) -> String {
        to_text(&parse_object(text.as_bytes()).unwrap())
    }

    #[test]
    fn what_python_writes_survives() {
        let text = "{\n  \"a\": NaN,\n  \"b\": -Infinity,\n  \"c\": 123456789012345678901234567890,\n  \
                    \"d\": \"x\\ud800y\",\n  \"e\": 1.10,\n  \"f\": \"NaN \\\" Infinity\"\n}\n";
        assert_eq!(round_trip(text), text);
    }

    #[test]
    fn pairs_of_surrogates_and_plain_text_are_untouched() {
        assert_eq!(round_trip("{\"a\": \"\\ud83d\\ude00 é\"}"), "{\n  \"a\": \"😀 é\"\n}\n");
        assert_eq!(
            round_trip("{\"n\": NaN, \"a\": \"\\ud83d\\ude00\\\\ud800\"}"),
            "{\n  \"a\": \"😀\\\\ud800\",\n  \"n\": NaN\n}\n"
        );
    }

    #[test]
    fn keys_of_the_parser_itself_are_ordinary_keys() {
        for text in [
            "{\n  \"$serde_json::private::Number\": \"x\"\n}\n",
            "{\n  \"m\": {\n    \"$serde_json::private::Number\": \"7\",\n    \"n\": NaN\n  }\n}\n",
            "{\n  \"$a\": \"$b\",\n  \"\u{10F7FF}string:$\": \"\u{10F7FF}string:\"\n}\n",
        ] {
            assert_eq!(round_trip(text), text);
        }
        let spelt = "{\"\\u0024serde_json::private::Number\": \"7\", \"a\": \"\\udbfd\\udfffstring:b\"}";
        let object = parse_object(spelt.as_bytes()).unwrap();
        assert_eq!(object["$serde_json::private::Number"], "7");
        assert_eq!(object["a"], "\u{10F7FF}string:b");
    }

    #[test]
    fn the_last_characters_of_unicode_are_no_stand_ins() {
        let text = "{\n  \"a\": \"\u{10F7FF}\u{10F800}\u{10FFFD}\u{10FFFF}\"\n}\n";
        assert_eq!(round_trip(text), text);
        let both = "{\n  \"a\": \"\u{10FFFD}\\udfff\\ud800\"\n}\n";
        assert_eq!(round_trip(both), both);
    }

    #[test]
    fn a_forged_stand_in_cannot_break_a_file() {
        let text = format!("{{\"a\": \"{NUMBER_MARK}]}}{{\", \"b\": NaN, \"c\": \"{SURROGATE_MARK}x\"}}");
        let object = parse_object(text.as_bytes()).unwrap();
        assert_eq!(parse_object(to_text(&object).as_bytes()).unwrap(), object);
    }

    #[test]
    fn broken_text_is_an_error_not_a_panic() {
        for bad in ["", "[1]", "{", "{\"a\": \"\\u", "{\"a\": NaN", "{\"a\": \"\\ud8", "nul"] {
            assert!(parse_object(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(parse_object(&[b'{', 0xff, b'}']).is_err());
        assert_eq!(
            parse_line(b"{x").unwrap_err(),
            "not JSON: a key must be a text in quotes, as in {\"key\": 1}, at column 2"
        );
        assert!(parse_line("\u{feff}{\"a\": 1}\r\n".as_bytes()).is_ok());
        assert_eq!(parse_line(b"[]").unwrap_err(), "not a JSON object");
        let deep = "[".repeat(200_000);
        assert!(parse_object(format!("{{\"a\": {deep}").as_bytes()).is_err());
    }

    #[test]
    fn lines_are_ascii() {
        let object = parse_object("{\"m\": \"a\u{2028}é😀\"}".as_bytes()).unwrap();
        assert_eq!(to_ascii_line(&object), "{\"m\":\"a\\u2028\\u00e9\\ud83d\\ude00\"}\n");
    }
}
