//! What a card in a board's file means. Cards are written by people and by many programs: what one of them leaves out or
//! writes in another form is no error.

use super::document::CardEntry;
use super::located::Located;
use crate::bridge::board::{Card, CardComment, CheckListItem};
use crate::model::json::Object;

/// The keys of an object that stands for a text, the usual one first.
pub(super) const COMMENT_KEYS: [&str; 5] = ["text", "comment", "body", "content", "message"];
/// The same of a label.
pub(super) const LABEL_KEYS: [&str; 4] = ["name", "label", "title", "text"];
/// The same of an assignee.
pub(super) const ASSIGNEE_KEYS: [&str; 5] = ["name", "username", "user", "email", "id"];
/// The same of a line of a check list.
const ITEM_KEYS: [&str; 5] = ["name", "text", "title", "task", "description"];
/// The keys by which a line of a check list is ticked off.
const DONE_KEYS: [&str; 4] = ["done", "completed", "checked", "is_completed"];

/// The keys of a card that have a meaning.
const CARD_KEYS: [&str; 10] =
    ["id", "queue", "name", "description", "labels", "assignees", "comments", "tasks", "url", "generation"];

/// Reads a card that lies in `queue`.
pub(super) fn read_card(entry: &CardEntry<'_>, queue: &str) -> Card {
    let object = &entry.object;
    let text = |key: &str| object.member(key).map(|member| member.value.lenient_text()).unwrap_or_default();
    Card {
        id: entry.id.clone(),
        queue: queue.to_string(),
        name: text("name"),
        description: text("description"),
        labels: names(object, "labels", &LABEL_KEYS),
        assignees: names(object, "assignees", &ASSIGNEE_KEYS),
        comments: list(object, "comments").iter().map(read_comment).collect(),
        tasks: list(object, "tasks").iter().map(read_item).collect(),
        url: object.member("url").and_then(|member| member.value.text()),
        // The file knows none: the bridge counts.
        generation: None,
        extra: extra(object, &CARD_KEYS),
    }
}

/// Returns the names of labels or assignees.
pub(super) fn names(card: &Located<'_>, key: &str, name_keys: &[&str]) -> Vec<String> {
    list(card, key).iter().map(|value| text_of(value, name_keys)).collect()
}

/// Returns what a list of a card contains: nothing if it is absent or `null`; a value that is no list is its only item.
pub(super) fn list<'a>(card: &Located<'a>, key: &str) -> Vec<Located<'a>> {
    match card.member(key).map(|member| member.value) {
        None => Vec::new(),
        Some(value) if value.raw.is_null() => Vec::new(),
        Some(value) if value.raw.is_array() => value.items(),
        Some(value) => vec![value],
    }
}

/// Returns the text that a value stands for: itself, or what an object has under the first of `keys`.
pub(super) fn text_of(value: &Located<'_>, keys: &[&str]) -> String {
    match text_key(value, keys).and_then(|key| value.member(key)) {
        Some(member) => member.value.lenient_text(),
        None => value.lenient_text(),
    }
}

/// Returns the key under which an object has its text.
pub(super) fn text_key<'k>(value: &Located<'_>, keys: &[&'k str]) -> Option<&'k str> {
    let members = value.members();
    keys.iter().copied().find(|key| {
        members
            .iter()
            .any(|member| member.key == *key && !member.value.raw.is_object() && !member.value.raw.is_array())
    })
}

fn read_comment(value: &Located<'_>) -> CardComment {
    let used: Vec<&str> = text_key(value, &COMMENT_KEYS).into_iter().chain(["text"]).collect();
    CardComment { text: text_of(value, &COMMENT_KEYS), extra: extra(value, &used) }
}

fn read_item(value: &Located<'_>) -> CheckListItem {
    let done_key = DONE_KEYS.into_iter().find(|key| value.member(key).is_some());
    let done = done_key.and_then(|key| value.member(key)?.value.raw.boolean()).unwrap_or(false);
    let used: Vec<&str> =
        text_key(value, &ITEM_KEYS).into_iter().chain(done_key).chain(["name", "done"]).collect();
    CheckListItem { name: text_of(value, &ITEM_KEYS), done, extra: extra(value, &used) }
}

/// Returns the other members of an object.
fn extra(object: &Located<'_>, used: &[&str]) -> Object {
    let members = object.members().into_iter().filter(|member| !used.contains(&member.key.as_str()));
    members.map(|member| (member.key, member.value.raw.value())).collect()
}
