//! Fills the placeholders of templates, quoted for the type of file.

use super::templates::Template;

/// The values of the placeholders.
pub(super) struct Values<'a> {
    /// `{{WORKSPACE_ID}}`
    pub workspace_id: &'a str,
    /// `{{WORKSPACE_ROOT}}`
    pub workspace_root: &'a str,
    /// `{{QUEUE_ROOT}}`
    pub queue_root: &'a str,
    /// `{{CONFIG_PATH}}`, absolute
    pub config_path: &'a str,
    /// `{{STORE_PATH}}`, absolute
    pub store_path: &'a str,
    /// `{{QUEUE_FLAGS}}`: the flag that names the queue, and its value
    pub queue_flags: [&'a str; 2],
    /// `{{LANE_FLAGS}}`: a flag for each of these lanes
    pub lanes: &'a [&'a str],
}

impl Values<'_> {
    /// Returns the text of a template with every placeholder filled: as a YAML scalar in YAML files, as a shell
    /// word (flags: as several) everywhere else, since the texts show values within commands.
    ///
    /// Makes a single pass: a value that looks like a placeholder is not filled again.
    pub(super) fn fill(&self, template: &Template) -> String {
        let quote = if template.path.ends_with(".yaml") { yaml_scalar } else { shell_word };
        let mut out = String::with_capacity(template.text.len() + 256);
        let mut rest = template.text;
        while let Some((before, after)) = rest.split_once("{{") {
            out.push_str(before);
            match after.split_once("}}").and_then(|(name, tail)| Some((self.words(name)?, tail))) {
                Some((words, tail)) => {
                    let words: Vec<String> = words.into_iter().map(quote).collect();
                    out.push_str(&words.join(" "));
                    rest = tail;
                }
                None => {
                    out.push_str("{{");
                    rest = after;
                }
            }
        }
        out.push_str(rest);
        out
    }

    /// Returns the value of a placeholder, of which each part is quoted.
    fn words(&self, name: &str) -> Option<Vec<&str>> {
        let value = match name {
            "QUEUE_FLAGS" => return Some(self.queue_flags.into()),
            "LANE_FLAGS" => return Some(self.lanes.iter().flat_map(|lane| ["--lane", *lane]).collect()),
            "WORKSPACE_ID" => self.workspace_id,
            "WORKSPACE_ROOT" => self.workspace_root,
            "QUEUE_ROOT" => self.queue_root,
            "CONFIG_PATH" => self.config_path,
            "STORE_PATH" => self.store_path,
            _ => return None,
        };
        Some(vec![value])
    }
}

