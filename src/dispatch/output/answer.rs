//! Parses an answer: its verdict, its closing status, its JSON value.

use std::ops::Range;

use serde_json::Value;

use super::report::BackgroundWork;
use crate::model::Verdict;
use crate::model::json::why_not_json;

/// Number of last lines of an answer that may be closing lines.
const CLOSING_LINES: usize = 8;

/// Maximum number of positions at which a JSON value in a text is tried.
const MAX_VALUE_STARTS: usize = 1000;

/// How far the work got according to the agent: the line `STATUS: …` at the end of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosingStatus {
    /// The whole task is done.
    Done,
    /// A part of the task is done.
    Partial,
    /// The agent needs something that it cannot get by itself.
    Blocked,
    /// The answer is a question, without whose answer the agent cannot go on.
    NeedsInput,
}

impl ClosingStatus {
    /// Returns whether a follow-up task is submitted after an answer with this status, or without one.
    pub fn is_success(closing: Option<Self>) -> bool {
        matches!(closing, None | Some(Self::Done))
    }

    /// Returns the name in answers and metadata.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Partial => "partial",
            Self::Blocked => "blocked",
            Self::NeedsInput => "needs_input",
        }
    }

    /// Parses a status in lower case and without underscores. Agents also use synonyms of the names that the prompt gives
    /// them.
    fn parse(word: &str) -> Option<Self> {
        match word {
            "done" | "complete" | "completed" => Some(Self::Done),
            "partial" | "incomplete" | "unfinished" => Some(Self::Partial),
            "blocked" | "failed" => Some(Self::Blocked),
            "needsinput" | "needs-input" => Some(Self::NeedsInput),
            _ => None,
        }
    }

    /// Returns the closing status in view of background work that did not complete. The agent's own status counts,
    /// except that it cannot know about background agents that ended after its answer.
    pub fn with_unfinished_work(closing: Option<Self>, unfinished_work: &[BackgroundWork]) -> Option<Self> {
        let is_unknown_agent = |work: &BackgroundWork| !work.is_command && !work.agent_knows_end;
        match closing {
            Some(Self::Done) if unfinished_work.iter().any(is_unknown_agent) => Some(Self::Partial),
            None if !unfinished_work.is_empty() => Some(Self::Partial),
            _ => closing,
        }
    }
}

/// Parses the verdict in a `VERDICT:` line at the end of `text`.
pub(crate) fn verdict(text: &str) -> Option<Verdict> {
    closing_word(text, "verdict", Verdict::parse)
}

/// Parses the status in a `STATUS:` line at the end of `text`.
pub(crate) fn closing(text: &str) -> Option<ClosingStatus> {
    closing_word(text, "status", ClosingStatus::parse)
}

/// Parses the first word after `label:`, in lower case, in the last lines of `text`. Lines that cannot be parsed are
/// skipped. Agents often format such lines as headings, bold text or list items.
fn closing_word<T>(text: &str, label: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
    let lines = text.lines().rev().filter(|line| !line.trim().is_empty());
    lines.take(CLOSING_LINES).find_map(|line| {
        let plain: String = line.chars().filter(|c| !matches!(c, '*' | '_' | '`' | '#' | '>')).collect();
        let plain = plain.trim().trim_start_matches("- ").to_lowercase();
        let rest = plain.strip_prefix(label)?.trim_start().strip_prefix(':')?;
        let word = rest.split_whitespace().next()?;
        parse(word.trim_end_matches(['.', ',', ';']))
    })
}

/// Parses the JSON value of an answer: the whole text except its closing lines, its last fenced block, or the longest
/// object or array in it.
///
/// # Errors
/// The reason why the whole text is not JSON, for people.
pub(crate) fn json_value(text: &str) -> Result<Value, String> {
    let whole = without_closing_lines(text).trim();
    let first = match serde_json::from_str(whole) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let (range, bare) = longest_value(whole).map_or((0..0, None), |(range, value)| (range, Some(value)));
    let fenced = fenced_blocks(whole, &range).into_iter().rev().find_map(block_value);
    fenced.or(bare).ok_or_else(|| format!("the answer is not JSON: {}", why_not_json(&first)))
}

/// Returns `text` without the `STATUS:` and `VERDICT:` lines at its end.
pub(crate) fn without_closing_lines(text: &str) -> &str {
    let mut rest = text.trim_end();
    for _ in 0..CLOSING_LINES {
        let start = rest.rfind('\n').map_or(0, |at| at + 1);
        if verdict(&rest[start..]).is_none() && closing(&rest[start..]).is_none() {
            break;
        }
        rest = rest[..start].trim_end();
    }
    rest
}

