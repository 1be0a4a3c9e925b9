//! A board as a bridge sees it: cards in queues, the operations on them, and the ways in which those fail.
//!
//! The names are those of the adapter protocol (`docs/bridge.md`), which is this interface as lines of JSON.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::json::Object;

/// A queue of a board as it is named in a configuration and on the wire: by its name, or by the board's own id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum QueueRef {
    /// A name, such as `App.Work.Todo`; it may turn out to stand for several queues.
    Name(String),
    /// An id, as `{"id": "…"}`.
    Id {
        /// The id, as the board writes it.
        id: String,
    },
}

impl fmt::Display for QueueRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Id { id } => write!(f, "{{id: {id}}}"),
        }
    }
}

/// A queue that a board has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BoardQueue {
    /// Its id, which no other queue of the board has and which a change of its name does not change.
    pub id: String,
    /// Its full name, for people; it need not be unique.
    pub name: String,
    /// What else the board tells of it.
    #[serde(flatten)]
    pub extra: Object,
}

/// A comment on a card.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct CardComment {
    /// Its text.
    #[serde(default)]
    pub text: String,
    /// What else the board tells of it.
    #[serde(flatten)]
    pub extra: Object,
}

/// A line of the check list of a card.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct CheckListItem {
    /// Its text.
    #[serde(default)]
    pub name: String,
    /// Whether it is ticked off.
    #[serde(default)]
    pub done: bool,
    /// What else the board tells of it.
    #[serde(flatten)]
    pub extra: Object,
}

/// A card of a board.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Card {
    /// Its id: a text, whatever the board uses.
    pub id: String,
    /// The id of the queue it lies in.
    pub queue: String,
    /// Its title.
    #[serde(default)]
    pub name: String,
    /// Its text.
    #[serde(default)]
    pub description: String,
    /// The names of its labels.
    #[serde(default)]
    pub labels: Vec<String>,
    /// The names of those it is assigned to.
    #[serde(default)]
    pub assignees: Vec<String>,
    /// Its comments, oldest first.
    #[serde(default)]
    pub comments: Vec<CardComment>,
    /// Its check list.
    #[serde(default)]
    pub tasks: Vec<CheckListItem>,
    /// Where a person can look at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Changes whenever the card is moved into another queue, and never otherwise; for boards that know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<String>,
    /// What else the board tells of it.
    #[serde(flatten)]
    pub extra: Object,
}

/// The changes of a card by `update_task`; what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct CardChange {
    /// The title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The complete list of labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    /// The complete list of assignees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignees: Option<Vec<String>>,
}

/// A card to be created.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NewCard {
    /// Its queue.
    pub queue: QueueRef,
    /// Its title.
    pub name: String,
    /// Its text.
    #[serde(default)]
    pub description: String,
    /// The same key creates no second card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// The user that a board knows a bridge as.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BoardUser {
    /// The id.
    pub id: String,
    /// The name, for people and in the assignees of cards.
    pub name: String,
}

/// What a board can do beyond the operations that all have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BoardAbilities {
    /// `generation`: its cards have a generation.
    pub generation: bool,
    /// `assign_once`: of several bridges that assign a card at the same time, one alone succeeds.
    pub assign_once: bool,
    /// `watch`: it tells when something has changed.
    pub watch: bool,
    /// `queues`: it can create, rename and delete queues.
    pub queues: bool,
    /// `labels`: its cards have labels.
    pub labels: bool,
}

/// What a board says of itself when a bridge connects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BoardIdentity {
    /// The adapter, such as `planka`.
    pub name: String,
    /// The version of the adapter or of the board.
    pub version: String,
    /// Who the bridge is there; `None` for a board without users.
    pub user: Option<BoardUser>,
    /// What it can do.
    pub can: BoardAbilities,
}

