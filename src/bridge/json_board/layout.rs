//! Changes of a JSON text that look like the rest of it: its indentation, line ends, separators and escapes.

use super::document::BoardDocument;
use super::located::{Located, TextSpan};
use crate::model::json;

/// The replacement of a part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TextEdit {
    /// What is replaced.
    pub span: TextSpan,
    /// By what.
    pub text: String,
}

/// Replaces parts of a text that do not overlap. Several insertions at one place keep their order.
pub(super) fn apply(text: &str, mut edits: Vec<TextEdit>) -> String {
    edits.sort_by_key(|edit| edit.span.start);
    let mut out = String::with_capacity(text.len() + edits.iter().map(|edit| edit.text.len()).sum::<usize>());
    let mut at = 0;
    for edit in edits {
        out.push_str(&text[at..edit.span.start]);
        out.push_str(&edit.text);
        at = edit.span.end;
    }
    out.push_str(&text[at..]);
    out
}

/// An array or an object in a text, with the places of its items or members.
#[derive(Debug)]
pub(super) struct JsonContainer<'a> {
    text: &'a str,
    span: TextSpan,
    items: Vec<TextSpan>,
}

/// The white space around the items of an array or an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JsonGaps {
    /// Before the first item.
    pub lead: String,
    /// After the last item.
    pub tail: String,
}

impl JsonGaps {
    fn none() -> Self {
        Self { lead: String::new(), tail: String::new() }
    }

    /// Returns the indentation of the items if they are on lines of their own.
    pub(super) fn indentation(&self) -> Option<&str> {
        Some(self.lead.rsplit_once('\n')?.1)
    }
}

impl<'a> JsonContainer<'a> {
    /// Returns the items of an array in `text`.
    pub(super) fn array(text: &'a str, value: &Located<'_>) -> Self {
        Self { text, span: value.span(), items: value.items().iter().map(Located::span).collect() }
    }

    /// Returns the members of an object in `text`.
    pub(super) fn object(text: &'a str, value: &Located<'_>) -> Self {
        let members = value.members();
        let items = members.iter().map(|member| member.key_span.start..member.value.span().end).collect();
        Self { text, span: value.span(), items }
    }

    /// Returns the white space around the items; `None` if there are none.
    pub(super) fn gaps(&self) -> Option<JsonGaps> {
        let (first, last) = (self.items.first()?, self.items.last()?);
        Some(JsonGaps {
            lead: self.text[self.span.start + 1..first.start].to_string(),
            tail: self.text[last.end..self.span.end - 1].to_string(),
        })
    }

    /// Returns whether its items are on lines of their own.
    pub(super) fn is_expanded(&self) -> bool {
        self.gaps().is_some_and(|gaps| gaps.lead.contains('\n'))
    }

    /// Removes an item, with the comma before or after it.
    pub(super) fn remove(&self, index: usize) -> TextEdit {
        let span = match (index.checked_sub(1), self.items.get(index + 1)) {
            (_, Some(next)) => self.items[index].start..next.start,
            (Some(before), None) => self.items[before].end..self.items[index].end,
            (None, None) => self.span.start + 1..self.span.end - 1,
        };
        TextEdit { span, text: String::new() }
    }

    /// Appends an item; `empty` are the gaps if it is the first one.
    pub(super) fn append(&self, item: &str, style: &JsonStyle, empty: &JsonGaps) -> TextEdit {
        match self.items.last() {
            Some(last) => {
                TextEdit { span: last.end..last.end, text: format!("{}{item}", self.separator(style)) }
            }
            None => TextEdit {
                span: self.span.start + 1..self.span.end - 1,
                text: format!("{}{item}{}", empty.lead, empty.tail),
            },
        }
    }

    /// Returns the text of an array with these items in place of the present ones.
    pub(super) fn with_items(&self, items: &[String], style: &JsonStyle, empty: &JsonGaps) -> String {
        match self.gaps() {
            Some(gaps) if !items.is_empty() => {
                format!("[{}{}{}]", gaps.lead, items.join(&self.separator(style)), gaps.tail)
            }
            _ => style.array(items, empty),
        }
    }

