//! Reads the results of an adapter: cards, queues, and what it says of itself.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::message::PROTOCOL;
use crate::bridge::board::{
    BoardAbilities, BoardError, BoardErrorCode, BoardIdentity, BoardQueue, BoardResult, BoardUser, Card,
};
use crate::error::brief;
use crate::model::json::{Object, why_not_json};

/// Reads a card.
///
/// # Errors
/// `Invalid`, with what is wrong.
pub(super) fn card(method: &str, value: Value) -> BoardResult<Card> {
    typed(method, "a card", value)
}

/// Reads a list of cards.
///
/// # Errors
/// `Invalid`, with what is wrong.
pub(super) fn cards(method: &str, value: Value) -> BoardResult<Vec<Card>> {
    list(method, "card", value)
}

/// Reads a queue.
///
/// # Errors
/// `Invalid`, with what is wrong.
pub(super) fn queue(method: &str, value: Value) -> BoardResult<BoardQueue> {
    typed(method, "a queue", value)
}

/// Reads a list of queues.
///
/// # Errors
/// `Invalid`, with what is wrong.
pub(super) fn queues(method: &str, value: Value) -> BoardResult<Vec<BoardQueue>> {
    list(method, "queue", value)
}

fn list<T: DeserializeOwned>(method: &str, what: &str, value: Value) -> BoardResult<Vec<T>> {
    let Value::Array(items) = value else {
        return Err(wrong(method, &format!("a list of {what}s"), &"it is none"));
    };
    let items = items.into_iter().enumerate();
    items.map(|(index, item)| typed(method, &format!("{what} {}", index + 1), item)).collect()
}

/// Reads an object; a member that is null counts as absent.
fn typed<T: DeserializeOwned>(method: &str, what: &str, value: Value) -> BoardResult<T> {
    let Value::Object(mut object) = value else { return Err(wrong(method, what, &"it is not an object")) };
    object.retain(|_, member| !member.is_null());
    serde_json::from_value(Value::Object(object)).map_err(|error| wrong(method, what, &why_not_json(&error)))
}

fn wrong(method: &str, what: &str, why: &dyn std::fmt::Display) -> BoardError {
    let message = format!("the adapter's answer to {method} is not understood: {what}: {why}");
    BoardError::new(BoardErrorCode::Invalid, message)
}

/// Reads the result of `initialize`.
///
/// # Errors
/// `Invalid` when the adapter speaks another version of the protocol, or does not say what it is.
pub(super) fn identity(value: Value) -> BoardResult<BoardIdentity> {
    let Value::Object(object) = value else {
        return Err(wrong("initialize", "the adapter", &"it is not an object"));
    };
    let protocol = object.get("protocol").map_or(Some(PROTOCOL), Value::as_u64);
    if protocol != Some(PROTOCOL) {
        let theirs = object.get("protocol").map(Value::to_string).unwrap_or_default();
        let message = format!(
            "the adapter speaks version {} of the adapter protocol, and this lanes speaks version {PROTOCOL}: update the \
             older of the two",
            brief(&theirs)
        );
        return Err(BoardError::new(BoardErrorCode::Invalid, message));
    }
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
    if text("name").is_empty() {
        return Err(wrong("initialize", "the adapter", &"it has no name"));
    }
    let user = match object.get("user") {
        None | Some(Value::Null) => None,
        Some(user) => Some(typed::<BoardUser>("initialize", "the user", user.clone())?),
    };
    Ok(BoardIdentity { name: text("name"), version: text("version"), user, can: abilities(&object)? })
}

fn abilities(object: &Object) -> BoardResult<BoardAbilities> {
    let mut can = BoardAbilities::default();
    let listed = match object.get("can") {
        None | Some(Value::Null) => return Ok(can),
        Some(Value::Array(listed)) => listed,
        Some(_) => return Err(wrong("initialize", "`can`", &"it is not a list")),
    };
    for ability in listed.iter().filter_map(Value::as_str) {
        match ability {
            "generation" => can.generation = true,
            "assign_once" => can.assign_once = true,
            "watch" => can.watch = true,
            "queues" => can.queues = true,
            "labels" => can.labels = true,
            // An ability of a newer version, which this one does not use.
            _ => {}
        }
    }
    Ok(can)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_card_keeps_what_is_unknown_and_needs_id_and_queue() {
        let value = json!({"id": "7", "queue": "q", "name": null, "url": null, "votes": 3, "comments": [{"text": "a", "by": "x"}]});
        let card = card("get_task", value).unwrap();
        assert_eq!((card.id.as_str(), card.name.as_str(), card.url), ("7", "", None));
        assert_eq!(card.extra, json!({"votes": 3}).as_object().cloned().unwrap());
        assert_eq!(card.comments[0].extra["by"], "x");
        for (value, expected) in [
            (
                json!([{"id": "1", "queue": "q"}, {"id": 7, "queue": "q"}]),
                "card 2: expected a string, not number",
            ),
            (json!([{"id": "1"}]), "card 1: queue is missing"),
            (json!(["1"]), "card 1: it is not an object"),
            (json!({"cards": []}), "a list of cards: it is none"),
        ] {
            let error = cards("get_ready_tasks", value).unwrap_err();
            assert_eq!(error.code, BoardErrorCode::Invalid);
            assert!(error.message.contains(expected), "{}", error.message);
        }
    }

    #[test]
    fn the_version_of_the_protocol_is_checked() {
        let known =
            identity(json!({"name": "a", "can": ["watch", "fly"], "user": {"id": "1", "name": "bot"}}))
                .unwrap();
        assert_eq!((known.can.watch, known.can.queues, known.version.as_str()), (true, false, ""));
        assert_eq!(known.user.unwrap().name, "bot");
        assert!(identity(json!({"name": "a", "protocol": 1})).is_ok());
        for (value, expected) in [
            (
                json!({"name": "a", "protocol": 2}),
                "speaks version 2 of the adapter protocol, and this lanes speaks version 1",
            ),
            (json!({"name": "a", "protocol": "x"}), "speaks version \"x\""),
            (json!({"version": "1"}), "it has no name"),
            (json!({"name": "a", "can": "watch"}), "`can`: it is not a list"),
            (json!({"name": "a", "user": {"id": 1, "name": "x"}}), "the user: expected a string, not number"),
            (json!(null), "it is not an object"),
        ] {
            let error = identity(value).unwrap_err();
            assert!(error.message.contains(expected), "{}", error.message);
        }
    }
}
