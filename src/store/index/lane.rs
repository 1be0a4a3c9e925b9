//! The sorted sets of one lane.

use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;

use super::super::dir::Dir;
use super::super::layout::{exclusive_key, lane_key};
use super::sorted_set::{IndexEntry, NO_LEASE, SortedSet, damaged};
use crate::error::{Error, Result};
use crate::model::{LaneName, Now, Status, Task, json};
use crate::store::{atomic, bounded_file};

const READY: &str = "ready";
const LATER: &str = "later";
const HELD: &str = "held";
/// Made with the first task that waits for others.
const BLOCKED: &str = "blocked";
/// Made with the first task that has exclusive keys.
const KEYED: &str = "keyed";
/// The tasks of that set that were found waiting for a key, in a set for each key.
const PARKED: &str = "parked";
const COUNT: &str = "count";

/// Replaces the count while the sorted set changes: a process that reads it counts the entries.
const UNKNOWN_COUNT: &str = "?";

/// The longest count, in bytes.
const MAX_COUNT: usize = 64;

/// The time at which a task that does not come due by itself is in the `later` set.
pub(super) const NEVER: i64 = i64::MAX;

/// Metadata longer than this is not kept in the index, in bytes.
const MAX_METADATA: usize = 1024;

/// The position of a task in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Position {
    Ready(i64),
    Later(i64),
    Held(i64),
    Blocked(i64),
    /// It can be claimed when its exclusive keys are free.
    Keyed(i64),
}

pub(in crate::store) fn position(task: &Task) -> Option<Position> {
    match &task.status {
        Status::Blocked { .. } if task.waits_for_dependencies() => Some(Position::Blocked(task.rank())),
        Status::Queued | Status::Scheduled { .. } | Status::Blocked { .. } if task.needs_keys() => {
            Some(Position::Keyed(task.rank()))
        }
        Status::Queued => Some(Position::Ready(task.rank())),
        Status::Scheduled { until } => Some(Position::Later(until.micros())),
        Status::Blocked { .. } => Some(Position::Blocked(task.rank())),
        // The answer moves the task to the ready ones, or the default does when it is due.
        Status::InputRequired => {
            Some(Position::Later(task.questions_expire_at().map_or(NEVER, |at| at.micros())))
        }
        Status::Claimed(claim) => Some(Position::Held(claim.lease_expires_at.micros())),
        Status::Completed { .. } | Status::Failed { .. } | Status::Unknown(_) => None,
    }
}

pub(super) fn entry(task: &Task, key: i64) -> IndexEntry {
    let mut metadata = json::to_ascii_line(&task.spec.metadata);
    metadata.pop();
    if metadata.len() > MAX_METADATA {
        metadata = "?".to_string();
    }
    let lease_until = lease_until(task).unwrap_or(NO_LEASE);
    IndexEntry { key, id: task.id.to_string(), rank: task.rank(), lease_until, metadata }
}

/// What the entry of a task with exclusive keys says besides its place.
pub(in crate::store) struct KeyedEntry<'a> {
    /// The file names of its keys.
    pub(in crate::store) keys: Vec<&'a str>,
    /// The first time at which it can be claimed, in microseconds after 1970.
    until: Option<i64>,
    /// The time by which it must be started, in microseconds after 1970.
    deadline: Option<i64>,
    /// Its metadata, as in other entries.
    pub(in crate::store) metadata: &'a str,
}

impl<'a> KeyedEntry<'a> {
    /// Reads an entry of the `keyed` set.
    pub(in crate::store) fn of(entry: &'a IndexEntry) -> Option<Self> {
        let mut words = entry.metadata.splitn(3, ' ');
        let keys = words.next()?.split(',').collect();
        let deadline = words.next()?.parse().ok();
        let until = Some(entry.lease_until).filter(|until| *until != NO_LEASE);
        Some(Self { keys, until, deadline, metadata: words.next()? })
    }

    /// Returns whether the task cannot be claimed yet.
    pub(in crate::store) fn is_early(&self, now: &Now) -> bool {
        self.until.is_some_and(|until| now.wall.micros() < until) && !self.is_late(now)
    }

    /// Returns whether the task was not started by its deadline, so that it is about to fail.
    pub(in crate::store) fn is_late(&self, now: &Now) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now.wall.micros())
    }

    /// Returns when the task can be claimed or must fail, in microseconds after 1970.
    pub(super) fn due(&self) -> Option<i64> {
        [self.until, self.deadline].into_iter().flatten().min()
    }
}

