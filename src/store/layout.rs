//! Names and paths in a state directory.

use std::path::Path;

use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::atomic;
use super::dir::Dir;
use super::progress::ProgressListener;
use crate::error::{Error, ErrorKind, Result};
use crate::model::id::slug;
use crate::model::{ExclusiveKey, IdempotencyKey, TaskId};

pub(super) const TASKS: &str = "tasks";
pub(super) const TMP: &str = "tmp";
pub(super) const INDEXES: &str = "indexes";
pub(super) const BELLS: &str = "bells";
pub(super) const QUARANTINE: &str = "quarantine";
pub(super) const WORKERS: &str = "workers";
pub(super) const LOCK: &str = "lock";
pub(super) const FORMAT: &str = "format.json";
pub(super) const FEED: &str = "feed.jsonl";
/// Descriptions that boards store with the tasks.
pub(super) const BOARD: &str = "board.json";
/// Dispatch routes that programs add.
pub(super) const ROUTES: &str = "routes.json";
/// Agents that programs and commands add.
pub(super) const AGENTS: &str = "agents.json";
/// The token that clients of `lanes serve` send.
pub(super) const SERVER_TOKEN: &str = "serve.token";
pub(super) const LANES: &str = "lanes.json";
/// What has become of schedules.
pub(super) const SCHEDULES: &str = "schedules.json";
/// What is delivered of the notices of each workspace.
pub(super) const NOTICES: &str = "notices";
/// What dispatchers have spent.
pub(super) const BUDGET: &str = "budget.json";
pub(super) const VENDORS: &str = "vendors.json";
pub(super) const OUTBOX: &str = "outbox";
/// Which task answered a request that may come again.
pub(super) const CACHE: &str = "cache";
/// What bridges remember of their boards.
pub(super) const BRIDGES: &str = "bridges";
pub(super) const CONVERSATIONS: &str = "conversations";
pub(super) const USAGE: &str = "usage.jsonl";
pub(super) const OLD_USAGE: &str = "usage.old.jsonl";
/// Locked by the on-demand dispatcher.
pub(super) const ON_DEMAND: &str = "on-demand.lock";
/// Locked by the one that waits to become the on-demand dispatcher.
pub(super) const ON_DEMAND_NEXT: &str = "on-demand.next";
pub(super) const LOGS: &str = "logs";
pub(super) const ON_DEMAND_LOG: &str = "on-demand.log";
pub(super) const OLD_ON_DEMAND_LOG: &str = "on-demand.old.log";
pub(super) const TASK_FILE: &str = "task.json";
pub(super) const EVENTS_FILE: &str = "events.jsonl";
pub(super) const RESPONSE_FILE: &str = "response.json";
pub(super) const REQUEST_FILE: &str = "request.md";
/// The name of an edited request between its writing and the moment at which it takes the place of the old one.
pub(super) const NEXT_REQUEST_FILE: &str = "request.next.md";
pub(super) const RESPONSE_BODY_FILE: &str = "response.md";
/// In the directory of a task: one numbered directory for each run.
pub(super) const ATTEMPTS: &str = "attempts";

/// The directories of one store.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) root: Dir,
    pub(super) tasks: Dir,
    /// Is notified of the progress of long work.
    pub(super) progress: ProgressListener,
}

impl Layout {
    /// Opens the store at `path` and creates its missing parts.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let root = match Dir::open_root(path) {
            Ok(root) => root,
            Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {
                atomic::make_root(path)?;
                Dir::open_root(path)?
            }
            Err(error) => return Err(error),
        };
        let tasks = root.open_or_make(TASKS).map_err(hint_at_repair)?;
        Ok(Self { root, tasks, progress: ProgressListener::default() })
    }

    /// Opens the store at `path` if there is one; makes nothing.
    pub(super) fn open_existing(path: &Path) -> Result<Option<Self>> {
        let root = match Dir::open_root(path) {
            Ok(root) => root,
            Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => return Ok(None),
            Err(error) => return Err(error),
        };
        let tasks = root.open_existing(TASKS).map_err(hint_at_repair)?;
        Ok(tasks.map(|tasks| Self { root, tasks, progress: ProgressListener::default() }))
    }

    /// Represents the store at `path`, which does not exist, as an empty one. Nothing can be written to it.
    pub(super) fn absent(path: &Path) -> Result<Self> {
        let (root, tasks) = (Dir::absent(path.to_path_buf())?, Dir::absent(path.join(TASKS))?);
        Ok(Self { root, tasks, progress: ProgressListener::default() })
    }

    /// Returns whether it represents a store that does not exist.
    pub(super) fn is_absent(&self) -> bool {
        self.tasks.is_absent()
    }

    /// Opens the directory of a task; `None` when there is none.
    pub(super) fn task(&self, id: &TaskId) -> Result<Option<Dir>> {
        self.tasks.open_existing(id.as_str())
    }

    /// Opens the staging directory, and makes it if it does not exist.
    pub(super) fn tmp(&self) -> Result<Dir> {
        self.root.open_or_make(TMP)
    }

    /// Opens the directory of the index, and makes it if it does not exist.
    pub(super) fn indexes(&self) -> Result<Dir> {
        self.root.open_or_make(INDEXES)
    }
}

/// Adds a hint about the repair of a store that cannot be opened.
pub(super) fn hint_at_repair(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Corrupt => error.with_hint("`lanes fsck --repair` moves it out of the way"),
        _ => error,
    }
}

/// Returns the directory name of a lane in the index: readable, and unique because of a hash.
pub(super) fn lane_key(lane: &str) -> String {
    let mut name = slug(lane);
    name.truncate(60);
    format!("{name}-{}", &hex(&Sha256::digest(lane.as_bytes()))[..10])
}

/// Returns the file name of an idempotency key of a workspace.
pub(super) fn idempotency_key(workspace_id: &str, key: &IdempotencyKey) -> String {
    let mut hash = Sha256::new();
    hash.update(workspace_id.as_bytes());
    hash.update([0]);
    hash.update(key.as_str().as_bytes());
    hex(&hash.finalize())
}

/// Returns the file name of an exclusive key.
pub(super) fn exclusive_key(key: &ExclusiveKey) -> String {
    let mut name = hex(&Sha256::digest(key.as_str().as_bytes()));
    name.truncate(32);
    name
}

/// Returns the file name of a group.
pub(super) fn group_key(group: &str) -> String {
    let mut name = hex(&Sha256::digest(group.as_bytes()));
    name.truncate(32);
    name
}

/// Returns lower-case hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
