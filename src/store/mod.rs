//! The state directory; no other module touches it.
//!
//! The rest of the crate sees [`Store`] of `api/`, which does not say what keeps it. This is so far a [`FileStore`], to which
//! all other files belong. What a method promises is documented in `api/`.
//!
//! # How a change happens
//!
//! 1. Lock the task (not the store) and read task.json.
//! 2. Apply the command (`model::transition`); a refusal ends here, with nothing written.
//! 3. Write the new task.json under `tmp/` and sync it.
//! 4. Lock the store. If task.json is no longer the file that was read (another implementation wrote it),
//!    go back to 1. Otherwise rename: **this is the commit**. Copy the new events to events.jsonl and the
//!    feed, update the index, unlock.
//! 5. Sync the task's directory, so that the rename survives a power cut; ring the doorbells.
//!
//! So no task is synced while the store lock is held, and a reader sees the state before or after a
//! change and never between. What a killed process leaves undone after the commit is derived data, which the
//! next change completes.
//!
//! # Where the methods of `FileStore` are
//!
//! This file defines [`FileStore`], and every other file adds methods to it: all of them import this one, which in
//! turn declares them and uses some. Other than that, no files here import each other in a circle.
//!
//! | file | methods |
//! |---|---|
//! | `mod.rs` | `open`, `open_existing`, `open_to_read`, `exists`, `root`, `address`, `contains`, `check_in_place`, `now`, `random`, `check_writable`, `resolve`, `task`, `response`, `response_exists`, `events`, `last_event`, `feed_since`, `feed_after`, `feed_start`, `feed_end` |
//! | `submit.rs` | `submit`, `retry`, `retry_with_dependents`, `copy_request`, `submit_again`, `task_with_key` |
//! | `submit_batch.rs` | `submit_batch` |
//! | `claim_next.rs` | `claim_next`, `claim_next_as`, `peek_next`, `settle`, `read_settled` |
//! | `dependencies.rs` | `dependents`, `newest_successor` |
//! | `exclusive.rs` | `held_key` |
//! | `groups.rs` | `task_names_of_group`, `group_members`, `counted_members`, `ended_group` |
//! | `commit.rs` | `claim`, `claim_as`, `apply` |
//! | `lane_queries.rs` | `next_due`, `lane_is_served`, `lane_has_live_claim`, `tasks_ahead`, `open_task_ids`, `recent_task_ids`, `recent_lanes`, `lanes_with_tasks`, `lane_has_tasks`, `lane_is_new`, `queue_depth`, `lanes_with_ready_tasks`, `held_tasks` |
//! | `shown_states.rs` | `shown_states`, `shown` |
//! | `scan.rs` | `task_names`, `scan_names`, `scan_stamped`, `task_stamp`, `task_names_stamp`, `scan`, `dead_tasks` |
//! | `request_file.rs` | `with_current_paths`; of `Blobs`: `request_check`, `stored_request` |
//! | `blobs.rs` | `blobs`; of `Blobs`: `response_path`, `attempt_numbers`, `attempt` |
//! | `spool.rs` | `spool`; of `Spool`: `task_path`, `attempt_path` |
//! | `response_delivery.rs` | `is_response_kept_in_store`, `sync_response`, `copy_response` |
//! | `attempt_files.rs` | of `Spool`: `attempt`, `existing_attempt`, `attempt_numbers` |
//! | `answer_cache.rs` | `cached_answer`, `cache_answer`, `forget_cached_answer`, `count_cached_answers`, `clear_answer_cache` |
//! | `bridges.rs` | `try_bridge_lock`, `bridge_records`, `save_bridge_records` |
//! | `outbox.rs` | of `Spool`: `add_to_outbox`, `remove_from_outbox`, `outbox` |
//! | `conversation_locks.rs` | of `Spool`: `conversation_lock_path`, `remove_stale_conversation_locks` |
//! | `lane_settings.rs` | `paused`, `pause`, `resume`, `lane_descriptions`, `change_lane_descriptions`, `server_lanes` |
//! | `dispatch_routes.rs` | `routes_text`, `routes_path`, `routes`, `change_routes`, `routes_version` |
//! | `agents.rs` | `agents_text`, `agents_path`, `agents`, `change_agents`, `agents_version` |
//! | `vendor_cooldowns.rs` | `cooldowns`, `active_cooldowns`, `change_cooldown`, `pause_vendor`, `resume_vendor` |
//! | `schedule_records.rs` | `schedule_records`, `record_schedule` |
//! | `notice_state.rs` | `try_notice_lock`, `try_automation_lock`, `automation_is_running`, `notice_state`, `set_notice_state` |
//! | `spending.rs` | `spending`, `recorded_spending`, `change_spending` |
//! | `usage_log.rs` | `append_usage`, `usage_log_text` |
//! | `server_token.rs` | of `Spool`: `server_token_file` |
//! | `login_page.rs` | of `Spool`: `login_page` |
//! | `on_demand.rs` | of `Spool`: `try_on_demand_lock`, `try_on_demand_next_lock`, `on_demand_is_locked`, `on_demand_lock_path`, `on_demand_log` |
//! | `worker_registry.rs` | `register`, `abandoned_workers`, `dead_workers`, `has_exiting_worker`, `live_workers`, `lane_is_attended`, `on_demand_dispatcher`, `live_chat_servers` |
//! | `watch/mod.rs` | `can_watch`, `watch_tasks`, `watch_tasks_until_exit`, `watch_lanes`, `watch_lanes_until_exit`, `watch_feed`, `wake_waiters` |
//! | `diagnostics.rs` | `format_version`, `is_writable_version`, `is_in_place`, `try_lock`, `disk_space`, `newest_change` |
//! | `fsck/mod.rs` | `fsck`, `repair` |
//! | `fsck/preflight.rs` | `fsck_at` |
//! | `gc.rs` | `gc` |
//! | `transfer/export.rs` | `export` |
//! | `transfer/import.rs` | `import` |

