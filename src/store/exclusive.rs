//! Exclusive keys: at most one claimed task of the store has a key.
//!
//! A claim commits under the store lock only while no other task that is claimed has one of its keys; `index/exclusive.rs`
//! tells which tasks to look at. Before a key passes on from a claim whose lease has ended, that task is written back to
//! where it waits, since other implementations offer a claimed task whose lease has ended.

use std::collections::HashMap;

use super::FileStore;
use super::index::Index;
use super::index::exclusive::holds_keys;
use super::layout::{BELLS, exclusive_key};
use super::lock::TaskLock;
use super::{atomic, bounded_file, cannot_write};
use crate::error::{ErrorKind, Result};
use crate::model::{Command, ExclusiveKey, Now, Refusal, Task, TaskId, Time};

/// A key that another task holds.
pub(crate) struct HeldKey {
    /// The key.
    pub(crate) key: ExclusiveKey,
    /// The id of the task that holds it.
    pub(crate) holder: TaskId,
    /// The time of its claim; `None` when that task cannot be read.
    pub(crate) since: Option<Time>,
}

/// What becomes of a key because of a task that the index names as its holder.
enum Holder {
    /// It is claimed and has the key.
    Claimed(Box<Task>),
    /// It is not claimed, or does not have the key, or is gone.
    NotHolding,
    /// It cannot be read. Its worker may still use what the key stands for, so the key is not free until `fsck` has
    /// repaired the task or moved it away.
    Unreadable,
}

impl Holder {
    /// Returns whether nobody else may have the key now.
    fn keeps_key(&self, now: &Now) -> bool {
        match self {
            Self::Claimed(task) => task.lease_is_live(now),
            Self::NotHolding => false,
            Self::Unreadable => true,
        }
    }

    /// Returns the time of its claim.
    fn since(&self) -> Option<Time> {
        match self {
            Self::Claimed(task) => task.status.claim().map(|claim| claim.claimed_at),
            Self::NotHolding | Self::Unreadable => None,
        }
    }
}

/// Whether a key can be had.
#[derive(Clone)]
pub(super) enum KeyState {
    /// No claimed task has it.
    Free,
    /// This claimed task has it.
    Held(TaskId),
    /// Another process is changing the task that had it.
    Busy(TaskId),
}

/// The states of keys that one search has found, by the file names of the keys.
#[derive(Default)]
pub(super) struct KnownKeys(HashMap<String, KeyState>);

impl FileStore {
    pub(crate) fn held_key(&self, task: &Task) -> Result<Option<HeldKey>> {
        for key in &task.spec.exclusive {
            let name = exclusive_key(key);
            for id in self.may_hold_key(&name)? {
                if id == task.id {
                    continue;
                }
                let holder = self.holder_of(&id, &name)?;
                if holder.keeps_key(&self.now()) {
                    return Ok(Some(HeldKey { key: key.clone(), holder: id, since: holder.since() }));
                }
            }
        }
        Ok(None)
    }

    /// Returns the tasks that may hold a key, given by its file name.
    fn may_hold_key(&self, name: &str) -> Result<Vec<TaskId>> {
        let asked = self.with_index(|index| {
            index.check_boot()?;
            index.holders(name)
        });
        match asked {
            // Where the index cannot be rebuilt, as it is.
            Err(error) if error.kind() == ErrorKind::Corrupt || cannot_write(&error) => {
                self.with_index(|index| index.holders(name))
            }
            asked => asked,
        }
    }

    /// Returns whether a task holds a key, given by its file name.
    fn holder_of(&self, id: &TaskId, name: &str) -> Result<Holder> {
        let has_key = |task: &Task| task.spec.exclusive.iter().any(|key| exclusive_key(key) == name);
        match self.scan_one(id) {
            Ok(Some(task)) if holds_keys(&task) && has_key(&task) => Ok(Holder::Claimed(Box::new(task))),
            Ok(_) => Ok(Holder::NotHolding),
            Err(error) if bounded_file::is_transient(&error) => Err(error),
            Err(_) => Ok(Holder::Unreadable),
        }
    }

    /// Returns whether a key, given by its file name, is free, as far as this search has found or finds out now.
    pub(super) fn state_of_key(
        &self,
        index: &Index<'_>,
        known: &mut KnownKeys,
        name: &str,
    ) -> Result<KeyState> {
        if let Some(state) = known.0.get(name) {
            return Ok(state.clone());
        }
        let state = self.key_state(index, name, None)?;
        known.0.insert(name.to_string(), state.clone());
        Ok(state)
    }

