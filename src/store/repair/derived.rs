//! The index, the keys and the correlations, compared with the tasks.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;

use super::{Check, Severity};
use crate::error::{ErrorKind, Result};
use crate::model::{Task, TaskId, Time};
use crate::store::index::{Index, LaneShelves, Place, place, target_of};
use crate::store::layout::{Dir, INDEXES, idempotency_key};
use crate::store::shelf::Shelf;
use crate::store::submit::{correlation_content, correlation_name};
use crate::store::{atomic, read};

/// A task that must be found through the index.
struct Open {
    id: String,
    lane: String,
    rank: i64,
    place: Place,
}

/// What the tasks say that is kept a second time elsewhere.
#[derive(Default)]
pub(super) struct Facts {
    open: Vec<Open>,
    /// File name of a key → the newest task that holds it.
    keys: HashMap<String, (Time, String)>,
    /// File name of a correlation → its newest task.
    correlations: HashMap<String, (Time, String)>,
}

impl Facts {
    pub(super) fn add(&mut self, task: &Task) {
        let id = task.id.as_str();
        if let Some(place) = place(task) {
            self.open.push(Open { id: id.to_string(), lane: task.lane.clone(), rank: task.rank(), place });
        }
        if let (Some(key), None) = (&task.key, &task.retried_as) {
            keep_newest(&mut self.keys, idempotency_key(&task.workspace_id, key), task.created_at, id);
        }
        keep_newest(&mut self.correlations, correlation_name(task), task.created_at, id);
    }
}

fn keep_newest(map: &mut HashMap<String, (Time, String)>, name: String, at: Time, id: &str) {
    match map.get(&name) {
        Some((newest, _)) if *newest > at => {}
        _ => drop(map.insert(name, (at, id.to_string()))),
    }
}

/// The entries of one lane's shelves.
#[derive(Default)]
struct Shelved {
    ready: HashSet<(i64, String)>,
    later: HashSet<(i64, String)>,
    held: HashSet<(i64, String)>,
    count: u64,
}

impl Shelved {
    fn read(shelves: Option<LaneShelves>) -> Result<Self> {
        let Some(shelves) = shelves else { return Ok(Self::default()) };
        Ok(Self {
            ready: entries(&shelves.ready)?,
            later: entries(&shelves.later)?,
            held: entries(&shelves.held)?,
            count: shelves.count()?,
        })
    }

    /// Whether a task can be found: at its place, or among the ready ones if its time has come.
    fn holds(&self, rank: i64, place: Place, id: &str) -> bool {
        let at = |set: &HashSet<(i64, String)>, key: i64| set.contains(&(key, id.to_string()));
        at(&self.ready, rank)
            || match place {
                Place::Ready(_) => false,
                Place::Later(key) => at(&self.later, key),
                Place::Held(key) => at(&self.held, key),
            }
    }
}

