//! What a bridge does, as its log tells it.

use serde_json::Value;

use crate::error::printable;
use crate::model::json::Object;
use crate::model::task::object;

/// Something that a bridge did or noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BridgeEvent {
    /// What it is.
    pub kind: BridgeEventKind,
    /// The id of the card, if it is about one.
    pub card: Option<String>,
    /// The id of the task, if it is about one.
    pub task_id: Option<String>,
    /// The description for people, one line.
    pub message: String,
    /// Whether it was not done, because nothing is done in a dry run.
    pub is_planned: bool,
}

/// The kinds of what a bridge does or notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BridgeEventKind {
    /// It has connected to its board.
    Connected,
    /// A card has become a task.
    Submitted,
    /// A card was moved.
    Moved,
    /// A card got a comment.
    Commented,
    /// A card was changed.
    Edited,
    /// A task was cancelled because of what happened to its card.
    Cancelled,
    /// Something needs attention.
    Warning,
    /// The board fails.
    Failed,
    /// The board can be reached again.
    Recovered,
    /// The settings have changed.
    Reloaded,
}

impl BridgeEventKind {
    /// Returns the name in JSON.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Submitted => "submitted",
            Self::Moved => "moved",
            Self::Commented => "commented",
            Self::Edited => "edited",
            Self::Cancelled => "cancelled",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Recovered => "recovered",
            Self::Reloaded => "reloaded",
        }
    }

    /// Returns whether people should notice it.
    pub(crate) const fn is_warning(self) -> bool {
        matches!(self, Self::Warning | Self::Failed)
    }
}

impl BridgeEvent {
    /// Makes an event about the board as a whole.
    pub(crate) fn new(kind: BridgeEventKind, message: impl Into<String>) -> Self {
        Self { kind, card: None, task_id: None, message: message.into(), is_planned: false }
    }

    /// Makes an event about a card.
    pub(crate) fn about(kind: BridgeEventKind, card: &str, message: impl Into<String>) -> Self {
        Self { card: Some(card.to_string()), ..Self::new(kind, message) }
    }

    /// Returns it as JSON, for the bridge `bridge`.
    pub(crate) fn to_object(&self, bridge: &str) -> Object {
        object([
            ("bridge", bridge.into()),
            ("type", self.kind.as_str().into()),
            ("card", self.card.clone().into()),
            ("task_id", self.task_id.clone().into()),
            ("message", self.message.clone().into()),
            ("planned", if self.is_planned { true.into() } else { Value::Null }),
        ])
    }

    /// Returns it as a line for people.
    pub(crate) fn line(&self) -> String {
        let card = self.card.as_ref().map(|card| format!("card {card}: ")).unwrap_or_default();
        let would = if self.is_planned { "would be " } else { "" };
        printable(&format!("{card}{would}{}", self.message))
    }
}
