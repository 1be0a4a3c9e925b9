//! Which tasks of a lane can be claimed next: derived data.
//!
//! For every lane there are three shelves: `ready` (can be claimed, in order), `later` (scheduled,
//! by the time they are due) and `held` (claimed, by the end of their lease). The index may be
//! deleted at any time; it is rebuilt from the tasks, and an entry is never believed without a look
//! at its task.
//!
//! `indexes/state` tells whether the index fits the store:
//!
//! * *boot*: the index is written without syncs, so after a restart of the machine it is rebuilt;
//! * *stamp*: the modification time that we gave the `tasks` directory after our last submit. When
//!   another implementation adds a task, the time becomes another, and the new ones are looked for;
//! * *busy*: the task that a change is under way for. A process that is killed in the middle leaves
//!   it behind, and the next one finishes the work.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;

use super::clock::boot_id;
use super::layout::{Dir, Layout, TASKS, idempotency_key, lane_key};
use super::lock::StoreLock;
use super::shelf::{Entry, Shelf};
use super::{atomic, history, read};
use crate::error::{Error, Result};
use crate::model::{Event, Now, Status, Task, TaskId, Time, json};

const STATE: &str = "state";
const KEYS: &str = "keys";
const CORRELATIONS: &str = "correlations";
const SHELVES: &str = "lanes";
const READY: &str = "ready";
const LATER: &str = "later";
const HELD: &str = "held";
const COUNT: &str = "count";

/// Metadata longer than this is not kept in the index, in bytes.
const MAX_METADATA: usize = 1024;

/// After a power cut the numbers of the feed go on this much higher, so that none is used twice.
const SEQ_GAP: u64 = 1_000_000;

/// The boot id as one word.
fn boot_word() -> String {
    match boot_id() {
        "" => "unknown".to_string(),
        id => id.to_string(),
    }
}

/// What `indexes/state` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    boot: String,
    stamp: i64,
    known: u64,
    newest: String,
    /// The number of the last change of the store.
    pub(super) seq: u64,
    busy: Option<String>,
}

impl State {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        if words.next() != Some("index-1") {
            return None;
        }
        let state = Self {
            boot: words.next()?.to_string(),
            stamp: words.next()?.parse().ok()?,
            known: words.next()?.parse().ok()?,
            newest: words.next()?.to_string(),
            seq: words.next()?.parse().ok()?,
            busy: words.next().filter(|word| *word != "-").map(str::to_string),
        };
        (words.next() == Some(".")).then_some(state)
    }

    /// Always of one length, so that it can be overwritten in place by one call.
    fn line(&self) -> String {
        let busy = self.busy.as_deref().unwrap_or("-");
        let Self { boot, stamp, known, newest, seq, .. } = self;
        let line = format!("index-1 {boot} {stamp} {known} {newest} {seq} {busy} .");
        format!("{line:<639}\n")
    }
}

/// The place of a task in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Ready(i64),
    Later(i64),
    Held(i64),
}

fn place(task: &Task) -> Option<Place> {
    match &task.status {
        Status::Queued => Some(Place::Ready(task.rank())),
        Status::Scheduled { until } => Some(Place::Later(until.micros())),
        Status::Claimed(claim) => Some(Place::Held(claim.lease_expires_at.micros())),
        Status::Completed { .. } | Status::Failed { .. } | Status::Parked(_) => None,
    }
}

fn entry(task: &Task, key: i64) -> Entry {
    let mut metadata = json::to_ascii_line(&task.metadata);
    metadata.pop();
    if metadata.len() > MAX_METADATA {
        metadata = "?".to_string();
    }
    Entry { key, id: task.id.to_string(), rank: task.rank(), metadata }
}

/// The three shelves of a lane.
pub(super) struct LaneShelves {
    dir: Dir,
    pub(super) ready: Shelf,
    pub(super) later: Shelf,
    pub(super) held: Shelf,
}

impl LaneShelves {
    fn make(lanes: &Dir, lane: &str) -> Result<Self> {
        let dir = lanes.open_or_make_derived(&lane_key(lane))?;
        let ready = Shelf::new(dir.open_or_make_derived(READY)?);
        let later = Shelf::new(dir.open_or_make_derived(LATER)?);
        let held = Shelf::new(dir.open_or_make_derived(HELD)?);
        Ok(Self { dir, ready, later, held })
    }