/// Returns the contents of all ``` blocks, in order. A fence within `value` belongs to the value.
fn fenced_blocks<'a>(text: &'a str, value: &Range<usize>) -> Vec<&'a str> {
    let fences = text.match_indices("```").map(|(at, _)| at);
    let fences: Vec<usize> = fences.filter(|at| !value.contains(at)).collect();
    fences.as_chunks::<2>().0.iter().filter_map(|[from, to]| text.get(from + 3..*to)).collect()
}

/// Parses the value of a block, with or without the name of a language before it.
fn block_value(block: &str) -> Option<Value> {
    let unnamed = block.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
    [block, unnamed].iter().find_map(|text| serde_json::from_str(text.trim()).ok())
}

/// Returns the longest object or array in `text` and its position.
fn longest_value(text: &str) -> Option<(Range<usize>, Value)> {
    let mut longest: Option<(Range<usize>, Value)> = None;
    let mut at = 0;
    for _ in 0..MAX_VALUE_STARTS {
        let Some(next) = text[at..].find(['{', '[']) else { break };
        let start = at + next;
        let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>();
        if let Some(Ok(value)) = values.next() {
            at = start + values.byte_offset();
            if longest.as_ref().is_none_or(|(range, _)| range.len() < at - start) {
                longest = Some((start..at, value));
            }
        } else {
            at = start + 1;
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::output::report::BackgroundEnd;

    #[test]
    fn closing_lines_in_many_dresses() {
        assert_eq!(verdict("fine\n\nVERDICT: accept\n"), Some(Verdict::Accept));
        assert_eq!(verdict("**Verdict:** needs-revision.\nSTATUS: done"), Some(Verdict::NeedsRevision));
        assert_eq!(
            verdict("- VERDICT: `accept-with-follow-ups` (two of them)"),
            Some(Verdict::AcceptWithFollowUps)
        );
        assert_eq!(closing("text\nSTATUS: partial\n\n"), Some(ClosingStatus::Partial));
        assert_eq!(closing("## Status: blocked"), Some(ClosingStatus::Blocked));
        assert_eq!(closing("STATUS: needs_input"), Some(ClosingStatus::NeedsInput));
        assert_eq!(closing("STATUS: partial\nstatus: 200 OK"), Some(ClosingStatus::Partial));
    }

    #[test]
    fn only_what_is_done_or_says_nothing_goes_on() {
        assert!(ClosingStatus::is_success(None) && ClosingStatus::is_success(Some(ClosingStatus::Done)));
        assert!(
            !ClosingStatus::is_success(Some(ClosingStatus::Partial))
                && !ClosingStatus::is_success(Some(ClosingStatus::Blocked))
        );
        let work = |is_command, agent_knows_end| BackgroundWork {
            name: "x".to_string(),
            is_command,
            end: BackgroundEnd::Stopped,
            agent_knows_end,
        };
        let with = |closing, work| ClosingStatus::with_unfinished_work(closing, &[work]);
        // A background agent that ended after the answer, whatever its status.
        assert_eq!(with(None, work(false, false)), Some(ClosingStatus::Partial));
        assert_eq!(with(Some(ClosingStatus::Done), work(false, false)), Some(ClosingStatus::Partial));
        assert_eq!(with(Some(ClosingStatus::Blocked), work(false, false)), Some(ClosingStatus::Blocked));
        // The agent knew about the end, so its own status counts.
        assert_eq!(with(Some(ClosingStatus::Done), work(false, true)), Some(ClosingStatus::Done));
        assert_eq!(with(None, work(false, true)), Some(ClosingStatus::Partial));
        // A command that it left running.
        assert_eq!(with(Some(ClosingStatus::Done), work(true, false)), Some(ClosingStatus::Done));
        assert_eq!(with(None, work(true, false)), Some(ClosingStatus::Partial));
        assert_eq!(ClosingStatus::with_unfinished_work(None, &[]), None);
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
            "{\"a\": 1}\n\n**VERDICT:** accept\nSTATUS: done\n",
            "As [1] and [the manual] say: {\"a\": 1}.\nSTATUS: done",
            "Here it is: ```json\n{\"a\": 1}\n```",
            "Here: ```json {\"a\": 1}``` {\"b\": [2, 3, 4]}",
            "So: {\"a\": 1, \"code\": \"```2```\"} it is",
        ] {
            assert_eq!(json_value(text).expect("JSON")["a"], 1, "{text}");
        }
        assert_eq!(json_value("[1, 2]").expect("JSON")[1], 2);
        assert_eq!(json_value("5\nSTATUS: done").expect("JSON"), 5);
        assert_eq!(json_value("Yes:\n```json\ntrue\n```").expect("JSON"), true);
        assert_eq!(json_value("Two: [{\"a\": 1}, {\"a\": 2}] in all").expect("JSON")[1]["a"], 2);
        let error = json_value("no").expect_err("not JSON");
        assert!(error.starts_with("the answer is not JSON: "), "{error}");
        assert!(json_value("```json\n{\"a\":\n").is_err());
    }
}