    /// Returns whether the index names a task that keeps a key, given by its file name, from others. If not, other
    /// implementations may hold it nevertheless.
    pub(super) fn is_known_as_held(
        &self,
        index: &Index<'_>,
        known: &mut KnownKeys,
        name: &str,
    ) -> Result<bool> {
        if let Some(state) = known.0.get(name) {
            return Ok(!matches!(state, KeyState::Free));
        }
        for id in index.holders(name)? {
            if self.holder_of(&id, name)?.keeps_key(&self.now()) {
                known.0.insert(name.to_string(), KeyState::Held(id));
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes back the tasks that had the keys of a task under leases that have ended. Its claim then finds the keys free.
    pub(super) fn release_ended_holders(&self, task: &Task) -> Result<()> {
        if !task.needs_keys() {
            return Ok(());
        }
        let index = Index::open(&self.layout)?;
        for key in &task.spec.exclusive {
            self.key_state(&index, &exclusive_key(key), Some(&task.id))?;
        }
        Ok(())
    }

    /// Finds out whether a key is free. A task whose lease has ended gives it back.
    fn key_state(&self, index: &Index<'_>, name: &str, except: Option<&TaskId>) -> Result<KeyState> {
        for id in index.holders(name)?.iter().filter(|id| Some(*id) != except) {
            match self.holder_of(id, name)? {
                Holder::NotHolding => {}
                holder if holder.keeps_key(&self.now()) => return Ok(KeyState::Held(id.clone())),
                _ => match self.write_back(id)? {
                    KeyState::Free => {}
                    state => return Ok(state),
                },
            }
        }
        // Other implementations do not know keys, and claim any task by its id.
        for id in index.waiting_for_key(name)?.iter().filter(|id| Some(*id) != except) {
            // One that cannot be read waits, as the index says.
            let Holder::Claimed(holder) = self.holder_of(id, name)? else { continue };
            let lock = self.lock_store()?;
            index.ensure(&lock)?;
            index.hold_keys(&holder, true)?;
            drop(lock);
            if holder.lease_is_live(&self.now()) {
                return Ok(KeyState::Held(id.clone()));
            }
            match self.write_back(id)? {
                KeyState::Free => {}
                state => return Ok(state),
            }
        }
        Ok(KeyState::Free)
    }

    /// Makes a task wait for its keys again whose lease has ended.
    fn write_back(&self, id: &TaskId) -> Result<KeyState> {
        let Some(dir) = self.layout.task(id)? else { return Ok(KeyState::Free) };
        // Not more: the process that has the lock may wait for the lock of a task that this process has.
        let Some(lock) = TaskLock::try_acquire(&dir)? else { return Ok(KeyState::Busy(id.clone())) };
        match self.apply_locked(&dir, id, &Command::Settle, &lock) {
            Ok((task, _)) if holds_keys(&task) => Ok(KeyState::Held(task.id)),
            Ok(_) => Ok(KeyState::Free),
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(KeyState::Held(id.clone())),
            Err(error) => Err(error),
        }
    }

    /// Checks that no other claimed task has a key of this one. The caller holds the store lock and is about to commit
    /// the claim.
    ///
    /// # Errors
    /// `Refused` if one has.
    pub(super) fn check_keys_are_free(&self, index: &Index<'_>, task: &Task) -> Result<()> {
        for key in &task.spec.exclusive {
            let name = exclusive_key(key);
            for holder in index.holders(&name)?.into_iter().filter(|id| *id != task.id) {
                let since = match self.holder_of(&holder, &name)? {
                    Holder::NotHolding => continue,
                    found => found.since(),
                };
                let id = task.id.clone();
                return Err(Refusal::KeyHeld { id, key: key.clone(), holder, since }.into());
            }
        }
        Ok(())
    }

    /// Wakes the waiters of all lanes with tasks that wait for a key.
    pub(super) fn ring_for_keys(&self, index: &Index<'_>) {
        let Ok(Some(bells)) = self.layout.root.open_existing(BELLS) else { return };
        let waiting = bells.names().and_then(|names| index.lanes_with_keys(names));
        for lane in waiting.unwrap_or_default() {
            atomic::ring(&bells, &lane);
        }
    }
}
