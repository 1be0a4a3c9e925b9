//! The workers that are running on this store.
//!
//! A worker puts a registration into `workers/` and keeps it locked as long as it runs. The lock is the sign
//! of life: the kernel releases it when the process ends, however it ends, and unlike a process id it never
//! belongs to another process.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use super::dir::Dir;
use super::layout::WORKERS;
use super::{FileStore, atomic, bounded_file, lock};
use crate::error::{Error, ErrorKind, Result};
use crate::model::task::object;
use crate::model::{LaneName, Owner, Time, json};
use crate::os::process_table;

/// What a worker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerKind {
    /// A command or a chat that waits for a task to claim.
    ClaimWait,
    /// A dispatcher. Its registration outlives it, because its tasks must be recovered.
    Dispatcher,
    /// A server whose clients wait for tasks.
    Server,
    /// A bridge to an outside board, which is registered like a worker without being one.
    Bridge,
    /// A server for chats, which is registered like a worker without being one.
    ChatServer,
    /// A kind of another version or implementation.
    Other(String),
}

impl WorkerKind {
    /// Returns the name in registrations.
    pub fn as_str(&self) -> &str {
        match self {
            Self::ClaimWait => "claim-wait",
            Self::Dispatcher => "dispatcher",
            Self::Server => "serve",
            Self::Bridge => "bridge",
            Self::ChatServer => "chat-server",
            Self::Other(name) => name,
        }
    }

    /// Parses the name of a kind.
    pub fn parse(name: &str) -> Self {
        [Self::ClaimWait, Self::Dispatcher, Self::Server, Self::Bridge, Self::ChatServer]
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .unwrap_or_else(|| Self::Other(name.to_string()))
    }
}

/// The key of the data of a worker on another machine.
const ELSEWHERE: &str = "elsewhere";

/// What a worker registers.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerInfo {
    /// What it is.
    pub kind: WorkerKind,
    /// The name under which it claims.
    pub owner: Owner,
    /// Its process id.
    pub pid: u32,
    /// The lanes it serves.
    pub lanes: Vec<LaneName>,
    /// The filter for its tasks; empty for all.
    pub filter: String,
    /// When it was registered.
    pub since: Time,
    /// More data, which depends on the kind.
    pub data: json::Object,
}

impl WorkerInfo {
    /// Returns the registration as JSON.
    pub fn to_object(&self) -> json::Object {
        object([
            ("kind", self.kind.as_str().into()),
            ("owner", self.owner.clone().into()),
            ("pid", self.pid.into()),
            ("lanes", self.lanes.clone().into()),
            ("match", self.filter.clone().into()),
            ("since", self.since.to_string().into()),
            ("data", Value::Object(self.data.clone())),
        ])
    }

    /// Returns whether its process is stopped, as by Ctrl-Z: then it keeps its registration and its claims, and does
    /// nothing.
    pub fn is_stopped(&self) -> bool {
        !self.is_elsewhere()
            && process_table::stat(self.pid.cast_signed()).is_some_and(|stat| stat.is_stopped)
    }

    /// Returns the worker as one of another machine, of whose process nothing is known here.
    #[cfg(feature = "remote")]
    pub(super) fn elsewhere(mut self) -> Self {
        self.data.insert(ELSEWHERE.to_string(), true.into());
        self
    }

    fn is_elsewhere(&self) -> bool {
        self.data.contains_key(ELSEWHERE)
    }

    pub(super) fn from_object(object: &json::Object) -> Option<Self> {
        let text = |key: &str| object.get(key).and_then(Value::as_str).map(str::to_string);
        let lanes = object.get("lanes")?.as_array()?;
        Some(Self {
            kind: WorkerKind::parse(&text("kind")?),
            owner: Owner::stored(text("owner")?),
            pid: u32::try_from(object.get("pid")?.as_u64()?).ok()?,
            lanes: lanes.iter().filter_map(|lane| lane.as_str().map(LaneName::stored)).collect(),
            filter: text("match").unwrap_or_default(),
            since: Time::parse(&text("since")?).ok()?,
            data: object.get("data").and_then(Value::as_object).cloned().unwrap_or_default(),
        })
    }
}

