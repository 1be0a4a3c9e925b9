//! A damaged index is noticed and built anew on the spot: it is derived data, and whoever asks for
//! the next task must not have to know of it.

use std::ffi::OsStr;
use std::ops::ControlFlow;

use rustix::io::Errno;

use super::seal::is_sealed_at;
use super::sorted_set::{SortedSet, damaged};
use super::{Index, KEYS, LANE_SETS, LaneSets, TRIES};
use crate::error::{ErrorKind, Result};
use crate::store::clock::Clock;
use crate::store::dir::Dir;
use crate::store::layout::Layout;
use crate::store::lock::StoreLock;
use crate::store::{Store, atomic, quarantine};

/// Removes what has the name of a part of the index. A directory that holds something was put there by
/// somebody, and is moved to the quarantine.
pub(in crate::store) fn clear(layout: &Layout, dir: &Dir, name: &str) -> Result<()> {
    if atomic::remove_unless_full(dir, name)? {
        return Ok(());
    }
    let time = Clock::system().now().wall;
    match quarantine::set_aside(&layout.root, &mut None, time, dir, OsStr::new(name)) {
        Ok(_) => Ok(()),
        // The queue must not stand still because there is no room for a quarantine.
        Err(_) => atomic::remove_tree(dir, name),
    }
}

/// Puts a derived file in its place, which is cleared if something else than a file stands there.
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

/// Opens a directory of the index, made if it is not there or something else stands in its place.
pub(in crate::store) fn directory(layout: &Layout, indexes: &Dir, name: &str) -> Result<Dir> {
    match indexes.open_or_make_derived(name) {
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            clear(layout, indexes, name)?;
            indexes.open_or_make_derived(name)
        }
        opened => opened,
    }
}

impl Store {
    /// Asks the index something. When that shows it to be damaged, it is repaired and asked again. A store
    /// that is not there has no index, and the answer of an empty one.
    pub(in crate::store) fn with_index<T: Default>(
        &self,
        ask: impl Fn(&Index<'_>) -> Result<T>,
    ) -> Result<T> {
        if self.layout.is_absent() {
            return Ok(T::default());
        }
        let index = Index::open(&self.layout)?;
        for _ in 1..TRIES {
            match index.again(|| ask(&index)) {
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
    /// Whether the parts are there without which the index says nothing, with all names that we gave.
    pub(super) fn is_complete(&self) -> Result<bool> {
        let dir = self.dir();
        Ok(is_sealed_at(&dir, KEYS)? && is_sealed_at(&dir, LANE_SETS)?)
    }

    /// Builds the index anew if any part of it cannot be read. Under the lock: without it, a line
    /// that is just being written looks damaged too.
    pub(in crate::store) fn heal(&self, lock: &StoreLock) -> Result<()> {
        let state = self.ensure(lock)?;
        self.again(|| match self.read_all() {
            Err(error) if error.kind() == ErrorKind::Corrupt => self.rebuild(state.seq).map(drop),
            read => read,
        })
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
        }
        Ok(())
    }
}
