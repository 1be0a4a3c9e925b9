//! Who is at work on this store.
//!
//! A worker leaves a card in `workers/` and keeps it locked for as long as it lives. The lock is the
//! sign of life: the kernel lets go of it when the process ends, however it ends, and unlike a
//! process number it never belongs to somebody else.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use super::layout::{Dir, WORKERS};
use super::{Store, atomic, lock, read};
use crate::error::Result;
use crate::model::task::object;
use crate::model::{Time, json};

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
    _card: OwnedFd,
}

impl Registration {
    /// Changes what the card says.
    pub fn update(&self, worker: &WorkerInfo) -> Result<()> {
        // In place: the lock belongs to this file, a new one would not be locked.
        use std::os::unix::fs::FileExt;
        let file = atomic::open_for_update(&self.workers, &self.name)?;
        let text = card(worker);
        let fail = |error| crate::error::Error::io("write", self.workers.path().join(&self.name), error);
        file.write_all_at(text.as_bytes(), 0).map_err(fail)?;
        file.set_len(text.len() as u64).map_err(fail)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let _ = atomic::remove(&self.workers, &self.name);
    }
}

fn card(worker: &WorkerInfo) -> String {
    json::to_text(&worker.to_object())
}

impl Store {
    /// Makes a worker known until the returned value is dropped or the process ends.
    pub fn register(&self, worker: &WorkerInfo) -> Result<Registration> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let workers = self.layout.root.open_or_make(WORKERS)?;
        let random = self.options.entropy.draw(self.now().wall) as u32;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{count}-{random:08x}.json", worker.pid);
        let card = atomic::create_plain(&workers, &name, card(worker).as_bytes())?;
        lock::hold(&card, &workers.path().join(&name))?;
        Ok(Registration { workers, name, _card: card })
    }

    /// The workers that are alive. Cards of dead ones are cleared away on the way.
    pub fn live_workers(&self) -> Result<Vec<WorkerInfo>> {
        let Some(workers) = self.layout.root.open_existing(WORKERS)? else {
            return Ok(Vec::new());
        };
        let mut live = Vec::new();
        let mut names = workers.names()?;
        names.sort_unstable();
        for name in names {
            if let Some(worker) = look_at_card(&workers, &name) {
                live.push(worker);
            }
        }
        Ok(live)
    }
}

/// The worker behind a card, if it is alive.
fn look_at_card(workers: &Dir, name: &str) -> Option<WorkerInfo> {
    let content = read::file(workers, name, 1024 * 1024).ok().flatten()?;
    if !lock::is_held(workers, name) {
        // A worker that is just starting locks its card within microseconds of making it.
        let age =
            std::fs::metadata(workers.path().join(name)).ok()?.modified().ok()?.elapsed().unwrap_or_default();
        if age.as_secs() >= 10 {
            let _ = atomic::remove(workers, name);
        }
        return None;
    }
    WorkerInfo::from_object(&json::parse_object(&content.bytes).ok()?)
}