    /// Returns what is between two items: the comma and white space.
    fn separator(&self, style: &JsonStyle) -> String {
        match &self.items[..] {
            [.., one, other] => self.text[one.end..other.start].to_string(),
            _ => style.separator(&self.gaps().unwrap_or_else(JsonGaps::none)),
        }
    }
}

/// How a file is written.
#[derive(Debug)]
pub(super) struct JsonStyle {
    newline: &'static str,
    /// The indentation of one level; `None` if all is on one line.
    unit: Option<String>,
    colon: String,
    comma: &'static str,
    /// Whether characters outside of ASCII are written as escapes.
    is_ascii: bool,
}

impl JsonStyle {
    /// Finds out how a file is written.
    pub(super) fn of(board: &BoardDocument<'_>) -> Self {
        let text = board.text;
        let gaps = JsonContainer::object(text, &board.root).gaps().unwrap_or_else(JsonGaps::none);
        let outer = line_indentation(text, board.root.at);
        let unit = gaps.indentation().map(|inner| match inner.strip_prefix(outer) {
            Some(unit) if !unit.is_empty() => unit.to_string(),
            _ => "  ".to_string(),
        });
        let members = board.root.members();
        let colon = members.first().map(|member| &text[member.key_span.end..member.value.at]);
        let colon = colon.filter(|colon| !colon.contains('\n')).unwrap_or(": ");
        Self {
            newline: if text.contains("\r\n") { "\r\n" } else { "\n" },
            unit,
            comma: if colon.ends_with(' ') { ", " } else { "," },
            colon: colon.to_string(),
            is_ascii: text.is_ascii() && text.contains("\\u"),
        }
    }

    /// Returns a text as JSON.
    pub(super) fn string(&self, text: &str) -> String {
        let quoted = serde_json::Value::from(text).to_string();
        if self.is_ascii { json::to_ascii(&quoted) } else { quoted }
    }

    /// Returns a member of an object.
    pub(super) fn member(&self, key: &str, value: &str) -> String {
        format!("{}{}{value}", self.string(key), self.colon)
    }

    /// Returns an array with these items.
    pub(super) fn array(&self, items: &[String], gaps: &JsonGaps) -> String {
        match items.is_empty() {
            true => "[]".to_string(),
            false => format!("[{}{}{}]", gaps.lead, items.join(&self.separator(gaps)), gaps.tail),
        }
    }

    /// Returns an object with these members: on lines of their own if its own indentation is given, else on one line.
    pub(super) fn object(&self, members: &[(&str, String)], indentation: Option<&str>) -> String {
        let members = members.iter().map(|(key, value)| self.member(key, value));
        match indentation {
            None => format!("{{{}}}", members.collect::<Vec<_>>().join(self.comma)),
            Some(outer) => {
                let gaps = self.gaps_inside(outer);
                let separator = format!(",{}", gaps.lead);
                format!("{{{}{}{}}}", gaps.lead, members.collect::<Vec<_>>().join(&separator), gaps.tail)
            }
        }
    }

    /// Returns the gaps of an array or an object that has been empty so far and is on the line of `at`: none, unless the
    /// file has lines and what is around it, too.
    pub(super) fn gaps(&self, text: &str, at: usize, is_around_expanded: bool) -> JsonGaps {
        match self.unit {
            Some(_) if is_around_expanded => self.gaps_inside(line_indentation(text, at)),
            _ => JsonGaps::none(),
        }
    }

    fn gaps_inside(&self, outer: &str) -> JsonGaps {
        let unit = self.unit.as_deref().unwrap_or("  ");
        JsonGaps { lead: format!("{}{outer}{unit}", self.newline), tail: format!("{}{outer}", self.newline) }
    }

    fn separator(&self, gaps: &JsonGaps) -> String {
        match gaps.lead.contains('\n') {
            true => format!(",{}", gaps.lead),
            false => self.comma.to_string(),
        }
    }
}

/// Returns the white space at the beginning of the line of a place in a text.
pub(super) fn line_indentation(text: &str, at: usize) -> &str {
    let start = text[..at].rfind('\n').map_or(0, |at| at + 1);
    let line = text[start..at].trim_start_matches(json::BYTE_ORDER_MARK);
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}
