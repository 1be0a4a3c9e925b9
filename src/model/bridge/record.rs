//! What a bridge remembers of a card between two looks at the board.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a bridge remembers of a card.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CardRecord {
    /// The id of the watched queue in which it was found.
    pub queue: String,
    /// Its generation.
    pub generation: String,
    /// The id of its newest task; `None` while it has not been submitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// The id of the first task that it ever had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_task: Option<String>,
    /// The id of the task of the generation before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_task: Option<String>,
    /// The id of the queue in which it was when the bridge last put it somewhere or found it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placed: Option<String>,
    /// The generation that the board gave it when the bridge put it back into its first queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub returned_generation: Option<String>,
    /// Whether the bridge is about to put it back into its first queue, or was when it was killed.
    #[serde(skip_serializing_if = "is_false")]
    pub returning: bool,
    /// The number of the last event of the task that the card tells of.
    pub event: u64,
    /// Whether it was seen outside of its queue since it became a task.
    #[serde(skip_serializing_if = "is_false")]
    pub left: bool,
    /// Whether the card tells everything about its task, which has ended.
    #[serde(skip_serializing_if = "is_false")]
    pub settled: bool,
    /// Whether a person has moved it while its task was open.
    #[serde(skip_serializing_if = "is_false")]
    pub away: bool,
    /// Whether this was worked out from the tasks, because it was lost, and the card has not been looked at since.
    #[serde(skip_serializing_if = "is_false")]
    pub recovered: bool,
    /// Whether it is not known if the card was put into its queue again, so that a person has to move it.
    #[serde(skip_serializing_if = "is_false")]
    pub doubtful: bool,
    /// Whether another bridge of the board has taken it in this generation.
    #[serde(skip_serializing_if = "is_false")]
    pub foreign: bool,
    /// Since when the card has been waiting because it was assigned before, in microseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assigned_since: Option<i64>,
}

/// What a bridge remembers of its board: each card that became a task, by its id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct BridgeRecords {
    /// A name for this store among others that serve the same board.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub holder: String,
    /// The cards.
    pub cards: BTreeMap<String, CardRecord>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}