/// Returns the file names of the exclusive keys of a task.
pub(super) fn key_names(task: &Task) -> Vec<String> {
    task.spec.exclusive.iter().map(exclusive_key).collect()
}

/// Makes the entry of a task with exclusive keys.
pub(super) fn keyed_entry(task: &Task, key: i64) -> IndexEntry {
    let until = match &task.status {
        Status::Scheduled { until } | Status::Blocked { until: Some(until) } => until.micros(),
        _ => NO_LEASE,
    };
    let keys = key_names(task);
    let deadline = task.start_deadline().map_or_else(|| "-".to_string(), |at| at.micros().to_string());
    let plain = entry(task, key);
    let metadata = format!("{} {deadline} {}", keys.join(","), plain.metadata);
    IndexEntry { lease_until: until, metadata, ..plain }
}

/// Returns the end of a task's lease by the uptime, in microseconds.
fn lease_until(task: &Task) -> Option<i64> {
    let (claim, lease) = (task.status.claim()?, task.bookkeeping.lease.as_ref()?);
    (lease.expires_at == claim.lease_expires_at).then_some(lease.until)
}

/// Returns by how much the wall clock was ahead of the uptime when the task was leased, in microseconds.
pub(super) fn clock_lead(task: &Task) -> Option<i64> {
    let end = task.status.claim()?.lease_expires_at.micros();
    lease_until(task).map(|until| end.saturating_sub(until))
}

/// Returns whether a scheduled or claimed task may have come due. The uptime counts as well: when somebody sets
/// the wall clock back, a lease still ends after its own length.
pub(super) fn is_due(entry: &IndexEntry, now: &Now) -> bool {
    entry.key <= now.wall.micros() || entry.lease_until <= now.uptime
}

/// The sorted sets of a lane.
pub(in crate::store) struct LaneSets {
    dir: Dir,
    pub(in crate::store) ready: SortedSet,
    pub(in crate::store) later: SortedSet,
    pub(in crate::store) held: SortedSet,
}

impl LaneSets {
    pub(super) fn make(lanes: &Dir, lane: &LaneName) -> Result<Self> {
        if let Some(sets) = Self::open(lanes, lane)? {
            return Ok(sets);
        }
        let dir = lanes.open_or_make_derived(&lane_key(lane.as_str()))?;
        let ready = SortedSet::new(dir.open_or_make_derived(READY)?);
        let later = SortedSet::new(dir.open_or_make_derived(LATER)?);
        let held = SortedSet::new(dir.open_or_make_derived(HELD)?);
        let sets = Self { dir, ready, later, held };
        sets.all().into_iter().try_for_each(SortedSet::seal)?;
        sets.set_count(0)?;
        Ok(sets)
    }

    pub(super) fn open(lanes: &Dir, lane: &LaneName) -> Result<Option<Self>> {
        Self::open_at(lanes, &lane_key(lane.as_str()))
    }

    /// Returns the sorted sets in the directory `name`, if it exists.
    pub(super) fn open_at(lanes: &Dir, name: &str) -> Result<Option<Self>> {
        let Some(dir) = lanes.open_existing(name)? else { return Ok(None) };
        let set = |name: &str| dir.open_existing(name).map(|dir| dir.map(SortedSet::new));
        match (set(READY)?, set(LATER)?, set(HELD)?) {
            (Some(ready), Some(later), Some(held)) => Ok(Some(Self { dir, ready, later, held })),
            _ => Err(damaged(&dir.path().join(READY))),
        }
    }

    /// Returns the tasks that wait for others, if the lane ever had one. It is opened apart from the other sets,
    /// since most lanes have none.
    pub(in crate::store) fn blocked(&self) -> Result<Option<SortedSet>> {
        Ok(self.dir.open_existing(BLOCKED)?.map(SortedSet::new))
    }

    fn blocked_or_make(&self) -> Result<SortedSet> {
        if let Some(blocked) = self.blocked()? {
            return Ok(blocked);
        }
        let blocked = SortedSet::new(self.dir.open_or_make_derived(BLOCKED)?);
        blocked.seal().map(|()| blocked)
    }

    /// Returns the tasks with exclusive keys that wait for a claim, if the lane ever had one.
    pub(in crate::store) fn keyed(&self) -> Result<Option<SortedSet>> {
        Ok(self.dir.open_existing(KEYED)?.map(SortedSet::new))
    }