/// Quotes `text` as one shell word.
fn shell_word(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    if !text.is_empty() && text.chars().all(safe) {
        text.to_string()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// Keywords that YAML 1.1 or 1.2 does not parse as text.
const YAML_KEYWORDS: [&str; 12] =
    ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "inf", "infinity", "nan"];

/// Formats `text` as a YAML scalar that every parser reads back as the same text: plain where that is certain,
/// otherwise in single quotes, otherwise with escapes.
fn yaml_scalar(text: &str) -> String {
    if is_plain(text) {
        text.to_string()
    } else if text.chars().all(|c| c.is_alphanumeric() || (' '..='~').contains(&c)) {
        format!("'{}'", text.replace('\'', "''"))
    } else {
        let mut out = String::from("\"");
        for c in text.chars() {
            match c {
                '"' | '\\' => out.extend(['\\', c]),
                ' '..='~' => out.push(c),
                c if c.is_alphanumeric() => out.push(c),
                c => out.push_str(&format!("\\U{:08X}", u32::from(c))),
            }
        }
        out.push('"');
        out
    }
}

/// Returns whether `text` is a name or path of plain characters that does not look like a number, a date or a
/// YAML keyword.
fn is_plain(text: &str) -> bool {
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        || text.starts_with("./")
        || text.starts_with("../")
        || text == "..";
    starts_well
        && !text.ends_with(' ')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || " _./-".contains(c))
        && !YAML_KEYWORDS.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts that a parser could take for something else.
    const HOSTILE: [&str; 60] = [
        "a: b",
        "null",
        "Null",
        "~",
        "yes",
        "No",
        "ON",
        "off",
        "true",
        "False",
        "y",
        "n",
        "1",
        "1.0",
        "1e3",
        "0x1F",
        "0o7",
        "010",
        "1_000",
        "-1",
        "+1",
        ".5",
        ".inf",
        "-.INF",
        ".nan",
        "inf",
        "nan",
        "Infinity",
        "2026-01-01",
        "12:30:45",
        "",
        " ",
        " a",
        "a ",
        "a #b",
        "#a",
        "- a",
        "-",
        "---",
        "...",
        "? a",
        "[a]",
        "{a: b}",
        "&a",
        "*a",
        "!a",
        "!!str a",
        "|",
        ">",
        "%a",
        "@a",
        "`a`",
        "'a'",
        "it's",
        "\"a\"",
        "a\\b",
        "<<",
        "=",
        "..",
        "{{QUEUE_ROOT}}",
    ];

    const CONTROL: [&str; 10] = [
        "a\nb",
        "a\r\nb",
        "a\tb",
        "a\u{0}b",
        "a\u{85}b",
        "a\u{2028}b",
        "a\u{2029}b",
        "a\u{feff}b",
        "a\u{7f}b",
        "a\u{10ffff}b",
    ];

    #[test]
    fn yaml_scalars_come_back_equal() {
        let plain = ["state", "../q", "/abs/p-1_x.y", "my project", "..", "Ünïcode 漢字", "👍 𝒜"];
        for text in HOSTILE.iter().chain(&CONTROL).chain(&plain) {
            let line = format!("key: {}\nnext: 1\n", yaml_scalar(text));
            assert_eq!(line.lines().count(), 2, "{line}");
            let read = super::super::super::yaml::parse(&line)
                .unwrap_or_else(|error| panic!("{line}: {error}"))
                .object;
            assert_eq!(read["key"], **text, "{line}");
            assert_eq!(read["next"], 1, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_comes_back_equal_from_yaml(text in "\\PC*|[ -~]*|(?s).*") {
            let line = format!("key: {}\nnext: 1\n", yaml_scalar(&text));
            let read = super::super::super::yaml::parse(&line).unwrap().object;
            proptest::prop_assert_eq!(read["key"].as_str(), Some(text.as_str()));
        }
    }

    #[test]
    fn ordinary_values_stay_readable() {
        for text in ["state", "..", "../q", "/abs/p-1_x.y", "my project", "demo"] {
            assert_eq!(yaml_scalar(text), text);
        }
        assert_eq!(yaml_scalar("a: b"), "'a: b'");
        assert_eq!(yaml_scalar("it's"), "'it''s'");
        assert_eq!(yaml_scalar("null"), "'null'");
        assert_eq!(shell_word("/a/b-1.yaml"), "/a/b-1.yaml");
        assert_eq!(shell_word("/it's $(x)"), "'/it'\\''s $(x)'");
        assert_eq!(shell_word(""), "''");
    }

    #[test]
    fn shell_words_come_back_equal() {
        for text in HOSTILE.iter().chain(&CONTROL).filter(|text| !text.contains('\0')) {
            let output = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", shell_word(text))])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), **text);
        }
    }

    #[test]
    fn placeholders_are_filled_once() {
        let values = Values {
            workspace_id: "{{QUEUE_ROOT}}",
            workspace_root: "..",
            queue_root: "it's",
            config_path: "/c d",
            store_path: "/s",
            queue_flags: ["--config", "/c d"],
            lanes: &["a", "b; c"],
        };
        let fill = |path, text| values.fill(&Template { path, text, mode: 0 });
        assert_eq!(fill("x.yaml", "{{WORKSPACE_ID}} {{QUEUE_ROOT}}"), "'{{QUEUE_ROOT}}' 'it''s'");
        assert_eq!(fill("x.sh", "{{QUEUE_ROOT}}{{CONFIG_PATH}}{{STORE_PATH}}"), "'it'\\''s''/c d'/s");
        assert_eq!(fill("x.md", "{{QUEUE_FLAGS}} {{LANE_FLAGS}}"), "--config '/c d' --lane a --lane 'b; c'");
        assert_eq!(fill("x.sh", "{{ {{OTHER}} }} {{"), "{{ {{OTHER}} }} {{");
    }
}