    fn open(lanes: &Dir, lane: &str) -> Result<Option<Self>> {
        let Some(dir) = lanes.open_existing(&lane_key(lane))? else { return Ok(None) };
        let shelf = |name: &str| dir.open_existing(name).map(|dir| dir.map(Shelf::new));
        match (shelf(READY)?, shelf(LATER)?, shelf(HELD)?) {
            (Some(ready), Some(later), Some(held)) => Ok(Some(Self { dir, ready, later, held })),
            _ => Ok(None),
        }
    }

    /// Adds a task; `false` when it was there already.
    fn insert(&self, task: &Task, place: Place) -> Result<bool> {
        match place {
            Place::Ready(key) => self.insert_ready(&entry(task, key)),
            Place::Later(key) => self.later.insert(&entry(task, key)),
            Place::Held(key) => self.held.insert(&entry(task, key)),
        }
    }

    fn insert_ready(&self, entry: &Entry) -> Result<bool> {
        let added = self.ready.insert(entry)?;
        if added {
            self.add_to_count(1)?;
        }
        Ok(added)
    }

    fn remove(&self, task: &Task, place: Place) -> Result<()> {
        let id = task.id.as_str();
        match place {
            Place::Ready(_) => {}
            Place::Later(key) => {
                self.later.remove(key, id)?;
            }
            Place::Held(key) => {
                self.held.remove(key, id)?;
            }
        }
        // What was due or had lost its lease stands among the ready ones whatever its state says.
        self.remove_ready(task.rank(), id)
    }

    /// Takes an entry away from the ready ones.
    pub(super) fn remove_ready(&self, rank: i64, id: &str) -> Result<()> {
        if self.ready.remove(rank, id)? {
            self.add_to_count(-1)?;
        }
        Ok(())
    }

    /// How many tasks of the lane can be claimed.
    fn count(&self) -> Result<u64> {
        let content = read::file(&self.dir, COUNT, 64)?;
        let text = content.map(|content| String::from_utf8_lossy(&content.bytes).into_owned());
        Ok(text.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
    }

    fn add_to_count(&self, change: i64) -> Result<()> {
        let count = self.count()?.saturating_add_signed(change);
        self.set_count(count)
    }

    fn set_count(&self, count: u64) -> Result<()> {
        let file = atomic::open_for_update(&self.dir, COUNT)?;
        file.write_all_at(format!("{count:<20}\n").as_bytes(), 0)
            .map_err(|error| Error::io("write", self.dir.path().join(COUNT), error))
    }
}

/// The index of one store.
pub(super) struct Index<'a> {
    layout: &'a Layout,
    indexes: Dir,
}

impl<'a> Index<'a> {
    pub(super) fn open(layout: &'a Layout) -> Result<Self> {
        Ok(Self { layout, indexes: layout.indexes()? })
    }

    fn read_state(&self) -> Result<Option<State>> {
        let content = read::file(&self.indexes, STATE, 4096)?;
        Ok(content.and_then(|content| State::parse(&String::from_utf8_lossy(&content.bytes))))
    }

    fn write_state(&self, state: &State) -> Result<()> {
        let file = atomic::open_for_update(&self.indexes, STATE)?;
        file.write_all_at(state.line().as_bytes(), 0)
            .map_err(|error| Error::io("write", self.indexes.path().join(STATE), error))
    }

    /// The modification time of the `tasks` directory, in nanoseconds.
    fn tasks_time(&self) -> Result<i64> {
        let stat = rustix::fs::fstat(&self.layout.tasks)
            .map_err(|errno| Error::io("read", self.layout.root.path().join(TASKS), errno))?;
        Ok(stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(stat.st_mtime_nsec as i64))
    }

    /// The state, if the index can be used as it is. Takes no lock.
    pub(super) fn usable(&self) -> Result<Option<State>> {
        let time = self.tasks_time()?;
        Ok(self
            .read_state()?
            .filter(|state| state.boot == boot_word() && state.stamp == time && state.busy.is_none()))
    }

    /// Makes the index fit the store and returns its state.
    pub(super) fn ensure(&self, _lock: &StoreLock) -> Result<State> {
        let keys_exist = self.indexes.open_existing(KEYS)?.is_some();
        let state = match self.read_state()? {
            Some(state) if state.boot == boot_word() && keys_exist => state,
            old => return self.rebuild(old.map_or(0, |state| state.seq)),
        };
        let state = match &state.busy {
            Some(id) => self.finish_for_another(&state, id)?,
            None => state,
        };
        if state.stamp == self.tasks_time()? { Ok(state) } else { self.adopt_new_tasks(state) }
    }

    /// Notes that a change of `id` is under way.
    pub(super) fn begin(&self, _lock: &StoreLock, state: &State, id: &TaskId) -> Result<()> {
        self.write_state(&State { busy: Some(id.to_string()), ..state.clone() })
    }