mod agents;
mod answer_cache;
mod api;
mod atomic;
mod attempt_files;
mod blobs;
mod bounded_file;
mod bridge_info;
mod bridges;
mod claim_next;
mod claim_request;
mod clock;
mod commit;
mod commit_group;
mod content_hash;
mod conversation_locks;
mod correlation_file;
mod dependencies;
mod diagnostics;
mod dir;
mod dispatch_routes;
mod dispatcher_info;
mod exclusive;
mod feed;
mod file_tail;
#[cfg(feature = "cli")]
mod foreign_file;
mod fsck;
mod gc;
mod groups;
mod history;
mod index;
mod json_file;
mod lane_queries;
mod lane_settings;
mod layout;
mod lock;
mod lock_queue;
#[cfg(feature = "cli")]
mod login_page;
mod notice_state;
mod on_demand;
mod outbox;
mod own_files;
mod private_files;
mod progress;
mod quarantine;
#[cfg(feature = "remote")]
mod remote;
mod remote_access;
mod request_file;
mod response_delivery;
mod scan;
mod schedule_records;
mod server_token;
mod settings_file;
#[cfg(feature = "cli")]
mod shared_file;
mod shown_states;
#[cfg(feature = "cli")]
mod spending;
mod spool;
mod submit;
mod submit_batch;
mod task_files;
mod transfer;
mod usage_log;
mod vendor_cooldowns;
mod watch;
pub(crate) mod wire;
mod worker_registry;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub use api::Store;
pub(crate) use atomic::replace_user_file;
pub(crate) use attempt_files::AttemptDir;
pub use blobs::Blobs;
pub(crate) use blobs::RunLogFile;
pub(crate) use bridge_info::BridgeInfo;
pub use claim_next::LaneQuery;
pub(crate) use claim_request::ClaimRequest;
pub use clock::{Clock, Entropy};
pub(crate) use dispatcher_info::{DispatcherInfo, LaneService, RegisteredRun};
pub(crate) use exclusive::HeldKey;
pub use feed::{FeedCursor, FeedEntry};
#[cfg(feature = "cli")]
pub(crate) use foreign_file::ForeignFile;
pub use fsck::{Finding, FsckReport, Severity};
pub use gc::{GcAge, GcPlan, GcReport};
#[cfg(feature = "cli")]
pub(crate) use lane_queries::ReadyTasks;
pub use lane_settings::Pause;
#[cfg(feature = "cli")]
pub(crate) use lock::CompanionLock;
pub(crate) use lock::FileLock;
pub(crate) use lock::stop_waiting_for_locks;
#[doc(hidden)]
pub use lock::{last_lock_hold, longest_lock_hold};
#[cfg(feature = "cli")]
pub(crate) use login_page::LoginPage;
pub(crate) use notice_state::{NoticeState, PendingNotice};
pub(crate) use own_files::{is_linked_into_store, lies_in_store};
pub(crate) use private_files::PrivateFiles;
pub use progress::ProgressListener;
pub use remote_access::{RemoteAccess, StoreToken};
pub(crate) use remote_access::{StorePlace, is_address, needs_the_store_itself};
#[cfg(feature = "cli")]
pub(crate) use scan::TaskStamp;
pub use schedule_records::{ScheduleRecord, ScheduleRecords};
pub(crate) use server_token::new_secret;
pub(crate) use settings_file::FileVersion;
#[cfg(feature = "cli")]
pub(crate) use shared_file::SharedFile;
pub(crate) use shown_states::ShownStates;
pub use submit::SubmittedTask;
pub use transfer::ImportReport;
pub(crate) use vendor_cooldowns::CooldownChange;
pub use watch::Watch;
pub(crate) use worker_registry::AbandonedWorker;
pub use worker_registry::{Registration, WorkerInfo, WorkerKind};

