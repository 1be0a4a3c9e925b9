//! The state directory: the only code that touches it.
//!
//! # How a change happens
//!
//! 1. Lock the task (not the store), read task.json.
//! 2. Apply the command (`model::transition`); a refusal ends here, with nothing written.
//! 3. Write the new task.json under `tmp/` and sync it.
//! 4. Lock the store. If task.json is no longer the file that was read (another implementation
//!    wrote it), go back to 1. Otherwise rename: **this is the commit**. Copy the new events to
//!    events.jsonl and the feed, update the index, unlock.
//! 5. Sync the task's directory, so that the rename survives a power cut; ring the doorbells.
//!
//! So nothing is synced while the store lock is held, a reader sees the state before or after and
//! never between, and whatever a killed process leaves undone after the commit is derived data that
//! the next change completes.

mod atomic;
mod attempt_files;
mod bounded_file;
mod claim_next;
mod clock;
mod commit;
mod conversation_locks;
mod correlation_file;
mod diagnostics;
mod dir;
mod feed;
mod file_tail;
mod fsck;
mod gc;
mod history;
mod index;
mod json_file;
mod lane_queries;
mod lane_settings;
mod layout;
mod lock;
mod outbox;
mod own_files;
mod private_files;
mod progress;
mod quarantine;
mod request_file;
mod response_delivery;
mod routes;
mod scan;
mod server_token;
mod submit;
mod submit_batch;
mod task_files;
mod thread_queue;
mod transfer;
mod usage_log;
mod vendor_cooldowns;
mod watch;
mod worker_registry;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use attempt_files::AttemptDir;
pub use claim_next::{ClaimRequest, LaneQuery};
pub use clock::{Clock, Entropy};
pub use diagnostics::DiskSpace;
pub use feed::{FeedCursor, FeedEntry};
pub use fsck::{Finding, FsckReport, Severity};
pub use gc::{GcPlan, GcReport};
pub use lane_settings::Pause;
pub use lock::FileLock;
pub use lock::give_up_waiting;
#[doc(hidden)]
pub use lock::last_lock_hold;
pub use own_files::{is_linked_into_store, lies_in_store};
pub use private_files::PrivateFiles;
pub use progress::ProgressListener;
pub use routes::FileVersion;
pub use server_token::new_secret;
pub use submit::Submitted;
pub use transfer::ImportReport;
pub use vendor_cooldowns::CooldownChange;
pub use watch::Watch;
pub use worker_registry::{AbandonedWorker, DISPATCHER, Registration, WorkerInfo};

use rustix::io::Errno;

use self::dir::Dir;
use self::layout::Layout;
use crate::error::{Error, ErrorKind, Result, printable};
use crate::model::{Event, Now, Response, Task, TaskId, Time, json};
use crate::sync;

/// The version of the layout that this program writes.
pub const FORMAT_VERSION: u64 = 1;

/// How to use a store.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// How long to wait for a lock before giving up.
    pub lock_timeout: Duration,
    /// Where the time comes from.
    pub clock: Clock,
    /// Where random numbers come from.
    pub entropy: Entropy,
    /// Whether a store on a network file system is used all the same.
    pub allow_network_fs: bool,
    /// Who is told how far the store is with what takes it long.
    pub progress: ProgressListener,
    /// The root of the workspace that the store belongs to, resolved. Where it is known, fsck reports tasks
    /// whose answers belong elsewhere, and an import keeps such answers in the store.
    pub workspace_root: Option<PathBuf>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            lock_timeout: Duration::from_secs(10),
            clock: Clock::system(),
            entropy: Entropy::system(),
            allow_network_fs: false,
            progress: ProgressListener::default(),
            workspace_root: None,
        }
    }
}

/// A state directory.
#[derive(Debug)]
pub struct Store {
    layout: Layout,
    options: StoreOptions,
    /// The version in format.json; newer than ours means that we only read.
    version: u64,
}

impl Store {
    /// Opens the store at `root` and makes what is missing of it.
    ///
    /// # Errors
    /// `Config` when `root` is no directory or lies on a network file system; `Io` when it cannot be
    /// opened or made.
    pub fn open(root: &Path, options: StoreOptions) -> Result<Self> {
        let root = std::path::absolute(root).map_err(|error| Error::io("find", root, error))?;
        Self::of(Layout::open(&root)?, options)
    }

    fn of(layout: Layout, options: StoreOptions) -> Result<Self> {
        let layout = Layout { progress: options.progress.clone(), ..layout };
        if !options.allow_network_fs {
            lock::refuse_network_file_system(&layout.root)?;
        }
        let version = format_version(&layout)?;
        Ok(Self { layout, options, version })
    }