    fn keyed_or_make(&self) -> Result<SortedSet> {
        if let Some(keyed) = self.keyed()? {
            return Ok(keyed);
        }
        let keyed = SortedSet::new(self.dir.open_or_make_derived(KEYED)?);
        keyed.seal().map(|()| keyed)
    }

    /// Returns the file names of the keys for which tasks are parked.
    pub(in crate::store) fn parked_keys(&self) -> Result<Vec<String>> {
        self.dir.open_existing(PARKED)?.map_or(Ok(Vec::new()), |dir| dir.names())
    }

    /// Returns the tasks that are parked for a key.
    pub(in crate::store) fn parked(&self, key: &str) -> Result<Option<SortedSet>> {
        let Some(dir) = self.dir.open_existing(PARKED)? else { return Ok(None) };
        Ok(dir.open_existing(key)?.map(SortedSet::new))
    }

    /// Returns the sets of all tasks with exclusive keys that wait for a claim.
    pub(in crate::store) fn all_keyed(&self) -> Result<Vec<SortedSet>> {
        let mut sets: Vec<SortedSet> = self.keyed()?.into_iter().collect();
        if !sets.is_empty() {
            for key in self.parked_keys()? {
                sets.extend(self.parked(&key)?);
            }
        }
        Ok(sets)
    }

    /// Adds entries, which are in order, to the set of the tasks that are parked for a key.
    pub(super) fn add_parked(&self, key: &str, entries: &[IndexEntry]) -> Result<()> {
        let parked = self.dir.open_or_make_derived(PARKED)?;
        let set = SortedSet::new(parked.open_or_make_derived(key)?);
        if set.first_key()?.is_none() {
            set.seal()?;
        }
        set.insert_many(entries)
    }

    /// Adds a task with exclusive keys: to those that are parked for one of its keys, if there are any.
    fn insert_keyed(&self, entry: &IndexEntry) -> Result<bool> {
        let keyed = self.keyed_or_make()?;
        for key in KeyedEntry::of(entry).map(|entry| entry.keys).unwrap_or_default() {
            if let Some(parked) = self.parked(key)? {
                return parked.insert(entry);
            }
        }
        keyed.insert(entry)
    }

    /// Removes a task with these exclusive keys.
    pub(super) fn remove_keyed(&self, rank: i64, id: &str, keys: &[String]) -> Result<()> {
        let Some(keyed) = self.keyed()? else { return Ok(()) };
        keyed.remove(rank, id)?;
        for key in keys {
            if let Some(parked) = self.parked(key)?
                && parked.remove(rank, id)?
                && parked.first_key()?.is_none()
                && let Some(dir) = self.dir.open_existing(PARKED)?
            {
                atomic::remove_tree(&dir, key)?;
            }
        }
        Ok(())
    }

    /// Writes the tasks of a new lane that have exclusive keys.
    pub(super) fn fill_keyed(&self, entries: Vec<IndexEntry>) -> Result<()> {
        if entries.is_empty() { Ok(()) } else { self.keyed_or_make()?.fill(entries) }
    }

    pub(super) fn remove_blocked(&self, rank: i64, id: &str) -> Result<()> {
        self.blocked()?.map_or(Ok(false), |blocked| blocked.remove(rank, id)).map(drop)
    }

    /// Moves tasks that do not wait for others any more to the ready ones.
    pub(super) fn unblock(&self, tasks: &[&Task]) -> Result<()> {
        let mut entries: Vec<IndexEntry> = tasks.iter().map(|task| entry(task, task.rank())).collect();
        entries.sort_by(|a, b| a.place().cmp(&b.place()));
        let count = entries.len() - self.ready.ids_of(&entries)?.len();
        self.change_ready(count as i64, |before| {
            before()?;
            self.ready.insert_many(&entries).map(|()| true)
        })?;
        self.blocked()?.map_or(Ok(()), |blocked| blocked.remove_many(&entries))
    }

    /// Writes the tasks of a new lane that wait for others.
    pub(super) fn fill_blocked(&self, entries: Vec<IndexEntry>) -> Result<()> {
        if entries.is_empty() { Ok(()) } else { self.blocked_or_make()?.fill(entries) }
    }

    fn all(&self) -> [&SortedSet; 3] {
        [&self.ready, &self.later, &self.held]
    }

    /// Returns whether no sorted set has lost a chunk, and no process is changing the chunks of one.
    pub(super) fn are_sealed(&self) -> Result<bool> {
        for set in self.all() {
            if !set.is_sealed()? {
                return Ok(false);
            }
        }
        self.keyed()?.map_or(Ok(true), |keyed| keyed.is_sealed())
    }