use rustix::io::Errno;

use self::dir::Dir;
use self::layout::Layout;
use crate::error::{Error, ErrorKind, Result, printable};
use crate::model::{Event, Now, Response, Task, TaskId, Time, json};
use crate::sync;

/// The version of the format that this program writes.
pub(crate) const FORMAT_VERSION: u64 = 1;

/// How a store is used.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// How long to wait for a lock while one process holds it. While it passes from process to process, the wait
    /// is up to six times as long.
    pub lock_timeout: Duration,
    /// The source of the time.
    pub clock: Clock,
    /// The source of random numbers.
    pub entropy: Entropy,
    /// Whether a store on a network file system is used nevertheless.
    pub allow_network_fs: bool,
    /// Is notified of the progress of long work.
    pub progress: ProgressListener,
    /// The root of the workspace that the store belongs to, resolved. If it is known, fsck reports tasks
    /// whose responses belong elsewhere, and an import keeps such responses in the store.
    pub workspace_root: Option<PathBuf>,
    /// How the store of a server is reached. Without it, an address in the place of a path is refused.
    pub remote: Option<RemoteAccess>,
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
            remote: None,
        }
    }
}

/// A state directory.
#[derive(Debug)]
struct FileStore {
    layout: Layout,
    options: StoreOptions,
    /// The version in format.json; a newer one than ours makes the store read-only.
    version: u64,
    /// Whether this process has seen that tasks are to be released whose dependencies have ended.
    releases_are_due: AtomicBool,
}

impl FileStore {
    pub(crate) fn open(root: &Path, options: StoreOptions) -> Result<Self> {
        let root = std::path::absolute(root).map_err(|error| Error::io("find", root, error))?;
        Self::of(Layout::open(&root)?, options)
    }

    fn of(layout: Layout, options: StoreOptions) -> Result<Self> {
        let layout = Layout { progress: options.progress.clone(), ..layout };
        if !options.allow_network_fs {
            lock::refuse_network_file_system(&layout.root)?;
        }
        let version = format_version(&layout)?;
        Ok(Self { layout, options, version, releases_are_due: AtomicBool::new(false) })
    }