    /// Notes that the change is done; `added` is the task that it made.
    pub(super) fn finish(
        &self,
        _lock: &StoreLock,
        state: &State,
        seq: u64,
        added: Option<&TaskId>,
    ) -> Result<State> {
        let mut next = State { seq, busy: None, ..state.clone() };
        if let Some(id) = added {
            next.known += 1;
            next.stamp = self.stamp_tasks()?;
            if id.as_str() > next.newest.as_str() {
                next.newest = id.to_string();
            }
        }
        self.write_state(&next)?;
        Ok(next)
    }

    /// Gives the `tasks` directory a modification time of our own, and returns it.
    ///
    /// The kernel's clock for files moves in ticks of some milliseconds, so that a task which another
    /// implementation adds right after ours would leave the time as it is. A time that is one
    /// nanosecond before the present tick is never the kernel's.
    fn stamp_tasks(&self) -> Result<i64> {
        atomic::stamp(&self.layout.tasks, self.tasks_time()? - 1)?;
        self.tasks_time()
    }

    /// The shelves of a lane, made if they are not there. For writers.
    fn lane(&self, lane: &str) -> Result<LaneShelves> {
        LaneShelves::make(&self.indexes.open_or_make_derived(SHELVES)?, lane)
    }

    /// The shelves of a lane, if any task was ever in it.
    pub(super) fn lane_if_any(&self, lane: &str) -> Result<Option<LaneShelves>> {
        match self.indexes.open_existing(SHELVES)? {
            Some(lanes) => LaneShelves::open(&lanes, lane),
            None => Ok(None),
        }
    }

    /// Moves a task to its new place. The new place first: an entry too many does no harm, a missing
    /// one would hide the task.
    pub(super) fn update(&self, _lock: &StoreLock, old: Option<&Task>, new: &Task) -> Result<()> {
        let new_place = place(new);
        let old_place = old.and_then(place);
        if let Some(new_place) = new_place {
            self.lane(&new.lane)?.insert(new, new_place)?;
        }
        if let (Some(old), Some(old_place)) = (old, old_place) {
            let moved = old.lane != new.lane || Some(old_place) != new_place;
            if moved {
                let shelves = self.lane(&old.lane)?;
                // A task that stays among the ready ones has only just been put there.
                match (old.lane == new.lane, new_place) {
                    (true, Some(Place::Ready(rank))) if rank == old.rank() => match old_place {
                        Place::Later(key) => drop(shelves.later.remove(key, old.id.as_str())?),
                        Place::Held(key) => drop(shelves.held.remove(key, old.id.as_str())?),
                        Place::Ready(_) => {}
                    },
                    _ => shelves.remove(old, old_place)?,
                }
            }
        }
        Ok(())
    }

    /// Puts right what the index says of a task that turned out to be elsewhere.
    pub(super) fn correct(&self, _lock: &StoreLock, lane: &str, stale: &Entry) -> Result<()> {
        let shelves = self.lane(lane)?;
        let task = TaskId::parse(&stale.id).ok().and_then(|id| self.load(&id));
        let now_place = task.as_ref().filter(|task| task.lane == lane).and_then(place);
        if let Some(task) = &task
            && let Some(place) = place(task)
        {
            self.lane(&task.lane)?.insert(task, place)?;
        }
        if now_place != Some(Place::Ready(stale.rank)) {
            shelves.remove_ready(stale.rank, &stale.id)?;
        }
        if now_place != Some(Place::Later(stale.key)) {
            shelves.later.remove(stale.key, &stale.id)?;
        }
        if now_place != Some(Place::Held(stale.key)) {
            shelves.held.remove(stale.key, &stale.id)?;
        }
        Ok(())
    }

    fn load(&self, id: &TaskId) -> Option<Task> {
        let dir = self.layout.task(id).ok().flatten()?;
        read::task(&dir, id).ok().flatten().map(|loaded| loaded.task)
    }

    /// Whether something on the `later` or `held` shelf of a lane has come due.
    pub(super) fn has_due(&self, lane: &str, now: &Now) -> Result<bool> {
        let Some(shelves) = self.lane_if_any(lane)? else {
            return Ok(false);
        };
        let due = |key: Option<i64>| key.is_some_and(|key| key <= now.wall.micros());
        Ok(due(shelves.later.first_key()?) || due(shelves.held.first_key()?))
    }