    /// Opens the store at `root` if there is one; makes nothing.
    ///
    /// # Errors
    /// `NotFound` when nothing is there, or no store; else as [`Store::open`].
    pub fn open_existing(root: &Path, options: StoreOptions) -> Result<Self> {
        let root = std::path::absolute(root).map_err(|error| Error::io("find", root, error))?;
        match Layout::open_existing(&root)? {
            Some(layout) => Self::of(layout, options),
            None => {
                Err(Error::not_found(format!("there is no store at {}", printable(&root.to_string_lossy())))
                    .with_hint("look at --store and LANES_STORE; the first `lanes submit` makes a store"))
            }
        }
    }

    /// Opens the store at `root` to look at it; makes nothing. While there is none, it reads as an empty one,
    /// to which nothing can be written.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_to_read(root: &Path, options: StoreOptions) -> Result<Self> {
        let root = std::path::absolute(root).map_err(|error| Error::io("find", root, error))?;
        match Layout::open_existing(&root)? {
            Some(layout) => Self::of(layout, options),
            None => Ok(Self { layout: Layout::absent(&root)?, options, version: FORMAT_VERSION }),
        }
    }

    /// Whether there is a store at `root`, as far as can be seen.
    pub fn is_there(root: &Path) -> bool {
        root.join(layout::TASKS).symlink_metadata().is_ok()
    }

    /// The absolute path of the state directory.
    pub fn root(&self) -> &Path {
        self.layout.root.path()
    }

    /// Refuses to wait for work in tasks that are not the store's any more.
    ///
    /// # Errors
    /// `NotFound` when the directory of the tasks was removed or replaced after the store was opened.
    pub fn check_in_place(&self) -> Result<()> {
        let Layout { root, tasks, .. } = &self.layout;
        let opened = rustix::fs::fstat(tasks).map_err(|errno| Error::io("read", tasks.path(), errno))?;
        if lock::still_there(root, layout::TASKS, &opened) {
            return Ok(());
        }
        let path = printable(&tasks.path().to_string_lossy());
        Err(Error::not_found(format!("{path} was removed or replaced while this command waited"))
            .with_hint("give the command again to wait for the tasks that are there now"))
    }

    /// The present moment by the store's clock.
    pub fn now(&self) -> Now {
        self.options.clock.now()
    }

    /// A random number from the store's source.
    pub fn random(&self) -> u128 {
        self.options.entropy.draw(self.now().wall)
    }

    /// Where the run logs of a task are kept: one numbered directory for each attempt.
    pub fn attempts_dir(&self, id: &TaskId) -> PathBuf {
        self.layout.tasks.path().join(id.as_str()).join(layout::ATTEMPTS)
    }

    /// Refuses to change a store that a newer version wrote.
    ///
    /// # Errors
    /// `Config` when the store's format is newer than this program's.
    pub fn check_writable(&self) -> Result<()> {
        if self.version <= FORMAT_VERSION {
            return Ok(());
        }
        Err(Error::config(format!(
            "the store {} has format {}, this program writes format {FORMAT_VERSION}",
            printable(&self.root().to_string_lossy()),
            self.version
        ))
        .with_hint("it can be read, but only a newer lanes can change it"))
    }

    fn unknown(id: &str) -> Error {
        Error::not_found(format!("unknown task: {}", printable(id)))
            .with_hint("`lanes list` shows the tasks of this queue")
    }

    fn task_dir(&self, id: &TaskId) -> Result<Dir> {
        self.layout.task(id)?.ok_or_else(|| Self::unknown(id.as_str()))
    }

    fn load(&self, dir: &Dir, id: &TaskId) -> Result<task_files::LoadedTask> {
        task_files::task(dir, id)?.ok_or_else(|| Self::unknown(id.as_str()))
    }

    /// Finds the task that `text` names: its id, or a beginning or an end that only one id has.
    ///
    /// # Errors
    /// `Invalid` for text that is no part of an id, or of several; `NotFound` when no task fits.
    pub fn resolve(&self, text: &str) -> Result<TaskId> {
        let id = TaskId::parse(text)?;
        if self.layout.task(&id)?.is_some() {
            return Ok(id);
        }
        let mut fits: Vec<String> = self.layout.tasks.names()?;
        fits.retain(|name| TaskId::is_valid(name) && (name.starts_with(text) || name.ends_with(text)));
        fits.sort_unstable();
        match fits.as_slice() {
            [] => Err(Self::unknown(text)),
            [one] => TaskId::parse(one),
            several => {
                let shown: Vec<&str> = several.iter().take(5).map(String::as_str).collect();
                let more = if several.len() > 5 { ", …" } else { "" };
                Err(Error::invalid(format!("'{text}' fits {} tasks", several.len()))
                    .with_hint(format!("give more of the id: {}{more}", shown.join(", "))))
            }
        }
    }

    /// Reads a task.
    ///
    /// # Errors
    /// `NotFound` when there is none; `Corrupt` when its file is not a task.
    pub fn task(&self, id: &TaskId) -> Result<Task> {
        let dir = self.task_dir(id)?;
        Ok(self.load(&dir, id)?.task)
    }

    /// The answer to a task; `None` while it is open, and when the answer's file is gone.
    ///
    /// # Errors
    /// `Corrupt` when the file is not a response.
    pub fn response(&self, task: &Task) -> Result<Option<Response>> {
        if let Some(response) = task.journal.response.as_ref().filter(|_| task.status.is_terminal()) {
            return Ok(Some(response.clone()));
        }
        let dir = self.task_dir(&task.id)?;
        task_files::response(&dir, task)
    }

    /// Whether a task has an answer file, without reading it.
    pub fn response_exists(&self, task: &Task) -> bool {
        task.status.is_terminal()
            && (task.journal.response.is_some()
                || self.task_dir(&task.id).is_ok_and(|dir| {
                    let names =
                        [layout::RESPONSE_FILE.to_string(), task_files::pending_response_name(task.fence)];
                    names.iter().any(|name| dir.path().join(name).exists())
                }))
    }

    /// The history of a task, oldest first.
    pub fn events(&self, id: &TaskId) -> Result<Vec<Event>> {
        let dir = self.task_dir(id)?;
        let task = self.load(&dir, id)?.task;
        history::events(&dir, &task)
    }

    /// The newest event of a task.
    pub fn last_event(&self, task: &Task) -> Result<Option<Event>> {
        history::last_event(&self.task_dir(&task.id)?, task)
    }

    /// The changes after number `since`, oldest first, at most `limit` of them.
    pub fn feed_since(&self, since: u64, limit: usize) -> Result<Vec<FeedEntry>> {
        feed::since(&self.layout.root, since, limit)
    }

    /// The changes after a cursor, which moves behind them; cheap to ask again and again.
    pub fn feed_after(&self, cursor: &mut FeedCursor, limit: usize) -> Result<Vec<FeedEntry>> {
        feed::after(&self.layout.root, cursor, limit)
    }

    /// The number of the oldest change that the feed still tells of; `None` when it is empty. It
    /// grows when [`Store::gc`] drops old entries: who asks for earlier ones has missed some.
    pub fn feed_start(&self) -> Result<Option<u64>> {
        feed::first(&self.layout.root)
    }

    /// The number of the newest change.
    pub fn feed_end(&self) -> Result<u64> {
        Ok(feed::newest(&self.layout.root, 64 * 1024)?.last().map_or(0, |entry| entry.seq))
    }

    /// The store lock. Whoever takes it means to write, if only derived data.
    fn lock_store(&self) -> Result<lock::StoreLock> {
        self.check_writable()?;
        lock::StoreLock::acquire(&self.layout.root, self.options.lock_timeout)
    }
}

