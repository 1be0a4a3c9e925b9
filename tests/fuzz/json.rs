//! JSON parsed in place, compared with serde_json.

use lanes::internals::model::json::raw::members;
use lanes::internals::model::json::{Object, parse_object, to_ascii_line, to_line, to_text};
use serde_json::Value;

use crate::noise::Noise;
use crate::run::Target;

const GOOD: [&[u8]; 4] = [
    br#"{"a": 1, "b": [true, false, null], "c": {"d": "x\"y\\z\u00e9\ud83d\ude00"}, "e": -1.5e+3}"#,
    b"{\"a\":NaN,\"b\":[Infinity,-Infinity],\"c\":123456789012345678901234567890,\"d\":\"\\ud800x\"}",
    b" {\n\t\"\xc3\xa9\" : \"a long text without escapes, longer than a machine word\" , \"\":{} }\r\n",
    br#"{"a":1,"a":2,"$serde_json::private::Number":"3","b\u0062":[[[[[]]]]]}"#,
];

const WORDS: [&str; 33] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\\"",
    "\\u",
    "\\u0041",
    "\\ud83d",
    "\\ude00",
    "\\ud83d\\ude00",
    "\\n",
    "\\x",
    "null",
    "true",
    "false",
    "NaN",
    "Infinity",
    "-Infinity",
    "nul",
    "\"a\":",
    "\"a\":1,",
    "{\"a\":",
    "[[",
    "]]",
    "$serde_json::private::Number",
    "\u{10F7FF}number:NaN",
    "-",
    "e",
    ".",
];

#[test]
fn json() {
    let found: &[&[u8]] = &[br#"{"a":1,"$serde_json::private::Number":""}"#];
    let target = Target { name: "json", found, make, check };
    target.run(20_000);
}

fn make(noise: &mut Noise) -> Vec<u8> {
    match noise.below(3) {
        0 => noise.changed(&GOOD, &WORDS),
        1 => value(noise, 4, true).into_bytes(),
        _ => {
            let good = value(noise, 5, true).into_bytes();
            noise.changed(&[&good], &WORDS)
        }
    }
}

/// Returns text that is valid JSON, or almost.
pub fn value(noise: &mut Noise, depth: usize, is_object: bool) -> String {
    let space = |noise: &mut Noise| noise.pick(&["", "", " ", "\n", "\t \r\n"]);
    let deepest = if depth == 0 { 6 } else { 9 };
    match if is_object { 8 } else { noise.below(deepest) } {
        0 => "null".to_string(),
        1 => noise.pick(&["true", "false"]).to_string(),
        2 => noise.number(),
        3..=5 => string(noise),
        6 if noise.one_in(50) => {
            let levels = noise.size(140);
            format!("{}{}", "[".repeat(levels), "]".repeat(levels))
        }
        6 | 7 => {
            let items: Vec<String> = (0..noise.size(4)).map(|_| value(noise, depth - 1, false)).collect();
            format!("[{}{}{}]", space(noise), items.join(","), space(noise))
        }
        _ => {
            let member = |noise: &mut Noise| {
                let key = if noise.one_in(4) { "\"a\"".to_string() } else { string(noise) };
                format!(
                    "{key}{}:{}{}",
                    space(noise),
                    space(noise),
                    value(noise, depth.saturating_sub(1), false)
                )
            };
            let members: Vec<String> = (0..noise.size(5)).map(|_| member(noise)).collect();
            format!("{{{}{}{}}}", space(noise), members.join(", "), space(noise))
        }
    }
}

fn string(noise: &mut Noise) -> String {
    if noise.one_in(20) {
        return format!("\"{}\"", noise.pick(&["\\ud800", "\\udc00x", "a\\u0000", "\u{7f}", "\\/"]));
    }
    let text = noise.text(&["a", "word", "b c", "\u{e9}", "\u{2028}"]);
    serde_json::to_string(&text).unwrap()
}

fn check(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        compare(text);
    }
    let Ok(object) = parse_object(bytes) else { return };
    for text in [to_text(&object), to_line(&object), to_ascii_line(&object)] {
        assert_eq!(parse_object(text.as_bytes()).as_ref(), Ok(&object), "as it was written: {text}");
    }
    let line = to_ascii_line(&object);
    assert!(line.is_ascii() && line.lines().count() == 1, "{line}");
}

fn compare(text: &str) {
    let strict = serde_json::from_str::<Value>(text).ok().filter(Value::is_object);
    let mut found = Object::new();
    let accepted = members(text, |key, raw| {
        let value = raw.value();
        assert_eq!(serde_json::from_str(raw.as_str()).ok().as_ref(), Some(&value), "{}", raw.as_str());
        assert_eq!(raw.is_object(), value.is_object());
        assert_eq!(raw.is_array(), value.is_array());
        assert_eq!(raw.is_null(), value.is_null());
        assert_eq!(raw.boolean(), value.as_bool());
        assert_eq!(raw.text().map(|text| text.decode().into_owned()).as_deref(), value.as_str());
        assert_eq!(raw.float(), value.as_f64().filter(|number| number.is_finite()));
        found.insert(key.to_string(), value);
    });
    match (accepted, strict) {
        (Some(()), Some(Value::Object(strict))) => assert_eq!(found, strict),
        (Some(()), _) => panic!("let pass what is no JSON"),
        // Keys with escapes, and the key that serde_json uses for numbers, take the slow path.
        (None, Some(strict)) => {
            assert!(text.contains("$serde_json::") || has_escaped_key(&strict, text), "refused what is JSON");
        }
        (None, None) => {}
    }
}

/// Whether some key of the text may be written with an escape.
fn has_escaped_key(value: &Value, text: &str) -> bool {
    let plain = |key: &str| text.contains(&format!("\"{key}\""));
    match value {
        Value::Object(object) => {
            object.iter().any(|(key, value)| !plain(key) || has_escaped_key(value, text))
                || text.contains("\\")
        }
        Value::Array(items) => items.iter().any(|value| has_escaped_key(value, text)),
        _ => false,
    }
}
