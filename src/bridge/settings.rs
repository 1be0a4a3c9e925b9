//! The settings of a bridge, as `bridges:` in `handoff.yaml` has them.

use std::path::PathBuf;
use std::time::Duration;

use super::board::QueueRef;
use crate::model::LaneName;
use crate::model::json::Object;

/// One bridge.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BridgeSettings {
    /// Its name: the key under `bridges`.
    pub name: String,
    /// Which board it serves.
    pub adapter: AdapterSettings,
    /// Maximum number of requests to the board per second.
    pub requests_per_second: f64,
    /// How long a card that was assigned before lies in its queue until it is taken nevertheless.
    pub take_assigned_after: Duration,
    /// The watched queues, in the order of the file.
    pub queues: Vec<WatchedQueue>,
}

/// Which board a bridge serves, and how it is reached.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum AdapterSettings {
    /// A JSON file.
    Json {
        /// Its absolute path.
        path: PathBuf,
    },
    /// A Planka server.
    Planka {
        /// The address of the server.
        url: String,
        /// The file with the secrets; `None` for the environment alone.
        env_file: Option<PathBuf>,
        /// Certificates to trust in place of the public ones.
        ca_file: Option<PathBuf>,
    },
    /// A program that speaks the adapter protocol.
    Program {
        /// Its command line; a relative program path is relative to handoff.yaml.
        argv: Vec<String>,
        /// The directory that it runs in: that of handoff.yaml.
        directory: PathBuf,
        /// The file with its secrets.
        env_file: Option<PathBuf>,
        /// The names of the secrets that it gets from that file or the environment.
        secrets: Vec<String>,
        /// What `config` says, passed on in `initialize`.
        config: Object,
        /// How long it may take for an answer.
        call_timeout: Duration,
    },
}

/// A queue whose cards become tasks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WatchedQueue {
    /// The queue on the board.
    pub queue: QueueRef,
    /// The lane of its tasks.
    pub lane: LaneName,
    /// Where a card goes when work on it begins; `None`: it stays.
    pub in_progress: Option<QueueRef>,
    /// When it goes there.
    pub move_on: MoveOn,
    /// Where a card goes whose task has completed; `None`: it stays.
    pub done: Option<QueueRef>,
    /// Where a card goes whose task has failed; `None`: it stays.
    pub failed: Option<QueueRef>,
    /// Where a card goes whose task died; `None`: as `failed`.
    pub dead_letter: Option<QueueRef>,
    /// What becomes of a card between two attempts.
    pub retry: CardRetry,
    /// What becomes of the task of a card that was deleted or archived.
    pub gone: TaskFate,
    /// What becomes of the task of a card that a person moved away.
    pub moved_away: TaskFate,
    /// How often this queue is read.
    pub poll_interval: Duration,
}

/// When a card moves to the queue for work in progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum MoveOn {
    /// When its task is submitted.
    #[default]
    Submit,
    /// When a worker claims its task.
    Claim,
}

/// What becomes of a card between two attempts of its task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CardRetry {
    /// It gets a comment and stays.
    #[default]
    Comment,
    /// It gets a comment and goes back to its first queue.
    Move,
}

/// What becomes of a task whose card is no longer where the bridge has put it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskFate {
    /// It goes on.
    Keep,
    /// It is cancelled.
    Cancel,
}
