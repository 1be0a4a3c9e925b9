//! A damaged index is noticed and built anew on the spot: it is derived data, and whoever asks for
//! the next task must not have to know of it.

use std::ops::ControlFlow;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::sorted_set::{SortedSet, damaged};
use super::{Index, KEYS, LANE_SETS, LaneSets};
use crate::error::{Error, ErrorKind, Result};
use crate::store::layout::{Dir, Layout};
use crate::store::lock::StoreLock;
use crate::store::{Store, atomic};

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

/// The same of the directory `name` in `dir`; `false` as well when there is none.
fn is_sealed_at(dir: &Dir, name: &str) -> Result<bool> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory
            && (stat.st_mtime, stat.st_mtime_nsec) == (SEAL, 0)),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(Error::io("read", dir.path().join(name), errno)),
    }
}

/// How often something is tried while somebody removes the index.
const TRIES: usize = 5;

/// Whether something was not there that has just been made or seen: somebody removes it.
fn is_gone(error: &Error) -> bool {
    error.raw_os_error() == Some(Errno::NOENT.raw_os_error())
}

/// The directory of the index, made if it is not there.
pub(super) fn made(layout: &Layout) -> Result<Dir> {
    for _ in 1..TRIES {
        match layout.indexes() {
            Err(error) if is_gone(&error) => {}
            made => return made,
        }
    }
    layout.indexes()
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
    /// Where it is.
    pub(super) fn dir(&self) -> Rc<Dir> {
        Rc::clone(&self.indexes.borrow())
    }

    /// Does something with the index, and does it again where somebody removes it meanwhile.
    pub(super) fn again<T>(&self, work: impl Fn() -> Result<T>) -> Result<T> {
        for _ in 1..TRIES {
            match work() {
                Err(error) if is_gone(&error) => match made(self.layout) {
                    Ok(dir) => *self.indexes.borrow_mut() = Rc::new(dir),
                    Err(_) => return Err(error),
                },
                done => return done,
            }
        }
        work()
    }

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
