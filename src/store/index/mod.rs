//! The index: which tasks of a lane can be claimed next, and which task holds a key or a correlation.
//!
//! It is derived data. For every lane there are sorted sets: `ready` (claimable, in order), `later`
//! (scheduled, by the time they are due), `held` (claimed, by the end of their lease) and, once it had one, `blocked`
//! (tasks that wait for others, in order) and `keyed` (tasks with exclusive keys, in order). The index may be
//! deleted at any time; it is rebuilt from the tasks, and an entry is never trusted without reading its task.
//!
//! `indexes/state` shows whether the index is up to date:
//!
//! * *boot*: the index is written without syncs, so it is rebuilt after a restart of the machine;
//! * *stamp*: the modification time that `lanes` set on the `tasks` directory after the last submit. When
//!   another implementation adds a task, the time changes, and the new tasks are looked for;
//! * *clock*: by how much the wall clock was ahead of the uptime when a lease was given. When it is less far
//!   ahead now, leases end in another order than their entries show, and all of them are checked;
//! * *seal*: the modification time of `indexes/lanes`, `indexes/keys` and every sorted set, which is always
//!   the same after a change by `lanes`. When it differs, somebody has removed or added names, and the index
//!   is rebuilt;
//! * *dependents*: whether tasks wait for others, and whether some of those have ended and their dependents are
//!   still to be released;
//! * *exclusive*, *groups*: whether tasks have exclusive keys, and whether some are in groups;
//! * *busy*: the task that is being changed, or several. A process that is killed during a change leaves them there, and
//!   the next one completes the work.
//!
//! | file | `Index` methods |
//! |---|---|
//! | `mod.rs` | state, entries of a changed task, due entries |
//! | `queries.rs` | queries about lanes |
//! | `dependents.rs` | tasks that wait for others |
//! | `exclusive.rs` | which tasks hold exclusive keys |
//! | `groups.rs` | which tasks are in which group |
//! | `keys.rs`, `correlations.rs`, `removal.rs` | names that lead to tasks |
//! | `rebuild.rs`, `power_loss.rs` | after other implementations, a killed process, a power cut |
//! | `self_heal.rs` | after damage |

pub(super) mod correlations;
mod dependents;
pub(super) mod exclusive;
mod groups;
mod keys;
mod lane;
mod power_loss;
mod queries;
mod rebuild;
mod removal;
pub(super) mod seal;
pub(super) mod self_heal;
pub(crate) mod sorted_set;
mod state;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use self::seal::{is_sealed, seal};
use self::sorted_set::{IndexEntry, SortedSet};
use super::dir::Dir;
use super::file_tail::lines;
use super::layout::{INDEXES, Layout, TASKS, lane_key};
use super::lock::StoreLock;
use super::{atomic, bounded_file, task_files};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{LaneName, Now, Task, TaskId};
pub(super) use lane::{KeyedEntry, LaneSets, Position, position};

pub(super) use self::exclusive::WaitingEntry;
use self::exclusive::holds_keys;
use self::lane::{clock_lead, is_due, key_names};
use self::state::boot_word;
pub(super) use self::state::{DependentsMark, IndexState};

const STATE: &str = "state";
const KEYS: &str = "keys";
const CORRELATIONS: &str = "correlations";
const LANE_SETS: &str = "lanes";
const EXCLUSIVE: &str = "exclusive";
const GROUPS: &str = "groups";

/// How often an operation is tried while another program removes the index.
pub(super) const MAX_TRIES: usize = 5;

/// Returns whether a file was missing that had just been made or seen: another program is removing the index.
fn is_gone(error: &Error) -> bool {
    error.raw_os_error() == Some(Errno::NOENT.raw_os_error())
}

/// The largest file of ids in the index, in bytes.
const MAX_ID_FILE: u64 = 1024 * 1024 * 1024;

/// Returns the ids in a file of the index that has one a line; none when there is no such file.
fn ids_in(dir: &Dir, name: &str) -> Result<Vec<TaskId>> {
    let content = bounded_file::read(dir, name, MAX_ID_FILE)?;
    let bytes = content.map(|content| content.bytes).unwrap_or_default();
    Ok(lines(&bytes).filter_map(|line| TaskId::parse(&String::from_utf8_lossy(line)).ok()).collect())
}

