//! A damaged index is noticed and built anew on the spot: it is derived data, and whoever asks for
//! the next task must not have to know of it.

use std::ops::ControlFlow;

use super::super::layout::Dir;
use super::super::lock::StoreLock;
use super::super::shelf::{Shelf, damaged};
use super::super::{Store, atomic};
use super::{Index, KEYS, LaneShelves, SHELVES};
use crate::error::{Error, ErrorKind, Result};

/// The modification time of a directory of the index that only we have changed, in seconds.
const SEAL: i64 = 1_000_000_000;

/// Notes that all that has changed in a directory of the index was our doing. The caller holds the
/// store lock and has found the index complete.
pub(in crate::store) fn seal(dir: &Dir) -> Result<()> {
    atomic::stamp(dir, SEAL * 1_000_000_000)
}

/// Whether nobody else has changed the names in a directory of the index.
pub(in crate::store) fn is_sealed(dir: &Dir) -> Result<bool> {
    let stat = rustix::fs::fstat(dir).map_err(|errno| Error::io("read", dir.path(), errno))?;
    Ok((stat.st_mtime, stat.st_mtime_nsec) == (SEAL, 0))
}

impl Store {
    /// Asks the index something. When that shows it to be damaged, it is repaired and asked again.
    pub(in crate::store) fn ask_index<T>(&self, ask: impl Fn(&Index<'_>) -> Result<T>) -> Result<T> {
        let index = Index::open(&self.layout)?;
        match ask(&index) {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                let Ok(lock) = self.lock_store() else { return Err(error) };
                index.heal(&lock)?;
                drop(lock);
                ask(&index)
            }
            answer => answer,
        }
    }
}

impl Index<'_> {
    /// Whether the parts are there without which the index says nothing, with all names that we gave.
    pub(super) fn is_complete(&self) -> Result<bool> {
        for name in [KEYS, SHELVES] {
            match self.indexes.open_existing(name) {
                Ok(Some(dir)) if is_sealed(&dir)? => {}
                Ok(Some(_)) => return Ok(false),
                Ok(None) => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Builds the index anew if any part of it cannot be read. Under the lock: without it, a line
    /// that is just being written looks damaged too.
    pub(in crate::store) fn heal(&self, lock: &StoreLock) -> Result<()> {
        let state = self.ensure(lock)?;
        match self.read_all() {
            Err(error) if error.kind() == ErrorKind::Corrupt => self.rebuild(state.seq).map(drop),
            read => read,
        }
    }

    fn read_all(&self) -> Result<()> {
        self.keys()?.map_or(Ok(Vec::new()), |keys| keys.packed())?;
        let Some(lanes) = self.indexes.open_existing(SHELVES)? else { return Ok(()) };
        for name in lanes.names()? {
            let Some(shelves) = LaneShelves::open_at(&lanes, &name)? else { continue };
            let read = |shelf: &Shelf| -> Result<u64> {
                let mut seen = 0;
                shelf.visit(|_| {
                    seen += 1;
                    Ok(ControlFlow::Continue(()))
                })?;
                Ok(seen)
            };
            if !shelves.are_sealed()? {
                return Err(damaged(&lanes.path().join(name)));
            }
            shelves.check_count(read(&shelves.ready)?)?;
            read(&shelves.later)?;
            read(&shelves.held)?;
        }
        Ok(())
    }
}
