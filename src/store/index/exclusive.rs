//! Which task holds an exclusive key.
//!
//! For each key that a claimed task has, `indexes/exclusive` has a file with the ids of the tasks that may hold it, one
//! a line. A claim writes the file before it commits, under the store lock, so that no claimed task is missing there; an
//! id of a task that is not claimed any more means nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use super::lane::KeyedEntry;
use super::seal::{is_sealed, seal};
use super::sorted_set::{IndexEntry, SortedSet};
use super::state::{IndexState, UseMark};
use super::{EXCLUSIVE, Index, LANE_SETS, LaneSets, ids_in, self_heal};
use crate::error::Result;
use crate::model::{LaneName, Now, Status, Task, TaskId};
use crate::store::atomic;
use crate::store::dir::Dir;
use crate::store::layout::exclusive_key;
use crate::store::lock::StoreLock;

/// How many waiting tasks are looked at for one key.
const MAX_CHECKED: usize = 64;

/// How many entries are searched for them.
const MAX_SEARCHED: usize = 512;

/// A task that waits for an exclusive key.
pub(in crate::store) struct WaitingEntry {
    /// The file name of the key.
    pub(in crate::store) key: String,
    /// The task that holds it.
    pub(in crate::store) holder: TaskId,
    /// The entry of the task that waits.
    pub(in crate::store) entry: IndexEntry,
}

