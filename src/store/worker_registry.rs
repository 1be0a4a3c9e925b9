//! Who is at work on this store.
//!
//! A worker leaves a card in `workers/` and keeps it locked for as long as it lives. The lock is the
//! sign of life: the kernel lets go of it when the process ends, however it ends, and unlike a
//! process number it never belongs to somebody else.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use super::dir::Dir;
use super::layout::WORKERS;
use super::{Store, atomic, bounded_file, lock};
use crate::error::{Error, ErrorKind, Result};
use crate::model::task::object;
use crate::model::{ClaimToken, Time, json};

/// The kind of workers whose cards outlive them, because what they ran must be put in order.
pub const DISPATCHER: &str = "dispatcher";

/// What a worker says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerInfo {
    /// What kind of worker: `claim-wait`, `dispatcher`, …
    pub kind: String,
    /// Under which name it claims.
    pub owner: String,
    /// Its process.
    pub pid: u32,
    /// The lanes it serves.
    pub lanes: Vec<String>,
    /// Which tasks it takes; empty for all.
    pub filter: String,
    /// Since when it is there.
    pub since: Time,
    /// What else it wants to be known.
    pub data: json::Object,
}

impl WorkerInfo {
    /// The card as JSON.
    pub fn to_object(&self) -> json::Object {
        object([
            ("kind", self.kind.clone().into()),
            ("owner", self.owner.clone().into()),
            ("pid", self.pid.into()),
            ("lanes", self.lanes.clone().into()),
            ("match", self.filter.clone().into()),
            ("since", self.since.to_string().into()),
            ("data", Value::Object(self.data.clone())),
        ])
    }

    /// Whether a claim with this token is one of the worker's: the tokens of a dispatcher share a
    /// beginning, which stands on its card.
    pub fn claimed_with(&self, token: &ClaimToken) -> bool {
        let beginning = self.data.get("claims").and_then(Value::as_str);
        // A shorter one would fit strangers.
        beginning.is_some_and(|beginning| beginning.len() == 16 && token.as_str().starts_with(beginning))
    }

    /// The vendors by which a dispatcher serves a lane, each with the model that a task of `class` gets
    /// there, if one is named.
    pub fn vendors_for_lane(&self, lane: &str, class: Option<&str>) -> Vec<(String, Option<String>)> {
        let serves = self.data.get("serves").and_then(Value::as_array);
        let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).map(str::to_string);
        let meant = serves.into_iter().flatten().filter(|entry| text(entry, "lane").as_deref() == Some(lane));
        let model = |entry: &Value| {
            let by_class = class.and_then(|class| text(entry.get("model_classes")?, class));
            by_class.or_else(|| text(entry, "model"))
        };
        meant.filter_map(|entry| Some((text(entry, "vendor")?, model(entry)))).collect()
    }

    fn from_object(object: &json::Object) -> Option<Self> {
        let text = |key: &str| object.get(key).and_then(Value::as_str).map(str::to_string);
        let lanes = object.get("lanes")?.as_array()?;
        Some(Self {
            kind: text("kind")?,
            owner: text("owner")?,
            pid: u32::try_from(object.get("pid")?.as_u64()?).ok()?,
            lanes: lanes.iter().filter_map(|lane| lane.as_str().map(str::to_string)).collect(),
            filter: text("match").unwrap_or_default(),
            since: Time::parse(&text("since")?).ok()?,
            data: object.get("data").and_then(Value::as_object).cloned().unwrap_or_default(),
        })
    }
}

/// A worker's presence; ends when dropped, and with the process in any case.
#[derive(Debug)]
pub struct Registration {
    workers: Dir,
    name: String,
    registration: OwnedFd,
}

impl Registration {
    /// Changes what the card says.
    pub fn update(&self, worker: &WorkerInfo) -> Result<()> {
        // In place and through the descriptor that holds the lock: a new file would not be locked.
        let path = || self.workers.path().join(&self.name);
        let fail = |error| Error::io("write", path(), error);
        let file = File::from(self.registration.try_clone().map_err(fail)?);
        let mut text = registration(worker);
        // As long as what stands there: one write replaces all of it, so that a process killed
        // between the two calls leaves a card that can be read.
        let length = text.len();
        let old = file.metadata().map_or(0, |meta| usize::try_from(meta.len()).unwrap_or(0));
        text.extend(std::iter::repeat_n('\n', old.saturating_sub(length)));
        file.write_all_at(text.as_bytes(), 0).map_err(fail)?;
        file.set_len(length as u64).map_err(fail)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let _ = atomic::remove(&self.workers, &self.name);
    }
}

