//! What an answer says besides its text: a verdict, how far the work came, a JSON value.

use serde_json::Value;

use crate::model::Verdict;

/// How many lines at the end of an answer may hold its closing lines.
const CLOSING_LINES: usize = 8;

/// How far the agent says it came, in a line `STATUS: …` at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// Everything that was asked for.
    Done,
    /// A part of it.
    Partial,
    /// It needs something that it cannot get by itself.
    Blocked,
}

impl Closing {
    /// The word in answers and metadata.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Partial => "partial",
            Self::Blocked => "blocked",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Done, Self::Partial, Self::Blocked].into_iter().find(|closing| closing.as_str() == word)
    }
}

/// The verdict of a `VERDICT:` line at the end of `text`.
pub fn verdict(text: &str) -> Option<Verdict> {
    closing_word(text, "verdict").and_then(|word| Verdict::parse(&word))
}

/// The outcome of a `STATUS:` line at the end of `text`.
pub fn closing(text: &str) -> Option<Closing> {
    closing_word(text, "status").and_then(|word| Closing::parse(&word))
}

/// The first word after `label:` in the last lines of `text`, in lower case. Agents like to dress
/// such lines as headings, bold text or list items.
fn closing_word(text: &str, label: &str) -> Option<String> {
    let lines = text.lines().rev().filter(|line| !line.trim().is_empty());
    lines.take(CLOSING_LINES).find_map(|line| {
        let plain: String = line.chars().filter(|c| !matches!(c, '*' | '_' | '`' | '#' | '>')).collect();
        let plain = plain.trim().trim_start_matches("- ").to_lowercase();
        let rest = plain.strip_prefix(label)?.trim_start().strip_prefix(':')?;
        let word = rest.split_whitespace().next()?;
        Some(word.trim_end_matches(['.', ',', ';']).to_string())
    })
}

/// The JSON value an answer was asked to be: the whole text, or its last fenced block, or its
/// outermost braces or brackets. The error says why there is none.
pub fn json_value(text: &str) -> Result<Value, String> {
    let whole = text.trim();
    let first = match serde_json::from_str(whole) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let candidates = fenced_blocks(whole)
        .into_iter()
        .rev()
        .chain(outermost(whole, '{', '}'))
        .chain(outermost(whole, '[', ']'));
    candidates
        .filter_map(|candidate| serde_json::from_str(candidate.trim()).ok())
        .find(|value: &Value| value.is_object() || value.is_array())
        .ok_or_else(|| format!("the answer is not JSON: {first}"))
}

/// The insides of all ``` blocks, in order.
fn fenced_blocks(text: &str) -> Vec<&str> {
    let mut blocks = Vec::new();
    let mut start = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let end = at + line.len();
        if line.trim_start().starts_with("```") {
            match start.take() {
                Some(from) => blocks.push(&text[from..at]),
                None => start = Some(end),
            }
        }
        at = end;
    }
    blocks
}

fn outermost(text: &str, open: char, close: char) -> Option<&str> {
    let (start, end) = (text.find(open)?, text.rfind(close)?);
    text.get(start..=end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_in_many_dresses() {
        assert_eq!(verdict("fine\n\nVERDICT: accept\n"), Some(Verdict::Accept));
        assert_eq!(verdict("**Verdict:** needs-revision.\nSTATUS: done"), Some(Verdict::NeedsRevision));
        assert_eq!(
            verdict("- VERDICT: `accept-with-follow-ups` (two of them)"),
            Some(Verdict::AcceptWithFollowUps)
        );
        assert_eq!(closing("text\nSTATUS: partial\n\n"), Some(Closing::Partial));
        assert_eq!(closing("## Status: blocked"), Some(Closing::Blocked));
    }

    #[test]
    fn only_the_end_counts_and_only_known_words() {
        let long = format!("VERDICT: accept\n{}", "more\n".repeat(20));
        assert_eq!(verdict(&long), None);
        assert_eq!(verdict("VERDICT: maybe"), None);
        assert_eq!(closing("the status: done"), None);
        assert_eq!(closing(""), None);
    }

    #[test]
    fn json_with_and_without_wrapping() {
        for text in [
            "{\"a\": 1}",
            "Here it is:\n```json\n{\"a\": 1}\n```\nSTATUS: done",
            "```\n{\"b\": 2}\n```\nbetter:\n```json\n{\"a\": 1}\n```",
            "Sure! {\"a\": 1} Done.",
        ] {
            assert_eq!(json_value(text).expect("JSON")["a"], 1, "{text}");
        }
        assert_eq!(json_value("[1, 2]").expect("JSON")[1], 2);
        assert_eq!(json_value("5").expect("JSON"), 5);
        let error = json_value("no").expect_err("not JSON");
        assert!(error.starts_with("the answer is not JSON: "), "{error}");
        assert!(json_value("```json\n{\"a\":\n").is_err());
    }
}