/// Reads format.json, and writes it into a store that has none.
fn format_version(layout: &Layout) -> Result<u64> {
    let path = || layout.root.path().join(layout::FORMAT);
    let content =
        bounded_file::read(&layout.root, layout::FORMAT, 64 * 1024).map_err(layout::hint_at_repair)?;
    match content {
        Some(content) => json::parse_object(&content.bytes)
            .ok()
            .and_then(|object| object.get("version")?.as_u64())
            .ok_or_else(|| {
                let path = printable(&path().to_string_lossy());
                layout::hint_at_repair(Error::corrupt(format!("{path} does not name a version")))
            }),
        None => Ok(0),
    }
}

/// Writes format.json if it is not there yet.
fn mark_format(layout: &Layout) -> Result<()> {
    if bounded_file::read(&layout.root, layout::FORMAT, 64 * 1024)?.is_some() {
        return Ok(());
    }
    let mut object = json::Object::new();
    object.insert("version".into(), FORMAT_VERSION.into());
    object.insert("writer".into(), concat!("lanes ", env!("CARGO_PKG_VERSION")).into());
    // Whoever made the root may have been killed before its name was safe.
    atomic::sync_parent(layout.root.path())?;
    atomic::replace_durably(&layout.tmp()?, &layout.root, layout::FORMAT, json::to_text(&object).as_bytes())
}

/// Whether an error only says that this store cannot be written, so that it can still be read.
fn cannot_write(error: &Error) -> bool {
    let refused = [Errno::ACCESS, Errno::PERM, Errno::ROFS, Errno::NOSPC, Errno::DQUOT];
    match error.kind() {
        ErrorKind::Config => true,
        ErrorKind::Io => refused.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error())),
        _ => false,
    }
}

/// The earlier of two moments of which each may be absent.
fn earlier(a: Option<Time>, b: Option<Time>) -> Option<Time> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