/// The card of a dead worker, held by who puts its affairs in order.
#[derive(Debug)]
pub struct AbandonedWorker {
    /// What the worker said of itself last.
    pub info: WorkerInfo,
    workers: Dir,
    name: String,
    _registration: OwnedFd,
}

impl AbandonedWorker {
    /// All is in order: removes the card.
    pub fn clear(self) -> Result<()> {
        atomic::remove(&self.workers, &self.name)
    }
}

fn registration(worker: &WorkerInfo) -> String {
    json::to_text(&worker.to_object())
}

impl Store {
    /// Makes a worker known until the returned value is dropped or the process ends.
    pub fn register(&self, worker: &WorkerInfo) -> Result<Registration> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        self.check_writable()?;
        let workers = self.layout.root.open_or_make(WORKERS)?;
        let random = self.options.entropy.draw(self.now().wall) as u32;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{count}-{random:08x}.json", worker.pid);
        // Locked before it gets its name, so that nobody takes it for a dead worker's card.
        let unnamed = format!(".{name}");
        let registration = atomic::create_plain(&workers, &unnamed, registration(worker).as_bytes())?;
        lock::hold(&registration, &workers.path().join(&unnamed))?;
        atomic::rename_derived(&workers, &unnamed, &workers, &name)?;
        Ok(Registration { workers, name, registration })
    }

    /// The cards of dead workers of `kind` that left something to put in order. Each is handed to one
    /// caller at a time, and stays until [`AbandonedWorker::clear`].
    pub fn abandoned_workers(&self, kind: &str) -> Result<Vec<AbandonedWorker>> {
        let Some(workers) = self.layout.root.open_existing(WORKERS)? else {
            return Ok(Vec::new());
        };
        let mut abandoned = Vec::new();
        for name in workers.names()? {
            if name.starts_with('.') || lock::is_held(&workers, &name)? {
                continue;
            }
            let Some(info) = registration_in(&workers, &name).filter(|info| info.kind == kind) else {
                continue;
            };
            // What cannot be opened is no card of ours; it must not keep others from their work.
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

    /// The directory of the cards. Where something else stands there, nobody can be known.
    fn workers(&self) -> Result<Option<Dir>> {
        match self.layout.root.open_existing(WORKERS) {
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
            workers => workers,
        }
    }

    /// What dead workers of `kind` said of themselves that nobody has put in order yet; only for a look,
    /// see [`Store::abandoned_workers`].
    pub fn dead_workers(&self, kind: &str) -> Result<Vec<WorkerInfo>> {
        let Some(workers) = self.workers()? else {
            return Ok(Vec::new());
        };
        let mut dead = Vec::new();
        for name in workers.names()? {
            if !name.starts_with('.') && !lock::is_held(&workers, &name)? {
                dead.extend(registration_in(&workers, &name).filter(|info| info.kind == kind));
            }
        }
        Ok(dead)
    }

    /// Whether a card of `kind` is held although the process on it is gone: a child of it that does not
    /// run its own program yet holds the lock a moment longer.
    pub fn has_exiting_worker(&self, kind: &str) -> bool {
        let gone = |worker: &WorkerInfo| {
            worker.kind == kind && !std::path::Path::new(&format!("/proc/{}", worker.pid)).exists()
        };
        self.live_workers().is_ok_and(|live| live.iter().any(gone))
    }

    /// The workers that are alive. Cards of dead ones are cleared away on the way, except those that
    /// [`Store::abandoned_workers`] hands out.
    pub fn live_workers(&self) -> Result<Vec<WorkerInfo>> {
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

/// The worker behind a card, if it is alive.
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

/// Whether a card is a dispatcher's. It outlives its owner, for whoever puts the owner's tasks in order.
pub(super) fn is_dispatcher_registration(workers: &Dir, name: &str) -> bool {
    registration_in(workers, name).is_some_and(|info| info.kind == DISPATCHER)
}

fn registration_in(workers: &Dir, name: &str) -> Option<WorkerInfo> {
    let content = bounded_file::read(workers, name, 1024 * 1024).ok().flatten()?;
    WorkerInfo::from_object(&json::parse_object(&content.bytes).ok()?)
}