/// The kind of a failure, which decides what a bridge does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BoardErrorCode {
    /// The card or queue does not exist.
    NotFound,
    /// Somebody else was first, or the card is no longer where it was expected.
    Conflict,
    /// The key or password is not accepted: trying again is pointless until a person acts.
    Auth,
    /// The user may not do this.
    Forbidden,
    /// Too many requests.
    RateLimited,
    /// The board cannot be reached or does not answer; it may later.
    Unavailable,
    /// The request, the configuration or the board's data is wrong.
    Invalid,
    /// The board cannot do this.
    Unsupported,
}

impl BoardErrorCode {
    /// Returns whether every request to the board fails in this way, until its state or a key changes. Other failures
    /// concern one queue or card, or are a mistake in the settings.
    pub(crate) const fn concerns_whole_board(self) -> bool {
        match self {
            Self::Auth | Self::RateLimited | Self::Unavailable => true,
            Self::NotFound | Self::Conflict | Self::Forbidden | Self::Invalid | Self::Unsupported => false,
        }
    }
}

/// Why an operation on a board failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BoardError {
    /// The kind.
    pub code: BoardErrorCode,
    /// One line for people, which names the way out.
    pub message: String,
    /// How long to wait before the next request.
    pub retry_after: Option<Duration>,
}

impl BoardError {
    /// Makes an error.
    pub(crate) fn new(code: BoardErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after: None }
    }
}

/// The result of an operation on a board.
pub(crate) type BoardResult<T> = Result<T, BoardError>;

/// A board.
///
/// One request is made at a time. An implementation keeps nothing between requests that it could not find out again:
/// whatever has to survive is in the store of the bridge. Every operation may be repeated.
pub(crate) trait Board: Send {
    /// Returns what the board said of itself when it was connected.
    fn identity(&self) -> &BoardIdentity;

    /// Returns up to `limit` cards of a queue, in the order of the board.
    fn get_ready_tasks(&mut self, queue: &QueueRef, limit: usize) -> BoardResult<Vec<Card>>;

    /// Returns a card; `NotFound` if it was deleted or archived.
    fn get_task(&mut self, id: &str) -> BoardResult<Card>;

    /// Moves a card to the end of a queue; unchanged if it is there. `Conflict` if `expected` is given and the card is
    /// in neither of the two.
    fn move_task(&mut self, id: &str, queue: &QueueRef, expected: Option<&QueueRef>) -> BoardResult<()>;

    /// Adds a comment unless one that contains `marker` is there.
    fn add_comment(&mut self, id: &str, text: &str, marker: &str) -> BoardResult<()>;

    /// Changes a card.
    fn update_task(&mut self, id: &str, change: &CardChange) -> BoardResult<()>;

    /// Assigns a card to the user of the bridge. Returns whether this call did; `false` if it was assigned before.
    fn assign_task(&mut self, id: &str) -> BoardResult<bool>;

    /// Creates a card and returns it.
    fn create_task(&mut self, card: &NewCard) -> BoardResult<Card>;

    /// Returns all queues.
    fn list_queues(&mut self) -> BoardResult<Vec<BoardQueue>>;

    /// Returns the queue with this id or name: `NotFound` if there is none, `Invalid` with the candidates if several
    /// have the name.
    fn get_queue(&mut self, queue: &QueueRef) -> BoardResult<BoardQueue>;

    /// Creates a queue.
    fn create_queue(&mut self, name: &str) -> BoardResult<BoardQueue>;

    /// Renames a queue.
    fn update_queue(&mut self, queue: &QueueRef, new_name: &str) -> BoardResult<BoardQueue>;

    /// Deletes an empty queue; `Conflict` if it has cards.
    fn delete_queue(&mut self, queue: &QueueRef) -> BoardResult<()>;

    /// After changes: waits until a program that has read the whole board before them has written it, if it does. Returns
    /// whether one has, so that changes since the last call may be undone. A board on which every program changes what it
    /// means to change, and nothing else, returns `false` at once.
    fn was_written_over(&mut self) -> bool {
        false
    }

    /// Sleeps until something may have changed or `timeout` is over. Returns whether something may have changed.
    /// A board that cannot tell sleeps.
    fn wait_for_change(&mut self, timeout: Duration) -> BoardResult<bool>;
}