fn entries(shelf: &Shelf) -> Result<HashSet<(i64, String)>> {
    let mut entries = HashSet::new();
    shelf.visit(|entry| {
        entries.insert((entry.key, entry.id.clone()));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(entries)
}

impl Check<'_> {
    /// Compares everything derived with the tasks.
    pub(super) fn derived(&mut self, facts: &Facts) -> Result<()> {
        self.feed()?;
        let store = self.store;
        let Ok(Some(indexes)) = store.layout.root.open_existing(INDEXES) else { return Ok(()) };
        match self.index(&indexes, facts) {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                if self.repair {
                    Index::open(&store.layout)?.heal(&store.lock_store()?)?;
                }
                let (path, remedy) = (indexes.path().to_path_buf(), "repair builds the index anew");
                let (code, message) = ("index-disagrees", error.message());
                self.found(code, Severity::Damage, path, message, remedy, self.repair);
            }
            done => done?,
        }
        self.keys(&indexes, facts)?;
        self.correlations(&indexes, facts)
    }

    fn index(&mut self, indexes: &Dir, facts: &Facts) -> Result<()> {
        let store = self.store;
        let index = Index::open(&store.layout)?;
        let path = indexes.path().to_path_buf();
        if let Some(lanes) = indexes.open_existing("lanes")? {
            for lane in lanes.names()? {
                for shelf in ["ready", "later", "held"] {
                    let Some(dir) = lanes.open_existing(&lane)? else { continue };
                    if let Some(shelf) = dir.open_existing(shelf)? {
                        self.half_written(&shelf)?;
                    }
                }
            }
        }
        if index.usable()?.is_none() {
            if self.repair {
                index.ensure(&store.lock_store()?)?;
            } else {
                let message = "the index is not up to date";
                let remedy = "the next command that needs it brings it up to date";
                self.found("index-outdated", Severity::Leftover, path, message, remedy, false);
                return Ok(());
            }
        }
        let mut lanes: BTreeMap<&str, Shelved> = BTreeMap::new();
        for task in &facts.open {
            if !lanes.contains_key(task.lane.as_str()) {
                lanes.insert(&task.lane, Shelved::read(index.lane_if_any(&task.lane)?)?);
            }
        }
        let hidden = facts.open.iter().filter(|task| {
            !lanes.get(task.lane.as_str()).is_some_and(|lane| lane.holds(task.rank, task.place, &task.id))
        });
        let hidden: Vec<&Open> = hidden.collect();
        let miscounted: Vec<&str> = lanes
            .iter()
            .filter(|(_, lane)| lane.count != lane.ready.len() as u64)
            .map(|(name, _)| *name)
            .collect();
        if hidden.is_empty() && miscounted.is_empty() {
            return Ok(());
        }
        // What changed since may have moved; a second look keeps everybody else out.
        let lock = match store.lock_store() {
            Ok(lock) => Some(lock),
            Err(error) if !self.repair && error.kind() == ErrorKind::Io => None,
            Err(error) => return Err(error),
        };
        let hidden: Vec<&str> = hidden
            .iter()
            .filter(|task| self.is_hidden(&index, &task.id))
            .map(|task| task.id.as_str())
            .collect();
        let mut wrong = hidden.first().map(|first| {
            format!("{} tasks cannot be found through the index, such as {first}", hidden.len())
        });
        for lane in miscounted {
            let shelved = Shelved::read(index.lane_if_any(lane)?)?;
            if shelved.count != shelved.ready.len() as u64 && wrong.is_none() {
                wrong = Some(format!(
                    "lane {lane} counts {} tasks that can be claimed and has {}",
                    shelved.count,
                    shelved.ready.len()
                ));
            }
        }
        let Some(message) = wrong else { return Ok(()) };
        if self.repair && lock.is_some() {
            index.rebuild(index.last_seq()?)?;
        }
        let remedy = "repair builds the index anew";
        self.found("index-disagrees", Severity::Damage, path, message, remedy, self.repair);
        Ok(())
    }

    fn is_hidden(&self, index: &Index<'_>, id: &str) -> bool {
        let task = TaskId::parse(id).ok().and_then(|id| self.store.scan_one(&id).ok().flatten());
        let Some(task) = task else { return false };
        let Some(place) = place(&task) else { return false };
        let shelved = index.lane_if_any(&task.lane).and_then(Shelved::read);
        shelved.is_ok_and(|shelved| !shelved.holds(task.rank(), place, id))
    }

    fn exists(&self, id: &str) -> bool {
        TaskId::parse(id).is_ok_and(|id| matches!(self.store.layout.task(&id), Ok(Some(_))))
    }

    fn keys(&mut self, indexes: &Dir, facts: &Facts) -> Result<()> {
        let store = self.store;
        let Some(keys) = indexes.open_existing("keys")? else { return Ok(()) };
        self.half_written(&keys)?;
        let mut present = HashSet::new();
        for name in keys.names()?.into_iter().filter(|name| !name.starts_with('.')) {
            let holder = |name: &str| -> Option<String> {
                let content = read::file(&keys, name, 4096).ok().flatten()?;
                Some(String::from_utf8_lossy(&content.bytes).trim().to_string())
            };
            if holder(&name).is_some_and(|id| self.exists(&id)) {
                present.insert(name);
                continue;
            }
            let repaired = self.repair && {
                let _lock = store.lock_store()?;
                if !holder(&name).is_some_and(|id| self.exists(&id)) {
                    atomic::remove_tree(&keys, &name)?;
                }
                true
            };
            let message = "an idempotency key of a task that is gone";
            let path = keys.path().join(&name);
            self.found("key-stale", Severity::Leftover, path, message, "repair removes it", repaired);
        }
        for (name, (_, id)) in &facts.keys {
            if present.contains(name) || !self.exists(id) {
                continue;
            }
            let repaired = self.repair && {
                let _lock = store.lock_store()?;
                atomic::replace_derived(&keys, name, format!("{id}\n").as_bytes())?;
                true
            };
            let message = format!("the idempotency key of {id} is not noted: it could be submitted twice");
            let path = keys.path().join(name);
            self.found("key-missing", Severity::Damage, path, message, "repair notes it", repaired);
        }
        Ok(())
    }

    fn correlations(&mut self, indexes: &Dir, facts: &Facts) -> Result<()> {
        let Some(correlations) = indexes.open_existing("correlations")? else { return Ok(()) };
        self.half_written(&correlations)?;
        let mut present = HashSet::new();
        for name in correlations.names()?.into_iter().filter(|name| !name.starts_with('.')) {
            present.insert(name.clone());
            let newest = facts.correlations.get(&name);
            let Some(message) = self.wrong_target(&correlations, &name, newest) else { continue };
            let repaired = self.repair && {
                let _lock = self.store.lock_store()?;
                if self.wrong_target(&correlations, &name, newest).is_some() {
                    self.retarget(&correlations, &name, newest)?;
                }
                true
            };
            let path = correlations.path().join(&name);
            let remedy = "repair lets it lead to the newest task, or removes it when there is none";
            self.found("correlation-stale", Severity::Leftover, path, message, remedy, repaired);
        }
        for (name, newest) in &facts.correlations {
            if present.contains(name) || !self.exists(&newest.1) {
                continue;
            }
            let repaired = self.repair && {
                let _lock = self.store.lock_store()?;
                self.retarget(&correlations, name, Some(newest))?;
                true
            };
            let path = correlations.path().join(name);
            let message = "other implementations do not find the tasks of this correlation";
            let remedy = "repair lets it lead to the newest task";
            self.found("correlation-missing", Severity::Leftover, path, message, remedy, repaired);
        }
        Ok(())
    }

    /// What is wrong with where a correlation leads.
    fn wrong_target(
        &self,
        correlations: &Dir,
        name: &str,
        newest: Option<&(Time, String)>,
    ) -> Option<&'static str> {
        let target = target_of(correlations, name).ok().flatten();
        let Some(target) = target.and_then(|id| self.store.scan_one(&id).ok().flatten()) else {
            return Some("it leads to no task");
        };
        let is_older = newest.is_some_and(|(at, id)| target.created_at < *at && self.exists(id));
        is_older.then_some("it leads to an older task than it should")
    }

    fn retarget(&self, correlations: &Dir, name: &str, newest: Option<&(Time, String)>) -> Result<()> {
        let newest = newest.and_then(|(_, id)| TaskId::parse(id).ok());
        match newest.and_then(|id| self.store.scan_one(&id).ok().flatten()) {
            Some(task) => {
                if target_of(correlations, name).is_err() {
                    atomic::remove_tree(correlations, name)?;
                }
                let (tmp, text) = (self.store.layout.tmp()?, correlation_content(&task));
                atomic::replace_durably(&tmp, correlations, name, text.as_bytes())
            }
            None => atomic::remove_tree(correlations, name),
        }
    }
}