/// The registration of a running worker; ends when dropped, and in any case with the process.
#[derive(Debug)]
pub struct Registration(RegisteredAt);

/// Where a worker is registered.
#[derive(Debug)]
enum RegisteredAt {
    /// In a file of the store, locked while the process lives.
    File(LockedFile),
    /// With the server of the store, which shows it while this process asks it to wait for work.
    #[cfg(feature = "remote")]
    Server(std::sync::Arc<std::sync::atomic::AtomicBool>),
}

#[derive(Debug)]
struct LockedFile {
    workers: Dir,
    name: String,
    registration: OwnedFd,
}

impl Registration {
    /// Makes the registration of a process that waits on a server; `is_working` is what tells the server so.
    #[cfg(feature = "remote")]
    pub(super) fn remote(is_working: std::sync::Arc<std::sync::atomic::AtomicBool>) -> Self {
        Self(RegisteredAt::Server(is_working))
    }

    /// Replaces the content of the registration.
    ///
    /// # Errors
    /// `Io`.
    pub fn update(&self, worker: &WorkerInfo) -> Result<()> {
        match &self.0 {
            RegisteredAt::File(file) => file.update(worker),
            // The server shows what this process waits for.
            #[cfg(feature = "remote")]
            RegisteredAt::Server(_) => Ok(()),
        }
    }
}

impl LockedFile {
    fn update(&self, worker: &WorkerInfo) -> Result<()> {
        // In place and through the descriptor that holds the lock: a new file would not be locked.
        let path = || self.workers.path().join(&self.name);
        let fail = |error| Error::io("write", path(), error);
        let file = File::from(self.registration.try_clone().map_err(fail)?);
        let mut text = registration(worker);
        // Padded to the length of the old content: one write replaces all of it, so that a process killed
        // between the two calls leaves a readable registration.
        let length = text.len();
        let old = file.metadata().map_or(0, |meta| usize::try_from(meta.len()).unwrap_or(0));
        text.extend(std::iter::repeat_n('\n', old.saturating_sub(length)));
        file.write_all_at(text.as_bytes(), 0).map_err(fail)?;
        file.set_len(length as u64).map_err(fail)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        match &self.0 {
            RegisteredAt::File(file) => drop(atomic::remove(&file.workers, &file.name)),
            #[cfg(feature = "remote")]
            RegisteredAt::Server(is_working) => is_working.store(false, Ordering::SeqCst),
        }
    }
}

/// The registration of a dead worker, locked by the process that recovers its tasks.
#[derive(Debug)]
pub(crate) struct AbandonedWorker {
    /// What the worker registered last.
    pub info: WorkerInfo,
    workers: Dir,
    name: String,
    _registration: OwnedFd,
}

impl AbandonedWorker {
    /// Removes the registration, once the worker's tasks are recovered.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn clear(self) -> Result<()> {
        atomic::remove(&self.workers, &self.name)
    }
}

fn registration(worker: &WorkerInfo) -> String {
    json::to_text(&worker.to_object())
}

