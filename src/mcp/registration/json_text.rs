//! Edits a JSON settings file as text: everything except the edited member stays, byte for byte.
//!
//! The files belong to people and other programs. Rewriting them from parsed values would lose comments, order
//! and layout, so members are located in the text, and only their bytes change. Comments and trailing commas are
//! accepted where the client accepts them.

use std::ops::Range;

use serde_json::Value;

use super::settings::{EntryField, SettingsError};
use crate::model::json::{Object, why_not_json};

/// The indentation for a file that has none to copy.
const DEFAULT_INDENT: &str = "  ";

/// Returns the value at a path; `None` when the text has no such member.
///
/// # Errors
/// `Syntax` when the text is not a JSON object.
pub(super) fn value(text: &str, has_comments: bool, path: &[&str]) -> Result<Option<Value>, SettingsError> {
    let document = JsonDocument::parse(text, has_comments)?;
    let pointer: String = path.iter().map(|key| format!("/{}", escape_pointer(key))).collect();
    Ok(document.root.pointer(&pointer).cloned())
}

/// Sets fields of the object at a path, which is made if it is missing, with the objects around it.
///
/// # Errors
/// `Syntax` when the text is not a JSON object, `Shape` when something on the path is not one.
pub(super) fn set(
    text: &str,
    has_comments: bool,
    path: &[&str],
    fields: &[EntryField],
) -> Result<String, SettingsError> {
    let text = if text.trim().is_empty() { "{}\n" } else { text };
    let document = JsonDocument::parse(text, has_comments)?;
    let (depth, object) = document.deepest_object(path)?;
    if let Some(missing) = path.get(depth) {
        let value = path[depth + 1..]
            .iter()
            .rev()
            .fold(object_of(fields), |inner, key| JsonNode::Object(vec![((*key).to_string(), inner)]));
        return Ok(document.insert(object, missing, &value));
    }
    let mut text = text.to_string();
    for (key, value) in fields {
        let document = JsonDocument::parse(&text, has_comments)?;
        let (_, object) = document.deepest_object(path)?;
        text = match document.members(object).into_iter().rfind(|member| member.key == *key) {
            Some(member) if document.value_of(&member).as_ref() == Some(value) => continue,
            Some(member) => document.replace(&member, &JsonNode::Value(value.clone())),
            None => document.insert(object, key, &JsonNode::Value(value.clone())),
        };
    }
    Ok(text)
}

/// Removes the member at a path. An object that becomes empty is removed too, unless the file would become
/// empty.
///
/// # Errors
/// As [`set`].
pub(super) fn remove(text: &str, has_comments: bool, path: &[&str]) -> Result<String, SettingsError> {
    let Some((key, parents)) = path.split_last() else { return Ok(text.to_string()) };
    let document = JsonDocument::parse(text, has_comments)?;
    let (depth, object) = document.deepest_object(parents)?;
    let members = document.members(object);
    let found = members.iter().rposition(|member| member.key == *key);
    let Some(at) = found.filter(|_| depth == parents.len()) else { return Ok(text.to_string()) };
    if members.len() == 1 && !parents.is_empty() {
        let (_, around) = document.deepest_object(&parents[..parents.len() - 1])?;
        if document.members(around).len() > 1 {
            return remove(text, has_comments, parents);
        }
    }
    Ok(document.without(object, &members, at))
}

