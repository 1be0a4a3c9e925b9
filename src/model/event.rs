//! The history of a task.

use serde_json::Value;

use super::json::Object;
use super::json::raw::{Raw, read_object};
use super::time::Time;

/// One line of a task's history.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The event's number within its task, from 1; `None` for lines written by other implementations.
    pub n: Option<u64>,
    /// The time of the event.
    pub created_at: Time,
    /// The type of the event, without spaces: `created`, `claimed`, `note`, …
    pub kind: String,
    /// The description for people.
    pub message: String,
    /// Details for programs.
    pub data: Object,
}

/// Event types that are reserved for the queue itself, so that a history can be trusted.
pub const ENGINE_KINDS: [&str; 23] = [
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
    "blocked",
    "unblocked",
    "upstream_failed",
    "asked",
    "answered",
    "input_required",
    "expired",
    "exclusive",
    "told",
    "read",
];

impl Event {
    /// Parses one line; `None` if it is not an event.
    pub fn parse(line: &[u8]) -> Option<Self> {
        read_object(line, Self::from_raw).ok()?
    }

    /// Parses an event; `None` if it is something else.
    pub fn from_raw(raw: Raw<'_>) -> Option<Self> {
        let (mut n, mut created_at, mut kind, mut message, mut data) = (None, None, None, None, None);
        raw.members(|key, raw| match key {
            "n" => n = raw.integer(),
            "created_at" => created_at = raw.text(),
            "type" => kind = raw.text(),
            "message" => message = raw.text(),
            "data" => data = raw.object(),
            _ => {}
        });
        Some(Self {
            n,
            created_at: Time::parse(&created_at?.decode()).ok()?,
            kind: kind?.decode().into_owned(),
            message: message.map(|text| text.decode().into_owned()).unwrap_or_default(),
            data: data.unwrap_or_default(),
        })
    }

    /// Returns the event as it is written to files.
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
