//! JSON values together with their places in a text, so that a change can leave the rest of the text alone.

use std::ops::Range;

use crate::model::json::raw::{Raw, RawString};

/// A part of a text, in bytes.
pub(super) type TextSpan = Range<usize>;

/// A JSON value and where it begins in the text of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Located<'a> {
    /// The value.
    pub raw: Raw<'a>,
    /// Where it begins.
    pub at: usize,
}

/// A member of a JSON object and where it is.
#[derive(Clone, Debug)]
pub(super) struct LocatedMember<'a> {
    /// Its key.
    pub key: String,
    /// The key with its quotes.
    pub key_span: TextSpan,
    /// The value.
    pub value: Located<'a>,
}

impl<'a> Located<'a> {
    /// Locates `raw`, a part of `text`.
    pub(super) fn new(text: &str, raw: Raw<'a>) -> Self {
        Self { raw, at: offset(text, raw.as_str()) }
    }

    /// Returns the place of the value.
    pub(super) fn span(&self) -> TextSpan {
        self.at..self.at + self.raw.as_str().len()
    }

    /// Returns the items of an array; none of any other value.
    pub(super) fn items(&self) -> Vec<Self> {
        let mut items = Vec::new();
        self.raw.items(|raw| items.push(self.inside(raw)));
        items
    }

    /// Returns the members of an object, all of those with the same key; none of any other value.
    pub(super) fn members(&self) -> Vec<LocatedMember<'a>> {
        let mut members = Vec::new();
        self.raw.members(|key, raw| {
            let start = self.at + offset(self.raw.as_str(), key) - 1;
            members.push(LocatedMember {
                key: RawString::of_key(key).decode().into_owned(),
                key_span: start..start + key.len() + 2,
                value: self.inside(raw),
            });
        });
        members
    }

    /// Returns the member of an object that counts for a key: the last one, as for other programs.
    pub(super) fn member(&self, key: &str) -> Option<LocatedMember<'a>> {
        self.members().into_iter().rev().find(|member| member.key == key)
    }

    /// Returns the text if the value is one.
    pub(super) fn text(&self) -> Option<String> {
        Some(self.raw.text()?.decode().into_owned())
    }

    /// Returns a text for people, whatever the value is: the content of a text, nothing for `null`, else the JSON.
    pub(super) fn lenient_text(&self) -> String {
        match self.text() {
            Some(text) => text,
            None if self.raw.is_null() => String::new(),
            None => self.raw.as_str().to_string(),
        }
    }

    fn inside(&self, raw: Raw<'a>) -> Self {
        Self { raw, at: self.at + offset(self.raw.as_str(), raw.as_str()) }
    }
}

/// Returns where `part`, a slice of `text`, begins in it.
fn offset(text: &str, part: &str) -> usize {
    part.as_ptr() as usize - text.as_ptr() as usize
}

/// Returns the line and the column of a place in a text, both from 1.
pub(super) fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}