    pub(crate) fn open_existing(root: &Path, options: StoreOptions) -> Result<Self> {
        let root = std::path::absolute(root).map_err(|error| Error::io("find", root, error))?;
        match Layout::open_existing(&root)? {
            Some(layout) => Self::of(layout, options),
            None => {
                Err(Error::not_found(format!("there is no store at {}", printable(&root.to_string_lossy())))
                    .with_hint("check --store and LANES_STORE; the first `lanes submit` creates a store"))
            }
        }
    }

    pub(crate) fn open_to_read(root: &Path, options: StoreOptions) -> Result<Self> {
        let root = std::path::absolute(root).map_err(|error| Error::io("find", root, error))?;
        match Layout::open_existing(&root)? {
            Some(layout) => Self::of(layout, options),
            None => Ok(Self {
                layout: Layout::absent(&root)?,
                options,
                version: FORMAT_VERSION,
                releases_are_due: AtomicBool::new(false),
            }),
        }
    }

    pub(crate) fn exists(root: &Path) -> bool {
        root.join(layout::TASKS).symlink_metadata().is_ok()
    }

    pub(crate) fn root(&self) -> &Path {
        self.layout.root.path()
    }

    pub(crate) fn address(&self) -> &Path {
        self.root()
    }

    pub(crate) fn contains(&self, path: &Path) -> Result<bool> {
        lies_in_store(self.root(), path).map_err(|error| Error::io("access", self.root(), error))
    }

    pub(crate) fn check_in_place(&self) -> Result<()> {
        let Layout { root, tasks, .. } = &self.layout;
        let opened = rustix::fs::fstat(tasks).map_err(|errno| Error::io("read", tasks.path(), errno))?;
        if lock::is_same_file_at(root, layout::TASKS, &opened) {
            return Ok(());
        }
        let path = printable(&tasks.path().to_string_lossy());
        Err(Error::not_found(format!("{path} was removed or replaced while this command waited"))
            .with_hint("run the command again to wait for the tasks that are there now"))
    }

    pub(crate) fn now(&self) -> Now {
        self.options.clock.now()
    }

