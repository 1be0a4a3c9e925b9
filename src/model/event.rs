//! The history of a task.

use serde_json::Value;

use super::json::Object;
use super::time::Time;

/// One line of a task's history.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The event's number within its task, from 1; `None` for lines of other implementations.
    pub n: Option<u64>,
    /// When it happened.
    pub created_at: Time,
    /// What happened, one word: `created`, `claimed`, `note`, …
    pub kind: String,
    /// The same in a person's words.
    pub message: String,
    /// Details for programs.
    pub data: Object,
}

/// Event types that the queue itself writes. Nobody else may, so that a history can be believed.
pub const ENGINE_KINDS: [&str; 13] = [
    "created",
    "claimed",
    "renewed",
    "released",
    "response",
    "cancelled",
    "dead",
    "moved",
    "due",
    "retried",
    "request_changed",
    "edited",
    "imported",
];

impl Event {
    /// Reads one line; `None` when it is not an event.
    pub fn from_object(object: &Object) -> Option<Self> {
        Some(Self {
            n: object.get("n").and_then(Value::as_u64),
            created_at: Time::parse(object.get("created_at")?.as_str()?).ok()?,
            kind: object.get("type")?.as_str()?.to_string(),
            message: object.get("message").and_then(Value::as_str).unwrap_or_default().to_string(),
            data: object.get("data").and_then(Value::as_object).cloned().unwrap_or_default(),
        })
    }

    /// The event as it is written.
    pub fn to_object(&self) -> Object {
        let mut object = Object::new();
        object.insert("created_at".into(), self.created_at.to_string().into());
        object.insert("type".into(), self.kind.clone().into());
        object.insert("message".into(), self.message.clone().into());
        object.insert("data".into(), Value::Object(self.data.clone()));
        if let Some(n) = self.n {
            object.insert("n".into(), n.into());
        }
        object
    }
}
