//! Filling placeholders, quoted for the file they stand in.

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
}

impl Values<'_> {
    /// The text of a template with every placeholder filled: as a YAML scalar in YAML files, as one
    /// shell word everywhere else, since the texts show values within commands.
    ///
    /// One pass: a value that looks like a placeholder is not filled again.
    pub(super) fn fill(&self, template: &Template) -> String {
        let quote = if template.path.ends_with(".yaml") { yaml_scalar } else { shell_word };
        let mut out = String::with_capacity(template.text.len() + 256);
        let mut rest = template.text;
        while let Some((before, after)) = rest.split_once("{{") {
            out.push_str(before);
            match after.split_once("}}").and_then(|(name, tail)| Some((self.value(name)?, tail))) {
                Some((value, tail)) => {
                    out.push_str(&quote(value));
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

    fn value(&self, name: &str) -> Option<&str> {
        Some(match name {
            "WORKSPACE_ID" => self.workspace_id,
            "WORKSPACE_ROOT" => self.workspace_root,
            "QUEUE_ROOT" => self.queue_root,
            "CONFIG_PATH" => self.config_path,
            "STORE_PATH" => self.store_path,
            _ => return None,
        })
    }
}

/// `text` as one shell word.
fn shell_word(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    if !text.is_empty() && text.chars().all(safe) {
        text.to_string()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// Words that YAML 1.1 or 1.2 takes for something else than text.
const YAML_WORDS: [&str; 12] =
    ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "inf", "infinity", "nan"];

/// `text` as a YAML scalar that every parser reads back as the same text: plain where that is
/// certain, else in single quotes, else with escapes.
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

/// Names and relative or absolute paths in plain letters; nothing that looks like a number, a date
/// or a word of YAML's own.
fn is_plain(text: &str) -> bool {
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        || text.starts_with("./")
        || text.starts_with("../")
        || text == "..";
    starts_well
        && !text.ends_with(' ')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || " _./-".contains(c))
        && !YAML_WORDS.contains(&text.to_ascii_lowercase().as_str())
}