    pub(crate) fn random(&self) -> u128 {
        self.options.entropy.next(self.now().wall)
    }

    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.version <= FORMAT_VERSION {
            return Ok(());
        }
        let message = format!(
            "the store {} has format {}, this program writes format {FORMAT_VERSION}",
            printable(&self.root().to_string_lossy()),
            self.version
        );
        Err(Error::new(ErrorKind::NewerFormat, message)
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

    pub(crate) fn resolve(&self, text: &str) -> Result<TaskId> {
        let id = TaskId::parse(text)?;
        if self.layout.task(&id)?.is_some() {
            return Ok(id);
        }
        let mut matching: Vec<String> = self.layout.tasks.names()?;
        matching.retain(|name| TaskId::is_valid(name) && (name.starts_with(text) || name.ends_with(text)));
        matching.sort_unstable();
        match matching.as_slice() {
            [] => Err(Self::unknown(text)),
            [one] => TaskId::parse(one),
            several => {
                let shown: Vec<&str> = several.iter().take(5).map(String::as_str).collect();
                let more = if several.len() > 5 { ", …" } else { "" };
                Err(Error::invalid_here(format!("'{text}' matches {} tasks", several.len()))
                    .with_hint(format!("type more of the id: {}{more}", shown.join(", "))))
            }
        }
    }

    pub(crate) fn task(&self, id: &TaskId) -> Result<Task> {
        let dir = self.task_dir(id)?;
        Ok(self.load(&dir, id)?.task)
    }

    pub(crate) fn response(&self, task: &Task) -> Result<Option<Response>> {
        if let Some(response) = task.bookkeeping.response.as_ref().filter(|_| task.status.is_terminal()) {
            return Ok(Some(response.clone()));
        }
        let dir = self.task_dir(&task.id)?;
        task_files::response(&dir, task)
    }

    pub(crate) fn response_exists(&self, task: &Task) -> bool {
        task.status.is_terminal()
            && (task.bookkeeping.response.is_some()
                || self.task_dir(&task.id).is_ok_and(|dir| {
                    let names =
                        [layout::RESPONSE_FILE.to_string(), task_files::pending_response_name(task.fence)];
                    names.iter().any(|name| dir.path().join(name).exists())
                }))
    }

    pub(crate) fn events(&self, id: &TaskId) -> Result<Vec<Event>> {
        let dir = self.task_dir(id)?;
        let task = self.load(&dir, id)?.task;
        history::events(&dir, &task)
    }

    pub(crate) fn last_event(&self, task: &Task) -> Result<Option<Event>> {
        history::last_event(&self.task_dir(&task.id)?, task)
    }

    pub(crate) fn feed_since(&self, since: u64, limit: usize) -> Result<Vec<FeedEntry>> {
        feed::since(&self.layout.root, since, limit)
    }

    pub(crate) fn feed_after(&self, cursor: &mut FeedCursor, limit: usize) -> Result<Vec<FeedEntry>> {
        feed::after(&self.layout.root, cursor, limit)
    }

    pub(crate) fn feed_start(&self) -> Result<Option<u64>> {
        feed::first_number(&self.layout.root)
    }

    pub(crate) fn feed_end(&self) -> Result<u64> {
        Ok(feed::newest_entries(&self.layout.root, 64 * 1024)?.last().map_or(0, |entry| entry.seq))
    }

    /// Takes the store lock, to write task files or derived data.
    fn lock_store(&self) -> Result<lock::StoreLock> {
        self.check_writable()?;
        lock::StoreLock::acquire(&self.layout.root, self.options.lock_timeout)
    }
}

/// Reads the version in format.json; 0 when there is none.
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

/// Writes format.json if it does not exist yet.
fn write_format(layout: &Layout) -> Result<()> {
    if bounded_file::read(&layout.root, layout::FORMAT, 64 * 1024)?.is_some() {
        return Ok(());
    }
    let mut object = json::Object::new();
    object.insert("version".into(), FORMAT_VERSION.into());
    object.insert("writer".into(), concat!("lanes ", env!("CARGO_PKG_VERSION")).into());
    // The process that made the root may have been killed before its name was durable.
    atomic::sync_parent(layout.root.path())?;
    atomic::replace_durably(&layout.tmp()?, &layout.root, layout::FORMAT, json::to_text(&object).as_bytes())
}

/// Returns whether an error only means that this store is not writable, so that it can still be read.
fn cannot_write(error: &Error) -> bool {
    let refused = [Errno::ACCESS, Errno::PERM, Errno::ROFS, Errno::NOSPC, Errno::DQUOT];
    match error.kind() {
        kind if kind.forbids_changes() => true,
        ErrorKind::Io => refused.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error())),
        _ => false,
    }
}

/// Returns the earlier of two times, each of which may be absent.
fn earlier(a: Option<Time>, b: Option<Time>) -> Option<Time> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    /// Returns the Rust files below a directory.
    fn files_below(dir: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let (dirs, files): (Vec<PathBuf>, Vec<PathBuf>) = entries.partition(|path| path.is_dir());
        files.into_iter().chain(dirs.iter().flat_map(|dir| files_below(dir))).collect()
    }

    #[test]
    fn every_public_method_is_in_the_table() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
        let table = std::fs::read_to_string(root.join("mod.rs")).unwrap();
        let mut count = 0;
        for path in files_below(&root) {
            let text = std::fs::read_to_string(&path).unwrap();
            let file = path.strip_prefix(&root).unwrap().display();
            let row = table.lines().find(|line| line.starts_with(&format!("//! | `{file}` |"))).unwrap_or("");
            for block in text.split("\nimpl FileStore {\n").skip(1) {
                let block = block.split("\n}\n").next().unwrap_or_default();
                for line in block.lines().filter_map(|line| {
                    line.strip_prefix("    pub fn ").or_else(|| line.strip_prefix("    pub(crate) fn "))
                }) {
                    let name = line.split(['(', '<']).next().unwrap_or_default();
                    assert!(row.contains(&format!("`{name}`")), "{file}: {name}");
                    count += 1;
                }
            }
        }
        assert!(count > 80, "{count}");
    }
}