    /// Puts what has come due among the tasks that can be claimed. No task changes by this.
    pub(super) fn promote_due(&self, _lock: &StoreLock, lane: &str, now: &Now) -> Result<()> {
        let Some(shelves) = self.lane_if_any(lane)? else {
            return Ok(());
        };
        for shelf in [&shelves.later, &shelves.held] {
            let mut due = Vec::new();
            shelf.visit(|entry| {
                if entry.key > now.wall.micros() {
                    return Ok(ControlFlow::Break(()));
                }
                due.push(entry.clone());
                Ok(ControlFlow::Continue(()))
            })?;
            for entry in due {
                // A lease may outlive its wall-clock end when somebody sets the clock forward.
                let live = TaskId::parse(&entry.id)
                    .ok()
                    .and_then(|id| self.load(&id))
                    .is_some_and(|task| task.lease_is_live(now));
                if live {
                    continue;
                }
                shelves.insert_ready(&Entry { key: entry.rank, ..entry.clone() })?;
                shelf.remove(entry.key, &entry.id)?;
            }
        }
        Ok(())
    }

    /// The next moment at which something in a lane comes due.
    pub(super) fn next_due(&self, lane: &str) -> Result<Option<Time>> {
        let Some(shelves) = self.lane_if_any(lane)? else {
            return Ok(None);
        };
        let keys = [shelves.later.first_key()?, shelves.held.first_key()?];
        Ok(keys.into_iter().flatten().min().map(Time::from_micros))
    }

    /// How many tasks of a lane can be claimed.
    pub(super) fn depth(&self, lane: &str) -> Result<u64> {
        self.lane_if_any(lane)?.map_or(Ok(0), |shelves| shelves.count())
    }

    /// The task that holds an idempotency key, as far as the index knows.
    pub(super) fn key_holder(&self, workspace_id: &str, key: &str) -> Result<Option<TaskId>> {
        let Some(keys) = self.indexes.open_existing(KEYS)? else {
            return Ok(None);
        };
        let content = read::file(&keys, &idempotency_key(workspace_id, key), 4096)?;
        Ok(content.and_then(|content| TaskId::parse(String::from_utf8_lossy(&content.bytes).trim()).ok()))
    }

    /// Notes which task holds its idempotency key.
    pub(super) fn set_key(&self, task: &Task) -> Result<()> {
        let Some(key) = &task.key else { return Ok(()) };
        let keys = self.indexes.open_or_make_derived(KEYS)?;
        let line = format!("{}\n", task.id);
        atomic::replace_derived(&keys, &idempotency_key(&task.workspace_id, key), line.as_bytes())
    }

    /// The directory of the correlation files.
    pub(super) fn correlations(&self) -> Result<Dir> {
        self.indexes.open_or_make(CORRELATIONS)
    }

    /// Completes the bookkeeping of a change whose process died in the middle of it.
    fn finish_for_another(&self, state: &State, id: &str) -> Result<State> {
        let task = TaskId::parse(id).ok().and_then(|id| self.load(&id));
        let mut seq = state.seq;
        if let Some(task) = &task {
            let dir = self.layout.task(&task.id)?;
            if let Some(dir) = dir {
                seq = self.complete_feed(&dir, task, seq)?;
                history::append(&dir, task)?;
            }
            self.set_key(task)?;
            if let Some(place) = place(task) {
                self.lane(&task.lane)?.insert(task, place)?;
            }
        }
        let next = State { seq, busy: None, ..state.clone() };
        self.write_state(&next)?;
        Ok(next)
    }

    /// Adds to the feed what a task tells and neither its events.jsonl nor the feed knows.
    fn complete_feed(&self, dir: &Dir, task: &Task, seq: u64) -> Result<u64> {
        let tail = history::feed_tail(&self.layout.root, 256 * 1024)?;
        let seq = tail.last().map_or(seq, |entry| entry.seq.max(seq));
        let known =
            tail.iter().filter(|entry| entry.task_id == task.id).filter_map(|entry| entry.event.n).max();
        let bare = Task { journal: Default::default(), ..task.clone() };
        let copied = history::events(dir, &bare)?.iter().filter_map(|event| event.n).max();
        let newest = known.max(copied);
        let missing: Vec<Event> =
            task.journal.recent.iter().filter(|event| event.n > newest).cloned().collect();
        history::append_feed(&self.layout.root, task, &missing, seq)
    }