    /// Adds a task; `false` when it is there already.
    pub(super) fn insert(&self, task: &Task, position: Position) -> Result<bool> {
        match position {
            Position::Ready(key) => self.insert_ready(&entry(task, key)),
            Position::Later(key) => self.later.insert(&entry(task, key)),
            Position::Held(key) => self.held.insert(&entry(task, key)),
            Position::Blocked(key) => self.blocked_or_make()?.insert(&entry(task, key)),
            Position::Keyed(key) => self.insert_keyed(&keyed_entry(task, key)),
        }
    }

    pub(super) fn insert_ready(&self, entry: &IndexEntry) -> Result<bool> {
        self.change_ready(1, |before| self.ready.insert_after(entry, before))
    }

    /// Moves a due entry from the `later` or the `held` set to the ready ones.
    pub(super) fn promote(&self, from: &SortedSet, entry: &IndexEntry) -> Result<()> {
        self.insert_ready(&IndexEntry { key: entry.rank, lease_until: NO_LEASE, ..entry.clone() })?;
        from.remove(entry.key, &entry.id).map(drop)
    }

    pub(super) fn remove(&self, task: &Task, position: Position) -> Result<()> {
        let id = task.id.as_str();
        match position {
            Position::Ready(_) => {}
            Position::Later(key) => {
                self.later.remove(key, id)?;
            }
            Position::Held(key) => {
                self.held.remove(key, id)?;
            }
            Position::Blocked(key) => self.remove_blocked(key, id)?,
            Position::Keyed(key) => self.remove_keyed(key, id, &key_names(task))?,
        }
        // A task that was due or had lost its lease is among the ready ones whatever its state.
        self.remove_ready(task.rank(), id)
    }

    /// Removes an entry from the ready ones.
    pub(in crate::store) fn remove_ready(&self, rank: i64, id: &str) -> Result<()> {
        self.change_ready(-1, |before| self.ready.remove_after(rank, id, before)).map(drop)
    }

    /// Returns how many tasks of the lane can be claimed.
    pub(in crate::store) fn count(&self) -> Result<u64> {
        match bounded_file::read(&self.dir, COUNT, MAX_COUNT as u64)? {
            Some(content) => self.counted(&content.bytes),
            None => Err(damaged(&self.dir.path().join(COUNT))),
        }
    }

    fn counted(&self, text: &[u8]) -> Result<u64> {
        match String::from_utf8_lossy(text).trim() {
            UNKNOWN_COUNT => {
                let mut count = 0;
                self.ready.visit(|_| {
                    count += 1;
                    Ok(ControlFlow::Continue(()))
                })?;
                Ok(count)
            }
            count => count.parse().map_err(|_| damaged(&self.dir.path().join(COUNT))),
        }
    }

    /// Compares the count with the number of tasks in the sorted set. The caller holds the store lock.
    pub(super) fn check_count(&self, there: u64) -> Result<()> {
        if self.count()? == there { Ok(()) } else { Err(damaged(&self.dir.path().join(COUNT))) }
    }

    /// Changes the ready ones by some entries. The count is marked as unknown meanwhile, so that the old one is not
    /// used if this process is killed.
    fn change_ready(
        &self,
        by: i64,
        change: impl FnOnce(&mut dyn FnMut() -> Result<()>) -> Result<bool>,
    ) -> Result<bool> {
        let mut count_before = None;
        let changed = change(&mut || {
            let file = atomic::open_for_update(&self.dir, COUNT)?;
            let mut text = [0; MAX_COUNT];
            let length = file
                .read_at(&mut text, 0)
                .map_err(|error| Error::io("read", self.dir.path().join(COUNT), error))?;
            let count = self.counted(&text[..length])?;
            self.write_count(&file, UNKNOWN_COUNT)?;
            count_before = Some((file, count));
            Ok(())
        })?;
        if let Some((file, count)) = count_before {
            self.write_count(&file, &count.saturating_add_signed(by).to_string())?;
        }
        Ok(changed)
    }

    pub(super) fn set_count(&self, count: u64) -> Result<()> {
        self.write_count(&atomic::open_for_update(&self.dir, COUNT)?, &count.to_string())
    }

    /// Always writes the same length, so that one call replaces the count in place.
    fn write_count(&self, file: &File, count: &str) -> Result<()> {
        file.write_all_at(format!("{count:<20}\n").as_bytes(), 0)
            .map_err(|error| Error::io("write", self.dir.path().join(COUNT), error))
    }
}
