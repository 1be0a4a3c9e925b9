//! Says what is wrong with a text that is not YAML, in words for people instead of those of the parser.

/// What the parser says, and what is usually meant.
const MEANINGS: [(&str, &str); 10] = [
    (
        "mapping values are not allowed in this context",
        "there is a second `: ` in the line, or its indentation does not fit the line above; put a text with a colon in quotes",
    ),
    (
        "found character that cannot start any token",
        "a value begins with a tab, or with a character such as @, ` or %; indent with spaces, and put the text in quotes",
    ),
    ("did not find expected ',' or ']'", "a list in brackets lacks a comma or its ]"),
    ("did not find expected ',' or '}'", "a mapping in braces lacks a comma or its }"),
    (
        "did not find expected node content",
        "a list in brackets or a mapping in braces lacks a value or its end",
    ),
    ("did not find expected key", "the indentation does not fit the lines above, or a text needs quotes"),
    (
        "did not find expected '-' indicator",
        "the indentation does not fit the items above, or a `- ` is missing",
    ),
    (
        "could not find expected ':'",
        "a line has no `: ` after its key, or a text of several lines needs quotes",
    ),
    (
        "found unknown escape character",
        "a backslash in double quotes: write it as \\\\, or use single quotes",
    ),
    ("found unexpected end of stream", "a quote is not closed"),
];

/// Returns a message of the parser in plain words, with the line and column where it stopped.
pub(crate) fn why_not_yaml(message: &str) -> String {
    let meaning =
        MEANINGS.iter().find_map(|(said, meaning)| Some((message.find(said)?, said.len(), meaning)));
    let Some((at, length, meaning)) = meaning else { return message.to_string() };
    // Where the construct began follows where the parser stopped.
    let place = message[at + length..].split(", while ").next().unwrap_or_default().trim();
    if place.is_empty() { (*meaning).to_string() } else { format!("{meaning}, {place}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_of_people_have_a_meaning_and_a_place() {
        for (text, expected) in [
            ("a: b: c", "there is a second `: ` in the line"),
            ("a: 1\n  b: 2", "there is a second `: ` in the line"),
            ("a: @b", "a value begins with a tab, or with a character such as @"),
            ("a:\n\t- b", "a value begins with a tab"),
            ("a: [1\nb: 2", "a list in brackets lacks a comma or its ]"),
            ("a: {b: 1\nc: 2", "a mapping in braces lacks a comma or its }"),
            ("a: [", "a list in brackets or a mapping in braces lacks"),
            ("a: 1\n b: 2\nc", "there is a second"),
            ("a: 'x' y\n", "the indentation does not fit the lines above, or a text needs quotes"),
            ("- a\nb: 1\n", "the indentation does not fit the items above"),
            ("a: 1\nb\nc: 2\n", "a line has no `: ` after its key"),
            ("a: \"\\q\"", "a backslash in double quotes"),
            ("a: 'b\n", "a quote is not closed"),
        ] {
            let error = serde_yaml::from_str::<serde_yaml::Value>(text).expect_err(text);
            let why = why_not_yaml(&error.to_string());
            assert!(why.starts_with(expected), "{text:?}: {error}: {why}");
            assert!(why.contains(", at line ") && why.contains(" column "), "{text:?}: {error}: {why}");
            assert!(!why.contains("while"), "{text:?}: {why}");
        }
    }
}