fn escape_pointer(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// What is written as the value of a member, with its keys in the given order.
enum JsonNode {
    Value(Value),
    Object(Vec<(String, Self)>),
}

fn object_of(fields: &[EntryField]) -> JsonNode {
    JsonNode::Object(
        fields.iter().map(|(key, value)| ((*key).to_string(), JsonNode::Value(value.clone()))).collect(),
    )
}

impl JsonNode {
    /// Returns the text, on several lines, each indented by `indent` except the first.
    fn to_lines(&self, indent: &str, unit: &str, newline: &str) -> String {
        let deeper = format!("{indent}{unit}");
        let (open, items, close): (_, Vec<String>, _) = match self {
            Self::Object(members) => {
                let item = |(key, node): &(String, Self)| {
                    format!("{}: {}", quote(key), node.to_lines(&deeper, unit, newline))
                };
                ("{", members.iter().map(item).collect(), "}")
            }
            Self::Value(Value::Array(values)) => ("[", values.iter().map(ToString::to_string).collect(), "]"),
            Self::Value(value) => return value.to_string(),
        };
        let separator = format!(",{newline}{deeper}");
        format!("{open}{newline}{deeper}{}{newline}{indent}{close}", items.join(&separator))
    }

    /// Returns the text on one line.
    fn to_line(&self) -> String {
        match self {
            Self::Value(Value::Array(values)) => {
                format!("[{}]", values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
            }
            Self::Value(value) => value.to_string(),
            Self::Object(members) => {
                let item = |(key, node): &(String, Self)| format!("{}: {}", quote(key), node.to_line());
                format!("{{{}}}", members.iter().map(item).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

fn quote(key: &str) -> String {
    Value::from(key).to_string()
}

/// The location of a member of an object in the text.
struct JsonMember {
    key: String,
    key_at: usize,
    value: Range<usize>,
}

/// A text that is known to be valid.
struct JsonDocument<'a> {
    text: &'a str,
    /// The text with blanks in place of comments, byte for byte.
    visible: String,
    root: Value,
}

impl<'a> JsonDocument<'a> {
    fn parse(text: &'a str, has_comments: bool) -> Result<Self, SettingsError> {
        let visible = if has_comments { blank_comments(text) } else { text.to_string() };
        let strict = if has_comments { blank_trailing_commas(&visible) } else { visible.clone() };
        let syntax = |line: usize, column: usize, what: &str| SettingsError::Syntax {
            line,
            column,
            what: what.to_string(),
        };
        if strict.trim().is_empty() {
            return Err(syntax(1, 1, "there is no JSON object"));
        }
        let root: Value = serde_json::from_str(&strict).map_err(|error| {
            let what = why_not_json(&error);
            let what = what.rsplit_once(" at line ").map_or(what.as_str(), |(what, _)| what);
            syntax(error.line(), error.column(), what.trim_end_matches(','))
        })?;
        if !root.is_object() {
            return Err(syntax(1, 1, "expected a JSON object"));
        }
        Ok(Self { text, visible, root })
    }

    /// Follows a path as far as there are members; returns how many keys were found, and where the object begins.
    fn deepest_object(&self, path: &[&str]) -> Result<(usize, usize), SettingsError> {
        let mut object = self.visible.find('{').unwrap_or_default();
        for (depth, key) in path.iter().enumerate() {
            let members = self.members(object);
            let Some(member) = members.into_iter().rfind(|member| member.key == *key) else {
                return Ok((depth, object));
            };
            if !self.visible[member.value.clone()].starts_with('{') {
                return Err(SettingsError::Shape(path[..=depth].join(".")));
            }
            object = member.value.start;
        }
        Ok((path.len(), object))
    }

    /// Returns the members of the object that begins at `object`.
    fn members(&self, object: usize) -> Vec<JsonMember> {
        let bytes = self.visible.as_bytes();
        let mut members = Vec::new();
        let mut at = object + 1;
        loop {
            at = skip_while(bytes, at, |byte| byte.is_ascii_whitespace() || byte == b',');
            if bytes.get(at) != Some(&b'"') {
                return members;
            }
            let key_at = at;
            at = end_of_value(bytes, at);
            let key = serde_json::from_str(&self.visible[key_at..at]).unwrap_or_default();
            let value_at = skip_while(bytes, at, |byte| byte.is_ascii_whitespace() || byte == b':');
            at = end_of_value(bytes, value_at);
            members.push(JsonMember { key, key_at, value: value_at..at });
        }
    }

    fn value_of(&self, member: &JsonMember) -> Option<Value> {
        serde_json::from_str(&blank_trailing_commas(&self.visible[member.value.clone()])).ok()
    }

    fn replace(&self, member: &JsonMember, value: &JsonNode) -> String {
        let indent = self.indent_at(member.key_at);
        let value = match self.text[member.value.clone()].contains('\n') {
            true => value.to_lines(indent, self.unit(), self.newline()),
            false => value.to_line(),
        };
        splice(self.text, &[(member.value.clone(), &value)])
    }

    /// Adds a member at the end of the object that begins at `object`.
    fn insert(&self, object: usize, key: &str, value: &JsonNode) -> String {
        let close = end_of_value(self.visible.as_bytes(), object) - 1;
        let (unit, newline) = (self.unit(), self.newline());
        let members = self.members(object);
        let inside = &self.text[object + 1..close];
        let has_lines = inside.contains('\n') || members.is_empty();
        if !has_lines {
            let end = object + 1 + inside.trim_end().len();
            // A trailing comma is kept.
            let (before, after) = if self.visible[..end].ends_with(',') { ("", ",") } else { (",", "") };
            let member = format!("{before} {}: {}{after}", quote(key), value.to_line());
            return splice(self.text, &[(end..end, &member)]);
        }
        let own_indent = self.indent_at(object);
        let indent = match members.last() {
            Some(last) => self.indent_at(last.key_at).to_string(),
            None => format!("{own_indent}{unit}"),
        };
        let member = format!("{newline}{indent}{}: {}", quote(key), value.to_lines(&indent, unit, newline));
        let end = object + 1 + inside.trim_end().len();
        let Some(last) = members.last() else {
            let member = format!("{member}{newline}{own_indent}");
            return splice(self.text, &[(end..close, &member)]);
        };
        let has_comma = self.visible[last.value.end..close].contains(',');
        let (before, after) = if has_comma { ("", ",") } else { (",", "") };
        // A comment after the last member stays with that member.
        let member = match self.text[end..close].contains('\n') {
            true => format!("{member}{after}"),
            false => format!("{member}{after}{newline}{own_indent}"),
        };
        splice(self.text, &[(last.value.end..last.value.end, before), (end..end, &member)])
    }

    /// Returns the text without a member, its comma, and the white space before it.
    fn without(&self, object: usize, members: &[JsonMember], at: usize) -> String {
        let member = &members[at];
        let start = self.text[..member.key_at].trim_end().len();
        let after = &self.visible[member.value.end..];
        let comma = after.len() - after.trim_start().len();
        let mut cuts = vec![(start..member.value.end, "")];
        if after[comma..].starts_with(',') {
            cuts.push((member.value.end + comma..member.value.end + comma + 1, ""));
        } else if let Some(previous) = at.checked_sub(1).and_then(|previous| members.get(previous)) {
            let end = previous.value.end;
            let comma = end + self.visible[end..].find(',').unwrap_or_default();
            cuts.insert(0, (comma..comma + 1, ""));
        }
        if members.len() == 1 {
            let close = end_of_value(self.visible.as_bytes(), object) - 1;
            let left = splice(self.text, &cuts);
            let removed: usize = cuts.iter().map(|(range, _)| range.len()).sum();
            let inside = object + 1..close - removed;
            return match left[inside.clone()].trim().is_empty() {
                true => splice(&left, &[(inside, "")]),
                false => left,
            };
        }
        splice(self.text, &cuts)
    }

    /// Returns the white space at the beginning of the line that contains `at`.
    fn indent_at(&self, at: usize) -> &'a str {
        let line = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let line = &self.text[line..at];
        &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
    }

    /// Returns one level of indentation.
    fn unit(&self) -> &'a str {
        let root = self.visible.find('{').unwrap_or_default();
        let unit = self.members(root).first().map_or("", |first| self.indent_at(first.key_at));
        if unit.is_empty() { DEFAULT_INDENT } else { unit }
    }

    fn newline(&self) -> &'static str {
        if self.text.contains("\r\n") { "\r\n" } else { "\n" }
    }
}

/// Replaces ranges, which are in order and do not overlap.
fn splice(text: &str, changes: &[(Range<usize>, &str)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for (range, new) in changes {
        out.push_str(&text[at..range.start]);
        out.push_str(new);
        at = range.end;
    }
    out.push_str(&text[at..]);
    out
}

fn skip_while(bytes: &[u8], mut at: usize, is_skipped: impl Fn(u8) -> bool) -> usize {
    while bytes.get(at).is_some_and(|byte| is_skipped(*byte)) {
        at += 1;
    }
    at
}

/// Returns where the string that begins at `at` ends.
fn end_of_string(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Returns where the value that begins at `at` ends.
fn end_of_value(bytes: &[u8], at: usize) -> usize {
    let mut depth = 0_usize;
    let mut end = at;
    while let Some(byte) = bytes.get(end) {
        match byte {
            b'"' => end = end_of_string(bytes, end),
            b'{' | b'[' => {
                depth += 1;
                end += 1;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                end += 1;
            }
            _ if depth > 0 => end += 1,
            _ => return skip_while(bytes, end, |byte| !b",}]: \t\r\n".contains(&byte)),
        }
        if depth == 0 {
            return end;
        }
    }
    end
}

/// Replaces comments by blanks. Line ends stay, and so does the position of every other byte.
fn blank_comments(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let end = match bytes[at] {
            b'"' => end_of_string(bytes, at),
            b'/' if rest.starts_with("//") => at + rest.find('\n').unwrap_or(rest.len()),
            b'/' if rest.starts_with("/*") => at + rest.find("*/").map_or(rest.len(), |end| end + 2),
            _ => at + rest.find(['"', '/']).filter(|next| *next > 0).unwrap_or(1),
        };
        let end = (end..=bytes.len()).find(|end| text.is_char_boundary(*end)).unwrap_or(bytes.len());
        if bytes[at] == b'/' && end > at + 1 {
            out.extend(
                text[at..end].bytes().map(|byte| if b"\r\n".contains(&byte) { byte as char } else { ' ' }),
            );
        } else {
            out.push_str(&text[at..end]);
        }
        at = end;
    }
    out
}

/// Replaces each comma before the end of an object or array by a blank. The text has no comments.
fn blank_trailing_commas(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = text.to_string();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'"' {
            at = end_of_string(bytes, at);
            continue;
        }
        let next = skip_while(bytes, at + 1, |byte| byte.is_ascii_whitespace());
        if bytes[at] == b',' && bytes.get(next).is_some_and(|byte| b"}]".contains(byte)) {
            out.replace_range(at..=at, " ");
        }
        at += 1;
    }
    out
}

/// Returns the JSON text of an entry on one line: the given fields in their order, then its other fields.
pub(super) fn one_line(fields: &[EntryField], existing: Option<&Object>) -> String {
    let mut members: Vec<(String, JsonNode)> = Vec::new();
    for (key, value) in fields {
        members.push(((*key).to_string(), JsonNode::Value(value.clone())));
    }
    let others = existing.into_iter().flatten().filter(|(key, _)| !fields.iter().any(|(own, _)| own == key));
    members.extend(others.map(|(key, value)| (key.clone(), JsonNode::Value(value.clone()))));
    JsonNode::Object(members).to_line()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PATH: [&str; 2] = ["servers", "lanes"];

    fn fields() -> Vec<EntryField> {
        vec![("command", json!("/l")), ("args", json!(["mcp"]))]
    }

    fn shown(error: SettingsError) -> String {
        format!("{error:?}")
    }

    #[test]
    fn an_entry_is_added_and_removed_without_a_trace() {
        for text in [
            "{\n  \"a\": 1\n}\n",
            "{\n    \"a\": [1, 2],\n    \"servers\": {\n        \"x\": {}\n    },\n    \"b\": 1.50\n}",
            "{\"a\": 1}",
            "{\"a\": 1, \"servers\": {\"x\": {\"command\": \"}\"}}}\n",
            "{\r\n\t\"a\": \"\\\"//\",\r\n\t\"servers\": {\r\n\t\t\"x\": null\r\n\t}\r\n}\r\n",
            "// über\n{\n  \"a\": 1, // one\n  /* two */ \"servers\": {\n    \"x\": 1, // x\n  }, // three\n  // end\n}\n",
            "{\n  \"a\": 1 // last\n}\n",
        ] {
            let added = set(text, true, &PATH, &fields()).unwrap();
            assert_eq!(
                value(&added, true, &PATH).unwrap(),
                Some(json!({"command": "/l", "args": ["mcp"]})),
                "{added}"
            );
            assert_eq!(set(&added, true, &PATH, &fields()).unwrap(), added, "a second time nothing changes");
            assert_eq!(remove(&added, true, &PATH).unwrap(), text, "{added}");
        }
    }

    #[test]
    fn the_layout_of_the_file_is_followed() {
        let added = set("{\n    \"a\": 1, // one\n    // end\n}\n", true, &PATH, &fields()).unwrap();
        assert_eq!(
            added,
            "{\n    \"a\": 1, // one\n    // end\n    \"servers\": {\n        \"lanes\": {\n            \
             \"command\": \"/l\",\n            \"args\": [\n                \"mcp\"\n            ]\n        }\n    },\n}\n"
        );
        let added = set("{\"a\": 1}", false, &PATH, &fields()).unwrap();
        assert_eq!(added, "{\"a\": 1, \"servers\": {\"lanes\": {\"command\": \"/l\", \"args\": [\"mcp\"]}}}");
        let made = set(" ", false, &["x"], &[("n", json!(900_000))]).unwrap();
        assert_eq!(made, "{\n  \"x\": {\n    \"n\": 900000\n  }\n}\n");
    }

    #[test]
    fn fields_that_are_not_ours_stay() {
        let text =
            "{\"servers\": {\"lanes\": {\"env\": {\"A\": \"b\"}, \"command\": \"/old\", \"trust\": true}}}";
        let changed = set(text, false, &PATH, &fields()).unwrap();
        assert_eq!(
            changed,
            "{\"servers\": {\"lanes\": {\"env\": {\"A\": \"b\"}, \"command\": \"/l\", \"trust\": true, \"args\": [\"mcp\"]}}}"
        );
        let existing = value(&changed, false, &PATH).unwrap().unwrap();
        assert_eq!(
            one_line(&fields(), existing.as_object()),
            "{\"command\": \"/l\", \"args\": [\"mcp\"], \"env\": {\"A\":\"b\"}, \"trust\": true}"
        );
    }

    #[test]
    fn removing_takes_its_own_comma_and_leaves_an_empty_object_only_alone() {
        for (text, left) in [
            ("{\"servers\": {\"lanes\": 1}}", "{\"servers\": {}}"),
            ("{\"servers\": {\"lanes\": 1, \"x\": 2}}", "{\"servers\": { \"x\": 2}}"),
            ("{\n  \"servers\": {\n    \"lanes\": 1\n  },\n  \"x\": 2\n}", "{\n  \"x\": 2\n}"),
            ("{\n  \"servers\": {\n    \"lanes\": 1, // ours\n  }\n}", "{\n  \"servers\": { // ours\n  }\n}"),
            ("{\"a\": {\"lanes\": 1}}", "{\"a\": {\"lanes\": 1}}"),
            ("{}", "{}"),
        ] {
            assert_eq!(remove(text, true, &PATH).unwrap(), left, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_edited_is_refused_with_its_place() {
        for (text, has_comments, expected) in [
            ("{\n  \"a\": \n}", true, "line: 3, column: 1"),
            ("{\n  // c\n}", false, "line: 2, column: 3"),
            ("{\"a\": 1,}", false, "column: 9"),
            ("[]", true, "expected a JSON object"),
            ("// only", true, "there is no JSON object"),
            ("{} x", true, "there is more text after the end of the value"),
            ("{\"servers\": []}", true, "Shape(\"servers\")"),
            ("{\"servers\": {\"lanes\": null}}", true, "Shape(\"servers.lanes\")"),
            ("{\"a\": \"unclosed", true, "it ends inside a text"),
            ("{ /", true, "line: 1"),
        ] {
            let error = shown(set(text, has_comments, &PATH, &fields()).unwrap_err());
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