impl Index<'_> {
    /// Returns the mark of a state, where an older version may have written it: a store without the directory never
    /// had keys.
    pub(super) fn exclusive_mark_of(&self, state: &IndexState) -> Result<UseMark> {
        match state.exclusive {
            UseMark::Unknown if !self.has(EXCLUSIVE)? => Ok(UseMark::Absent),
            mark => Ok(mark),
        }
    }

    fn exclusive(&self) -> Result<Dir> {
        self_heal::directory(self.layout, &self.dir(), EXCLUSIVE)
    }

    /// Records that the store has a task with keys, if this one has any. Returns the state to write.
    pub(in crate::store) fn note_keys(&self, state: &IndexState, task: &Task) -> Result<IndexState> {
        if !task.needs_keys() || state.exclusive == UseMark::Present {
            return Ok(state.clone());
        }
        if state.exclusive == UseMark::Absent {
            seal(&self.exclusive()?)?;
        }
        Ok(IndexState { exclusive: UseMark::Present, ..state.clone() })
    }

    /// Returns the tasks that may hold a key, by the file name of the key.
    pub(in crate::store) fn holders(&self, key: &str) -> Result<Vec<TaskId>> {
        let Some(dir) = self.dir().open_existing(EXCLUSIVE)? else { return Ok(Vec::new()) };
        ids_in(&dir, key)
    }

    /// Returns the file names of all keys that may be held.
    pub(super) fn held_keys(&self) -> Result<BTreeSet<String>> {
        let Some(dir) = self.dir().open_existing(EXCLUSIVE)? else { return Ok(BTreeSet::new()) };
        Ok(dir.names()?.into_iter().collect())
    }

    /// Records that a task is about to hold its keys, or that it does. `added` means that others may hold them too. The
    /// caller holds the store lock.
    pub(in crate::store) fn hold_keys(&self, task: &Task, added: bool) -> Result<()> {
        let dir = self.exclusive()?;
        // A change by others that came before must stay visible.
        let was_whole = is_sealed(&dir)?;
        for key in &task.spec.exclusive {
            let name = exclusive_key(key);
            let mut ids = if added { ids_in(&dir, &name)? } else { Vec::new() };
            if ids.contains(&task.id) {
                continue;
            }
            ids.push(task.id.clone());
            write_holders(&dir, &name, &ids)?;
        }
        if was_whole { seal(&dir) } else { Ok(()) }
    }

    /// Records that a task does not hold its keys any more.
    pub(super) fn free_keys(&self, task: &Task) -> Result<()> {
        if !task.needs_keys() {
            return Ok(());
        }
        let Some(dir) = self.dir().open_existing(EXCLUSIVE)? else { return Ok(()) };
        let was_whole = is_sealed(&dir)?;
        for key in &task.spec.exclusive {
            let name = exclusive_key(key);
            let mut ids = ids_in(&dir, &name)?;
            let before = ids.len();
            ids.retain(|id| *id != task.id);
            match ids.len() {
                after if after == before => {}
                0 => atomic::remove(&dir, &name)?,
                _ => write_holders(&dir, &name, &ids)?,
            }
        }
        if was_whole { seal(&dir) } else { Ok(()) }
    }

    /// Writes the files of keys anew: for each file name the tasks that are claimed. `is_used` tells whether any task has
    /// keys.
    pub(super) fn rebuild_exclusive(
        &self,
        holders: &BTreeMap<String, Vec<TaskId>>,
        is_used: bool,
    ) -> Result<UseMark> {
        atomic::remove_tree(&self.dir(), EXCLUSIVE)?;
        if !is_used {
            return Ok(UseMark::Absent);
        }
        let dir = self.exclusive()?;
        holders.iter().try_for_each(|(name, ids)| write_holders(&dir, name, ids))?;
        seal(&dir)?;
        Ok(UseMark::Present)
    }

    /// Returns some of the tasks that wait for a claim and have a key, by the file name of the key: another
    /// implementation may have claimed one of them without telling.
    pub(in crate::store) fn waiting_for_key(&self, key: &str) -> Result<Vec<TaskId>> {
        let Some(lanes) = self.dir().open_existing(LANE_SETS)? else { return Ok(Vec::new()) };
        let (mut found, mut searched) = (Vec::new(), 0);
        for name in lanes.names()? {
            let Some(sets) = LaneSets::open_at(&lanes, &name)? else { continue };
            let Some(keyed) = sets.keyed()? else { continue };
            for set in sets.parked(key)?.into_iter().chain([keyed]) {
                set.visit(|entry| {
                    searched += 1;
                    if KeyedEntry::of(entry).is_some_and(|keyed| keyed.keys.contains(&key)) {
                        found.extend(TaskId::parse(&entry.id));
                    }
                    let is_enough = searched >= MAX_SEARCHED || found.len() >= MAX_CHECKED;
                    Ok(if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
                })?;
            }
            if searched >= MAX_SEARCHED || found.len() >= MAX_CHECKED {
                break;
            }
        }
        Ok(found)
    }

    /// Returns the first entry with keys of a lane that could be claimed as far as keys and times say, and how many there
    /// are.
    pub(super) fn free_keyed(&self, sets: &LaneSets, now: &Now) -> Result<(Option<IndexEntry>, u64)> {
        let (mut first, mut count) = (None, 0);
        let held = match sets.keyed()? {
            Some(_) => self.held_keys()?,
            None => return Ok((first, count)),
        };
        for set in self.keyed_without(sets, &held)? {
            set.visit(|entry| {
                let is_free = KeyedEntry::of(entry)
                    .is_some_and(|it| !it.is_early(now) && !it.keys.iter().any(|key| held.contains(*key)));
                if is_free {
                    count += 1;
                    first.get_or_insert_with(|| entry.clone());
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok((first, count))
    }

    /// Returns the sets of tasks with keys of a lane, without those of tasks that are parked for a key that is held.
    pub(super) fn keyed_without(&self, sets: &LaneSets, held: &BTreeSet<String>) -> Result<Vec<SortedSet>> {
        let mut found: Vec<SortedSet> = sets.keyed()?.into_iter().collect();
        for key in sets.parked_keys()?.into_iter().filter(|key| !held.contains(key)) {
            found.extend(sets.parked(&key)?);
        }
        Ok(found)
    }

    /// Moves tasks of a lane that wait for keys that are held out of the way of further searches; those of each key are
    /// together and in order.
    pub(in crate::store) fn park(
        &self,
        lock: &StoreLock,
        lane: &LaneName,
        waiting: &[WaitingEntry],
    ) -> Result<()> {
        self.ensure(lock)?;
        let Some(sets) = self.existing_lane(lane)? else { return Ok(()) };
        let Some(keyed) = sets.keyed()? else { return Ok(()) };
        let mut all = Vec::with_capacity(waiting.len());
        for of_key in waiting.chunk_by(|a, b| a.key == b.key) {
            // A key that was freed meanwhile may be looked for by others who have not seen that yet, where the tasks are now.
            let holders = self.holders(&of_key[0].key)?;
            all.extend(of_key.iter().filter(|waiting| holders.contains(&waiting.holder)));
        }
        all.sort_by(|a, b| a.entry.place().cmp(&b.entry.place()));
        let mut parked: Vec<IndexEntry> = all.iter().map(|waiting| waiting.entry.clone()).collect();
        // Of many processes that have passed over the same tasks, the first one parks them.
        let there = keyed.ids_of(&parked)?;
        parked.retain(|entry| there.contains(&entry.id));
        let mut by_key = BTreeMap::<&str, Vec<IndexEntry>>::new();
        for waiting in all.iter().filter(|waiting| there.contains(&waiting.entry.id)) {
            by_key.entry(&waiting.key).or_default().push(waiting.entry.clone());
        }
        by_key.iter().try_for_each(|(key, entries)| sets.add_parked(key, entries))?;
        keyed.remove_many(&parked)
    }

    /// Returns which of these directories of lanes have tasks with keys that wait for a claim.
    pub(in crate::store) fn lanes_with_keys(&self, names: Vec<String>) -> Result<Vec<String>> {
        let Some(lanes) = self.dir().open_existing(LANE_SETS)? else { return Ok(Vec::new()) };
        let has_keys = |name: &String| -> Result<bool> {
            let sets = LaneSets::open_at(&lanes, name)?.map_or(Ok(Vec::new()), |sets| sets.all_keyed())?;
            for set in sets {
                if set.first_key()?.is_some() {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        let mut found = Vec::new();
        for name in names {
            if has_keys(&name)? {
                found.push(name);
            }
        }
        Ok(found)
    }
}

/// Returns whether a task holds its keys: it is claimed, whether its lease has ended or not.
pub(in crate::store) fn holds_keys(task: &Task) -> bool {
    task.needs_keys() && matches!(task.status, Status::Claimed(_))
}

fn write_holders(dir: &Dir, name: &str, ids: &[TaskId]) -> Result<()> {
    let text: String = ids.iter().map(|id| format!("{id}\n")).collect();
    atomic::replace_derived(dir, name, text.as_bytes())
}
