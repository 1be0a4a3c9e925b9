//! Says what is wrong with JSON, in words for people instead of those of the parser.

/// What the parser says, or how it begins, and what is meant.
const MEANINGS: [(&str, &str); 13] = [
    ("EOF while parsing a list", "it ends inside a list: a ] is missing"),
    ("EOF while parsing an object", "it ends inside an object: a } is missing"),
    ("EOF while parsing a string", "it ends inside a text: a \" is missing"),
    ("EOF while parsing a value", "it ends where a value should be"),
    ("expected value", VALUE),
    ("expected ident", VALUE),
    ("key must be a string", "a key must be a text in quotes, as in {\"key\": 1}"),
    ("control character", "a line break or another control character in a text: write a line break as \\n"),
    ("invalid escape", "a backslash in a text that begins no escape: write it as \\\\"),
    ("trailing comma", "a comma after the last item"),
    ("trailing characters", "there is more text after the end of the value"),
    ("recursion limit exceeded", "its values are nested too deeply"),
    (
        "lone leading surrogate",
        "half of a character in a text: an escape such as \\ud83d needs another one after it",
    ),
];

/// What a value may be.
const VALUE: &str = "a value is a text in quotes, a number, true, false, null, a [list] or an {object}";

/// Returns why a text is not JSON, or not of the type that is read, with line and column.
pub(crate) fn why_not_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let meaning = MEANINGS.iter().find(|(said, _)| text.starts_with(said));
    match (meaning, text.rfind(" at line ")) {
        (Some((_, meaning)), Some(place)) => format!("{meaning}, {}", &text[place + 1..]),
        (Some((_, meaning)), None) => (*meaning).to_string(),
        (None, place) => {
            let (said, place) = text.split_at(place.unwrap_or(text.len()));
            other_type(said).map_or_else(|| text.clone(), |meant| format!("{meant}{place}"))
        }
    }
}

/// Returns what is said of a value that has another type than is expected, or is missing.
fn other_type(text: &str) -> Option<String> {
    if let Some(rest) = text.strip_prefix("missing field `") {
        return Some(format!("{} is missing", rest.split('`').next()?));
    }
    let (found, expected) = text.strip_prefix("invalid type: ")?.rsplit_once(", expected ")?;
    Some(format!("expected {expected}, not {found}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_has_a_meaning_and_a_place() {
        for (text, expected) in [
            ("", "it ends where a value should be, at line 1 column 0"),
            ("[1,\n2", "it ends inside a list: a ] is missing, at line 2 column 1"),
            ("{\"a\": 1", "it ends inside an object: a } is missing, at line 1 column 7"),
            ("\"a", "it ends inside a text: a \" is missing, at line 1 column 2"),
            ("nonsense", &format!("{VALUE}, at line 1 column 2")),
            ("words", &format!("{VALUE}, at line 1 column 1")),
            ("[1,]", "a comma after the last item, at line 1 column 4"),
            ("{a: 1}", "a key must be a text in quotes, as in {\"key\": 1}, at line 1 column 2"),
            (
                "\"a\nb\"",
                "a line break or another control character in a text: write a line break as \\n, at line 2 column 0",
            ),
            ("\"\\x\"", "a backslash in a text that begins no escape: write it as \\\\, at line 1 column 3"),
            ("1 2", "there is more text after the end of the value, at line 1 column 3"),
            ("[1 2]", "expected `,` or `]` at line 1 column 4"),
        ] {
            let error = serde_json::from_str::<serde_json::Value>(text).expect_err(text);
            assert_eq!(why_not_json(&error), *expected, "{text}");
        }
        let typed = |text| why_not_json(&serde_json::from_str::<(String, u8)>(text).expect_err(text));
        assert_eq!(typed("[1]"), "expected a string, not integer `1` at line 1 column 2");
        let deep = "[".repeat(1000);
        let error = serde_json::from_str::<serde_json::Value>(&deep).expect_err("deep");
        assert_eq!(why_not_json(&error), "its values are nested too deeply, at line 1 column 128");
    }
}