impl FileStore {
    pub(crate) fn register(&self, worker: &WorkerInfo) -> Result<Registration> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        self.check_writable()?;
        let workers = self.layout.root.open_or_make(WORKERS)?;
        let random = self.options.entropy.next(self.now().wall) as u32;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{count}-{random:08x}.json", worker.pid);
        // Locked before it gets its name, so that no process takes it for a dead worker's registration.
        let unnamed = format!(".{name}");
        let registration = atomic::create_ephemeral(&workers, &unnamed, registration(worker).as_bytes())?;
        lock::hold(&registration, &workers.path().join(&unnamed))?;
        atomic::rename_derived(&workers, &unnamed, &workers, &name)?;
        Ok(Registration(RegisteredAt::File(LockedFile { workers, name, registration })))
    }

    pub(crate) fn abandoned_workers(&self, kind: &WorkerKind) -> Result<Vec<AbandonedWorker>> {
        let Some(workers) = self.layout.root.open_existing(WORKERS)? else {
            return Ok(Vec::new());
        };
        let mut abandoned = Vec::new();
        for name in workers.names()? {
            if name.starts_with('.') || lock::is_held(&workers, &name)? {
                continue;
            }
            let Some(info) = registration_in(&workers, &name).filter(|info| info.kind == *kind) else {
                continue;
            };
            // A file that cannot be opened is not our registration; it must not stop the recovery of others.
            let Ok(registration) = atomic::open_for_update(&workers, &name).map(OwnedFd::from) else {
                continue;
            };
            if lock::hold(&registration, &workers.path().join(&name))? {
                let workers = self.layout.root.open_or_make(WORKERS)?;
                abandoned.push(AbandonedWorker { info, workers, name, _registration: registration });
            }
        }
        Ok(abandoned)
    }

    /// Opens the directory of the registrations. If something else has its name, no worker is known.
    fn workers(&self) -> Result<Option<Dir>> {
        match self.layout.root.open_existing(WORKERS) {
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
            workers => workers,
        }
    }

    pub(crate) fn dead_workers(&self, kind: &WorkerKind) -> Result<Vec<WorkerInfo>> {
        let Some(workers) = self.workers()? else {
            return Ok(Vec::new());
        };
        let mut dead = Vec::new();
        for name in workers.names()? {
            if !name.starts_with('.') && !lock::is_held(&workers, &name)? {
                dead.extend(registration_in(&workers, &name).filter(|info| info.kind == *kind));
            }
        }
        Ok(dead)
    }

    pub(crate) fn has_exiting_worker(&self, kind: &WorkerKind) -> bool {
        let gone = |worker: &WorkerInfo| worker.kind == *kind && !process_table::exists(worker.pid);
        self.live_workers().is_ok_and(|live| live.iter().any(gone))
    }

    pub(crate) fn live_workers(&self) -> Result<Vec<WorkerInfo>> {
        let mut live = self.live_registrations()?;
        live.retain(|worker| worker.kind != WorkerKind::ChatServer);
        Ok(live)
    }

    pub(crate) fn lane_is_attended(&self, lane: &LaneName) -> Result<bool> {
        Ok(self.live_workers()?.iter().any(|worker| worker.attends(lane)))
    }

    pub(crate) fn on_demand_dispatcher(&self) -> Result<Option<WorkerInfo>> {
        Ok(self.live_workers()?.into_iter().find(WorkerInfo::is_on_demand))
    }

    #[cfg(feature = "mcp")]
    pub(crate) fn live_chat_servers(&self) -> Result<Vec<WorkerInfo>> {
        let mut live = self.live_registrations()?;
        live.retain(|server| server.kind == WorkerKind::ChatServer);
        Ok(live)
    }

    fn live_registrations(&self) -> Result<Vec<WorkerInfo>> {
        let Some(workers) = self.workers()? else {
            return Ok(Vec::new());
        };
        let mut live = Vec::new();
        let mut names = workers.names()?;
        names.sort_unstable();
        for name in names {
            live.extend(live_worker_in(&workers, &name)?);
        }
        Ok(live)
    }
}

/// Returns the worker of a registration, if it is running.
fn live_worker_in(workers: &Dir, name: &str) -> Result<Option<WorkerInfo>> {
    if name.starts_with('.') {
        return Ok(None);
    }
    let Ok(Some(content)) = bounded_file::read(workers, name, 1024 * 1024) else { return Ok(None) };
    if !lock::is_held(workers, name)? {
        if !is_dispatcher_registration(workers, name) {
            let _ = atomic::remove(workers, name);
        }
        return Ok(None);
    }
    Ok(json::parse_object(&content.bytes)
        .ok()
        .and_then(|registration| WorkerInfo::from_object(&registration)))
}

/// Returns whether a registration is a dispatcher's. It outlives the process, for the one that recovers its tasks.
pub(super) fn is_dispatcher_registration(workers: &Dir, name: &str) -> bool {
    registration_in(workers, name).is_some_and(|info| info.kind == WorkerKind::Dispatcher)
}

fn registration_in(workers: &Dir, name: &str) -> Option<WorkerInfo> {
    let content = bounded_file::read(workers, name, 1024 * 1024).ok().flatten()?;
    WorkerInfo::from_object(&json::parse_object(&content.bytes).ok()?)
}