    /// Looks for tasks that another implementation added.
    ///
    /// Ids sort by time, so the new ones are among the last. When their number does not account for
    /// what has changed in the directory, everything is looked at.
    fn adopt_new_tasks(&self, state: State) -> Result<State> {
        let names = self.layout.tasks.names()?;
        let newest_known = TaskId::parse(&state.newest).ok();
        let from = Time::from_micros(state.stamp / 1000).plus_seconds(-60.0).compact();
        let mut found = 0;
        for name in names.iter().filter(|name| **name > state.newest || **name > from) {
            let Some(task) = TaskId::parse(name).ok().and_then(|id| self.load(&id)) else {
                continue;
            };
            self.set_key(&task)?;
            let is_new = match place(&task) {
                Some(place) => self.lane(&task.lane)?.insert(&task, place)?,
                None => newest_known.as_ref().is_none_or(|newest| task.id > *newest),
            };
            found += u64::from(is_new);
        }
        if state.known + found != names.len() as u64 {
            return self.rebuild(state.seq);
        }
        let newest = names.iter().filter(|name| TaskId::is_valid(name)).max();
        let newest = newest.unwrap_or(&state.newest).clone().max(state.newest.clone());
        let next = State { stamp: self.stamp_tasks()?, known: names.len() as u64, newest, ..state };
        self.write_state(&next)?;
        Ok(next)
    }

    /// Builds the index anew from the tasks.
    pub(super) fn rebuild(&self, seq: u64) -> Result<State> {
        let mut lanes: BTreeMap<String, [Vec<Entry>; 3]> = BTreeMap::new();
        let mut keyed: Vec<Task> = Vec::new();
        let mut lost: Vec<(Task, Event)> = Vec::new();
        let feed = history::feed_tail(&self.layout.root, 1024 * 1024)?;
        let in_feed: HashSet<(&str, Option<u64>)> =
            feed.iter().map(|entry| (entry.task_id.as_str(), entry.event.n)).collect();
        let feed_end = feed.last().map(|entry| entry.event.created_at);
        let names = self.layout.tasks.names()?;
        for name in &names {
            let Some(task) = TaskId::parse(name).ok().and_then(|id| self.load(&id)) else {
                continue;
            };
            if let Some(place) = place(&task) {
                let shelves = lanes.entry(task.lane.clone()).or_default();
                match place {
                    Place::Ready(key) => shelves[0].push(entry(&task, key)),
                    Place::Later(key) => shelves[1].push(entry(&task, key)),
                    Place::Held(key) => shelves[2].push(entry(&task, key)),
                }
            }
            for event in &task.journal.recent {
                let after = feed_end.is_none_or(|end| event.created_at >= end);
                if after && !in_feed.contains(&(task.id.as_str(), event.n)) {
                    lost.push((task.clone(), event.clone()));
                }
            }
            if task.key.is_some() && task.retried_as.is_none() {
                keyed.push(task);
            }
        }
        self.swap_shelves(lanes)?;
        self.indexes.open_or_make_derived(KEYS)?;
        keyed.sort_by_key(|task| task.created_at);
        for task in &keyed {
            self.set_key(task)?;
        }
        let feed_seq = feed.last().map_or(0, |entry| entry.seq);
        let mut seq = seq.max(feed_seq);
        if seq > 0 {
            seq = (seq / SEQ_GAP + 1) * SEQ_GAP;
        }
        lost.sort_by_key(|(_, event)| (event.created_at, event.n));
        for (task, event) in &lost {
            seq = history::append_feed(&self.layout.root, task, std::slice::from_ref(event), seq)?;
        }
        let state = State {
            boot: boot_word(),
            stamp: self.stamp_tasks()?,
            known: names.len() as u64,
            // A word, so that the line can be split at spaces again.
            newest: names.iter().filter(|name| TaskId::is_valid(name)).max().cloned().unwrap_or("-".into()),
            seq,
            busy: None,
        };
        self.write_state(&state)?;
        Ok(state)
    }

    fn swap_shelves(&self, lanes: BTreeMap<String, [Vec<Entry>; 3]>) -> Result<()> {
        let tmp = self.layout.tmp()?;
        let staging = format!("lanes-{}", std::process::id());
        atomic::remove_tree(&tmp, &staging)?;
        let new = tmp.open_or_make_derived(&staging)?;
        for (lane, [ready, later, held]) in lanes {
            let shelves = LaneShelves::make(&new, &lane)?;
            shelves.set_count(ready.len() as u64)?;
            shelves.ready.fill(ready)?;
            shelves.later.fill(later)?;
            shelves.held.fill(held)?;
        }
        atomic::remove_tree(&self.indexes, SHELVES)?;
        atomic::rename_derived(&tmp, &staging, &self.indexes, SHELVES)
    }
}