/// Opens the directory of the index, and makes it if it does not exist.
fn open_or_make(layout: &Layout) -> Result<Dir> {
    for _ in 1..MAX_TRIES {
        match layout.indexes() {
            Err(error) if is_gone(&error) => {}
            opened => return opened,
        }
    }
    layout.indexes()
}

/// Returns the first entries of a sorted set that may have come due, at most `count`. `unordered` means that
/// the order of the keys is not that of the due times.
fn due(set: &SortedSet, unordered: bool, now: &Now, count: usize) -> Result<Vec<IndexEntry>> {
    let mut due = Vec::new();
    set.visit(|entry| {
        if is_due(entry, now) {
            due.push(entry.clone());
        } else if !unordered {
            return Ok(ControlFlow::Break(()));
        }
        Ok(if due.len() < count { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(due)
}

/// The index of one store.
pub(super) struct Index<'a> {
    layout: &'a Layout,
    /// Its directory; replaced when somebody has removed it.
    indexes: RefCell<Rc<Dir>>,
}

impl<'a> Index<'a> {
    pub(super) fn open(layout: &'a Layout) -> Result<Self> {
        Ok(Self::of_dir(layout, open_or_make(layout)?))
    }

    /// Opens the index for a look that writes nothing; `None` where none was made yet.
    pub(super) fn open_existing(layout: &'a Layout) -> Result<Option<Self>> {
        Ok(layout.root.open_existing(INDEXES)?.map(|dir| Self::of_dir(layout, dir)))
    }

    fn of_dir(layout: &'a Layout, dir: Dir) -> Self {
        Self { layout, indexes: RefCell::new(Rc::new(dir)) }
    }

    /// Returns its directory.
    pub(super) fn dir(&self) -> Rc<Dir> {
        Rc::clone(&self.indexes.borrow())
    }

    /// Runs `work`, and runs it again if another program removes the index meanwhile.
    pub(super) fn retry_if_removed<T>(&self, work: impl Fn() -> Result<T>) -> Result<T> {
        for _ in 1..MAX_TRIES {
            match work() {
                Err(error) if is_gone(&error) => match open_or_make(self.layout) {
                    Ok(dir) => *self.indexes.borrow_mut() = Rc::new(dir),
                    Err(_) => return Err(error),
                },
                done => return done,
            }
        }
        work()
    }

    fn read_state(&self) -> Result<Option<IndexState>> {
        match bounded_file::read(&self.dir(), STATE, 4096) {
            Ok(content) => {
                let state =
                    content.and_then(|content| IndexState::parse(&String::from_utf8_lossy(&content.bytes)));
                let with_marks = |state: IndexState| {
                    let (dependents, exclusive) =
                        (self.dependents_mark_of(&state)?, self.exclusive_mark_of(&state)?);
                    Ok(IndexState { dependents, exclusive, ..state })
                };
                state.map(with_marks).transpose()
            }
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns whether the index has a file or directory of this name.
    fn has(&self, name: &str) -> Result<bool> {
        match rustix::fs::statat(&*self.dir(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(Error::io("read", self.dir().path().join(name), errno)),
        }
    }

    fn write_state(&self, state: &IndexState) -> Result<()> {
        let file = atomic::open_for_update(&self.dir(), STATE)?;
        file.write_all_at(state.line().as_bytes(), 0)
            .map_err(|error| Error::io("write", self.dir().path().join(STATE), error))
    }

    /// Returns the modification time of the `tasks` directory, in nanoseconds after 1970.
    fn tasks_time(&self) -> Result<i64> {
        let stat = rustix::fs::fstat(&self.layout.tasks)
            .map_err(|errno| Error::io("read", self.layout.root.path().join(TASKS), errno))?;
        Ok(stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(stat.st_mtime_nsec as i64))
    }

    /// Returns the state if the index is up to date. Takes no lock.
    pub(super) fn state_if_current(&self) -> Result<Option<IndexState>> {
        let time = self.tasks_time()?;
        let is_current =
            |state: &IndexState| state.boot == boot_word() && state.stamp == time && state.busy.is_empty();
        match self.read_state()?.filter(is_current) {
            Some(state) if self.is_complete(&state)? => Ok(Some(state)),
            _ => Ok(None),
        }
    }

    /// Brings the index up to date and returns its state.
    pub(super) fn ensure(&self, _lock: &StoreLock) -> Result<IndexState> {
        self.retry_if_removed(|| self.update_or_rebuild())
    }

    fn update_or_rebuild(&self) -> Result<IndexState> {
        let state = match self.read_state()? {
            Some(state) if state.boot == boot_word() => state,
            old => return self.rebuild(old.map_or(0, |state| state.seq)),
        };
        let seq = state.seq;
        let is_complete = self.is_complete(&state)?;
        // The unfinished work of a dead process may not be among what a rebuild looks for.
        if !is_complete && state.busy.is_empty() {
            return self.rebuild(seq);
        }
        match self.update_incrementally(state) {
            Err(error) if error.kind() == ErrorKind::Corrupt => self.rebuild(seq),
            Ok(state) if !is_complete => self.rebuild(state.seq),
            done => done,
        }
    }

    fn update_incrementally(&self, state: IndexState) -> Result<IndexState> {
        let state = if state.busy.is_empty() { state } else { self.finish_interrupted_changes(state)? };
        let state = self.publish_owed_responses(state)?;
        if state.stamp == self.tasks_time()? { Ok(state) } else { self.adopt_new_tasks(state) }
    }

    /// Records that a change is in progress, after which the task is `task`.
    pub(super) fn begin(&self, _lock: &StoreLock, state: &IndexState, task: &Task) -> Result<IndexState> {
        let clock = clock_lead(task).map_or(state.clock, |clock| clock.max(state.clock));
        let state = self.retry_if_removed(|| self.note_keys(state, task))?;
        let state = IndexState { busy: vec![task.id.to_string()], clock, ..state };
        self.retry_if_removed(|| self.write_state(&state))?;
        Ok(state)
    }

    /// Records that a change of some tasks is in progress, after which they are `tasks`, none of them claimed. Returns for how
    /// many of them that is recorded; the others must not be changed with them. `None` for none.
    pub(super) fn begin_group<'t>(
        &self,
        _lock: &StoreLock,
        state: &IndexState,
        tasks: impl Iterator<Item = &'t Task>,
    ) -> Result<Option<(IndexState, usize)>> {
        let mut state = state.clone();
        let count = state.add_busy(tasks.map(|task| task.id.as_str()));
        if count == 0 {
            return Ok(None);
        }
        self.retry_if_removed(|| self.write_state(&state))?;
        Ok(Some((state, count)))
    }

    /// Records that the change is done; `added` is the task that it created.
    pub(super) fn finish(
        &self,
        _lock: &StoreLock,
        state: &IndexState,
        seq: u64,
        added: Option<&TaskId>,
    ) -> Result<IndexState> {
        let mut next = IndexState { seq, busy: Vec::new(), ..state.clone() };
        if let Some(id) = added {
            next.known = next.known.saturating_add(1);
            next.stamp = self.stamp_tasks()?;
            if id.as_str() > next.newest.as_str() {
                next.newest = id.to_string();
            }
        }
        self.write_state(&next)?;
        Ok(next)
    }

    /// Records that a change is done that answered a task: the response gets its name only once the change is
    /// durable, and the next change completes that if this process dies before.
    pub(super) fn finish_with_response(
        &self,
        lock: &StoreLock,
        state: &IndexState,
        seq: u64,
        answered: &TaskId,
    ) -> Result<IndexState> {
        self.finish(lock, &state.with_owed(answered.as_str()), seq, None)
    }

    /// Sets a modification time of our own on the `tasks` directory, and returns it in nanoseconds.
    ///
    /// The kernel's file clock moves in ticks of some milliseconds, so a task that another implementation
    /// adds right after ours would leave the time unchanged. A time one nanosecond before the current tick is
    /// never the kernel's.
    fn stamp_tasks(&self) -> Result<i64> {
        atomic::set_modification_time(&self.layout.tasks, self.tasks_time()? - 1)?;
        self.tasks_time()
    }

    /// Returns the sorted sets of a lane for writing, and makes them if they do not exist.
    fn lane(&self, lane: &LaneName) -> Result<LaneSets> {
        let lanes = self.dir().open_or_make_derived(LANE_SETS)?;
        if let Some(sets) = LaneSets::open(&lanes, lane)? {
            return Ok(sets);
        }
        // A change by others that came before must stay visible.
        let was_whole = is_sealed(&lanes)?;
        let sets = LaneSets::make(&lanes, lane)?;
        if was_whole {
            seal(&lanes)?;
        }
        Ok(sets)
    }

    /// Returns whether the index has the lane, in one look.
    pub(super) fn has_lane(&self, lane: &LaneName) -> Result<bool> {
        self.has(&format!("{LANE_SETS}/{}", lane_key(lane.as_str())))
    }

    /// Returns the sorted sets of a lane, if it ever had a task.
    pub(super) fn existing_lane(&self, lane: &LaneName) -> Result<Option<LaneSets>> {
        match self.dir().open_existing(LANE_SETS)? {
            Some(lanes) => LaneSets::open(&lanes, lane),
            None => Ok(None),
        }
    }

    /// Moves a task to its new position. The new position is written first: an extra entry does no harm, a
    /// missing one would hide the task.
    pub(super) fn update(&self, _lock: &StoreLock, old: Option<&Task>, new: &Task) -> Result<()> {
        if holds_keys(new) {
            self.hold_keys(new, true)?;
        }
        let new_place = position(new);
        let old_place = old.and_then(position);
        let mut of_new = None;
        if let Some(new_place) = new_place {
            let sets = self.lane(&new.spec.lane)?;
            sets.insert(new, new_place)?;
            of_new = Some(sets);
        }
        if let (Some(old), Some(old_place)) = (old, old_place) {
            let moved = old.spec.lane != new.spec.lane || Some(old_place) != new_place;
            if moved {
                let sets = match of_new {
                    Some(sets) if old.spec.lane == new.spec.lane => sets,
                    _ => self.lane(&old.spec.lane)?,
                };
                // A task that stays among the ready ones has only just been put there.
                match (old.spec.lane == new.spec.lane, new_place) {
                    (true, Some(Position::Ready(rank))) if rank == old.rank() => match old_place {
                        Position::Later(key) => drop(sets.later.remove(key, old.id.as_str())?),
                        Position::Held(key) => drop(sets.held.remove(key, old.id.as_str())?),
                        Position::Blocked(key) => sets.remove_blocked(key, old.id.as_str())?,
                        Position::Keyed(key) => sets.remove_keyed(key, old.id.as_str(), &key_names(old))?,
                        Position::Ready(_) => {}
                    },
                    _ => sets.remove(old, old_place)?,
                }
            }
        }
        if old.is_some_and(holds_keys) && !holds_keys(new) {
            self.free_keys(new)?;
        }
        Ok(())
    }

    /// Moves tasks to their new positions, as [`Index::update`] does: those that do not wait for others any more together.
    pub(super) fn update_group(&self, lock: &StoreLock, changes: &[(&Task, &Task)]) -> Result<()> {
        let mut unblocked = BTreeMap::<&LaneName, Vec<&Task>>::new();
        for (old, new) in changes {
            match (position(old), position(new)) {
                (Some(Position::Blocked(from)), Some(Position::Ready(to)))
                    if from == to && old.spec.lane == new.spec.lane =>
                {
                    unblocked.entry(&new.spec.lane).or_default().push(new);
                }
                _ => self.update(lock, Some(old), new)?,
            }
        }
        unblocked.into_iter().try_for_each(|(lane, tasks)| self.lane(lane)?.unblock(&tasks))
    }

    /// Corrects the entries of a task that turned out to be at another position.
    pub(super) fn correct(&self, lock: &StoreLock, lane: &LaneName, stale: &IndexEntry) -> Result<()> {
        let sets = self.lane(lane)?;
        let task = self.load(&stale.id)?;
        let now_place = task.as_ref().filter(|task| task.spec.lane == *lane).and_then(position);
        if let Some(task) = &task
            && let Some(position) = position(task)
        {
            self.lane(&task.spec.lane)?.insert(task, position)?;
        }
        if task.as_ref().is_some_and(|task| task.status.is_terminal()) {
            // Another implementation has ended it.
            let state = self.ensure(lock)?;
            let state = self.note_end(&state, &TaskId::parse(&stale.id)?)?;
            self.write_state(&state)?;
        }
        if now_place != Some(Position::Ready(stale.rank)) {
            sets.remove_ready(stale.rank, &stale.id)?;
        }
        if now_place != Some(Position::Later(stale.key)) {
            sets.later.remove(stale.key, &stale.id)?;
        }
        if now_place != Some(Position::Held(stale.key)) {
            sets.held.remove(stale.key, &stale.id)?;
        }
        if now_place != Some(Position::Keyed(stale.rank)) {
            let keys = KeyedEntry::of(stale).map(|entry| entry.keys).unwrap_or_default();
            let keys: Vec<String> = keys.into_iter().map(str::to_string).collect();
            sets.remove_keyed(stale.rank, &stale.id, &keys)?;
        }
        if let Some(task) = task.as_ref().filter(|task| holds_keys(task)) {
            self.hold_keys(task, true)?;
        }
        Ok(())
    }

    /// Returns the task in the directory `name`; `None` when there is none or it cannot be read.
    fn load(&self, name: &str) -> Result<Option<Task>> {
        let Ok(id) = TaskId::parse(name) else { return Ok(None) };
        let read = || match self.layout.task(&id)? {
            Some(dir) => Ok(task_files::task(&dir, &id)?.map(|loaded| loaded.task)),
            None => Ok(None),
        };
        match read() {
            Err(error) if !bounded_file::is_transient(&error) => Ok(None),
            read => read,
        }
    }

    /// Returns whether an entry of the `later` or `held` set of a lane has come due, or a sorted set may have lost
    /// a chunk, so that [`Index::promote_due`] has work.
    pub(super) fn has_due_entries(&self, state: &IndexState, lane: &LaneName, now: &Now) -> Result<bool> {
        let Some(sets) = self.existing_lane(lane)? else {
            return Ok(false);
        };
        Ok(!sets.are_sealed()?
            || !due(&sets.later, false, now, 1)?.is_empty()
            || !due(&sets.held, state.is_set_back(now), now, 1)?.is_empty())
    }

    /// Moves due entries to the ready ones, after a rebuild when a sorted set has lost a chunk. No task
    /// changes. Returns the state of the index.
    pub(super) fn promote_due(
        &self,
        _lock: &StoreLock,
        state: IndexState,
        lane: &LaneName,
        now: &Now,
    ) -> Result<IndexState> {
        self.retry_if_removed(|| self.promoted(state.clone(), lane, now))
    }

    fn promoted(&self, state: IndexState, lane: &LaneName, now: &Now) -> Result<IndexState> {
        let (mut state, mut sets) = (state, self.existing_lane(lane)?);
        if let Some(damaged) = &sets
            && !damaged.are_sealed()?
        {
            state = self.rebuild(state.seq)?;
            sets = self.existing_lane(lane)?;
        }
        let Some(sets) = sets else { return Ok(state) };
        for (set, unordered) in [(&sets.later, false), (&sets.held, state.is_set_back(now))] {
            let due = due(set, unordered, now, usize::MAX)?;
            for entry in due {
                // A lease may outlive its wall-clock end when somebody sets the clock forward.
                if self.load(&entry.id)?.is_some_and(|task| task.lease_is_live(now)) {
                    continue;
                }
                sets.promote(set, &entry)?;
            }
        }
        Ok(state)
    }

    /// Moves a claimed task whose lease is over to the ready ones.
    pub(super) fn promote_held(&self, _lock: &StoreLock, lane: &LaneName, entry: &IndexEntry) -> Result<()> {
        match self.existing_lane(lane)? {
            Some(sets) => sets.promote(&sets.held, entry),
            None => Ok(()),
        }
    }
}
