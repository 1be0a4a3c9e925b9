//! Repairs a damaged index when the damage is noticed. The index is derived data, so the caller of a query is not
//! affected.

use std::ffi::OsStr;
use std::ops::ControlFlow;

use rustix::io::Errno;

use super::seal::is_sealed_at;
use super::sorted_set::{SortedSet, damaged};
use super::state::{IndexState, UseMark, boot_word};
use super::{EXCLUSIVE, GROUPS, Index, KEYS, LANE_SETS, LaneSets, MAX_TRIES};
use crate::error::{ErrorKind, Result};
use crate::store::clock::Clock;
use crate::store::dir::Dir;
use crate::store::layout::Layout;
use crate::store::lock::StoreLock;
use crate::store::{FileStore, atomic, quarantine};

/// Removes an entry that has the name of a part of the index. A directory that is not empty was put there by
/// somebody, and is moved to the quarantine.
pub(in crate::store) fn clear(layout: &Layout, dir: &Dir, name: &str) -> Result<()> {
    if atomic::remove_unless_full(dir, name)? {
        return Ok(());
    }
    let time = Clock::system().now().wall;
    match quarantine::move_to_quarantine(&layout.root, &mut None, time, dir, OsStr::new(name)) {
        Ok(_) => Ok(()),
        // The queue must not stop because there is no space for a quarantine.
        Err(_) => atomic::remove_tree(dir, name),
    }
}

/// Writes a derived file, and again after something other than a file was removed from its name.
pub(in crate::store) fn put(
    layout: &Layout,
    dir: &Dir,
    name: &str,
    mut write: impl FnMut() -> Result<()>,
) -> Result<()> {
    match write() {
        Err(error) if error.raw_os_error() == Some(Errno::ISDIR.raw_os_error()) => {
            clear(layout, dir, name)?;
            write()
        }
        written => written,
    }
}

/// Opens a directory of the index; makes it if it does not exist or something else has its name.
pub(in crate::store) fn directory(layout: &Layout, indexes: &Dir, name: &str) -> Result<Dir> {
    match indexes.open_or_make_derived(name) {
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            clear(layout, indexes, name)?;
            indexes.open_or_make_derived(name)
        }
        opened => opened,
    }
}

impl FileStore {
    /// Runs a query on the index. When that shows damage, the index is repaired and the query is run again. A
    /// store that does not exist has no index, and the result of an empty one.
    pub(in crate::store) fn with_index<T: Default>(
        &self,
        ask: impl Fn(&Index<'_>) -> Result<T>,
    ) -> Result<T> {
        if self.layout.is_absent() {
            return Ok(T::default());
        }
        let index = Index::open(&self.layout)?;
        for _ in 1..MAX_TRIES {
            match index.retry_if_removed(|| ask(&index)) {
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    let Ok(lock) = self.lock_store() else { return Err(error) };
                    index.heal(&lock)?;
                }
                answer => return answer,
            }
        }
        ask(&index)
    }
}

impl Index<'_> {
    /// Returns whether the required parts of the index exist and only we have changed their names.
    pub(super) fn is_complete(&self, state: &IndexState) -> Result<bool> {
        let dir = self.dir();
        Ok(is_sealed_at(&dir, KEYS)?
            && is_sealed_at(&dir, LANE_SETS)?
            && self.dependents_are_complete(state.dependents)?
            && self.part_is_complete(EXCLUSIVE, state.exclusive)?
            && self.part_is_complete(GROUPS, state.groups)?)
    }

    /// Returns whether the files of a part that most stores do without are those that `lanes` wrote.
    fn part_is_complete(&self, name: &str, mark: UseMark) -> Result<bool> {
        match mark {
            UseMark::Absent => Ok(true),
            UseMark::Present => is_sealed_at(&self.dir(), name),
            UseMark::Unknown => Ok(false),
        }
    }

    /// Rebuilds the index if any part of it cannot be read. This needs the lock: without it, a line that is
    /// being written looks damaged as well.
    pub(in crate::store) fn heal(&self, lock: &StoreLock) -> Result<()> {
        let state = self.ensure(lock)?;
        self.retry_if_removed(|| match self.read_all() {
            Err(error) if error.kind() == ErrorKind::Corrupt => self.rebuild(state.seq).map(drop),
            read => read,
        })
    }

    /// Checks that the index was written since the machine started: of an older one, a power cut may have left parts only.
    ///
    /// # Errors
    /// `Corrupt` if not. A rebuild repairs that.
    pub(in crate::store) fn check_boot(&self) -> Result<()> {
        match self.read_state()? {
            Some(state) if state.boot == boot_word() => Ok(()),
            _ => Err(damaged(self.dir().path())),
        }
    }

    fn read_all(&self) -> Result<()> {
        self.keys()?.map_or(Ok(Vec::new()), |keys| keys.packed())?;
        let Some(lanes) = self.dir().open_existing(LANE_SETS)? else { return Ok(()) };
        for name in lanes.names()? {
            let Some(sets) = LaneSets::open_at(&lanes, &name)? else { continue };
            let read = |set: &SortedSet| -> Result<u64> {
                let mut seen = 0;
                set.visit(|_| {
                    seen += 1;
                    Ok(ControlFlow::Continue(()))
                })?;
                Ok(seen)
            };
            if !sets.are_sealed()? {
                return Err(damaged(&lanes.path().join(name)));
            }
            sets.check_count(read(&sets.ready)?)?;
            read(&sets.later)?;
            read(&sets.held)?;
            sets.blocked()?.map_or(Ok(0), |blocked| read(&blocked))?;
            sets.all_keyed()?.iter().try_for_each(|keyed| read(keyed).map(drop))?;
        }
        Ok(())
    }
}
