//! The store as a whole: its state, repairs, removal, export and import.

use std::io::{BufRead, Write};
use std::path::Path;

use super::{Engine, Store};
use crate::error::{Error, Result};
use crate::model::{Now, Task, Time};
#[cfg(doc)]
use crate::store::GcAge;
use crate::store::diagnostics::DiskSpace;
use crate::store::{
    FileStore, FsckReport, GcPlan, GcReport, ImportReport, StoreOptions, is_address, needs_the_store_itself,
};

impl Store {
    /// Returns the format version in the store; 0 for a store of agent-lanes. A version above
    /// `FORMAT_VERSION` can be read but not changed.
    pub fn format_version(&self) -> u64 {
        engine!(self, format_version())
    }

    /// Returns whether this program may change a store of this version.
    pub fn is_writable_version(&self) -> bool {
        engine!(self, is_writable_version())
    }

    /// Returns whether the opened directory is still at its path: not moved, removed or replaced.
    pub fn is_in_place(&self) -> bool {
        engine!(self, is_in_place())
    }

    /// Takes the store lock and releases it.
    ///
    /// # Errors
    /// `Locked`, naming the holder, when the lock is not free in time; `NewerFormat`, `Io`.
    pub fn try_lock(&self) -> Result<()> {
        files!(self, try_lock())
    }

    /// Returns the free space on the store's file system.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn disk_space(&self) -> Result<DiskSpace> {
        files!(self, disk_space())
    }

    /// Returns when the newest readable task was last changed, by the clock of the process that changed it.
    ///
    /// # Errors
    /// `Io` when the tasks cannot be listed.
    pub fn newest_change(&self) -> Result<Option<Time>> {
        files!(self, newest_change())
    }

    /// Checks the whole store and changes nothing. `progress` is called with the number of checked tasks and of all
    /// tasks.
    ///
    /// # Errors
    /// `Io` when the store cannot be read at all; `Locked`. A fault of a single task is a finding, not an error.
    pub fn fsck(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<FsckReport> {
        files!(self, fsck(progress))
    }

    /// Checks the whole store as [`Store::fsck`] does, and repairs what it can.
    ///
    /// # Errors
    /// As [`Store::fsck`]; `Io` when a repair cannot be written; `NewerFormat` for a store that a newer version wrote.
    pub fn repair(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<FsckReport> {
        files!(self, repair(progress))
    }

    /// Checks the store at `root` as [`Store::fsck`] does, even if it cannot be opened otherwise because its
    /// task directory is not a directory or format.json cannot be read.
    ///
    /// # Errors
    /// As [`Store::fsck`]; `NotFound` when there is no store.
    pub fn fsck_at(
        root: &Path,
        options: StoreOptions,
        repair: bool,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<FsckReport> {
        if is_address(root) {
            return Err(needs_the_store_itself());
        }
        FileStore::fsck_at(root, options, repair, progress)
    }

    /// Removes tasks that ended long ago. Once this returns, removed tasks stay removed after a power cut;
    /// archived ones are durable in the archive before they are removed.
    ///
    /// # Errors
    /// `Invalid` for an age of 0 ([`GcAge::OlderThan`]); `Io`, `Locked`, `NewerFormat`. Tasks removed before an error
    /// stay removed.
    pub fn gc(&self, plan: &GcPlan) -> Result<GcReport> {
        files!(self, gc(plan))
    }

    /// Returns the absolute path of the state directory.
    pub fn root(&self) -> &Path {
        engine!(self, root())
    }

    /// Returns what `--store` and LANES_STORE say to open this store again.
    pub(crate) fn address(&self) -> &Path {
        engine!(self, address())
    }

    /// Returns whether `path`, absolute and without links, is one of the store's own files or directories.
    ///
    /// # Errors
    /// `Io` when the directory of the store cannot be read.
    pub(crate) fn contains(&self, path: &Path) -> Result<bool> {
        engine!(self, contains(path))
    }

    /// Checks that the task directory that was opened is still at its path, before a wait for work.
    ///
    /// # Errors
    /// `NotFound` when it was removed or replaced after the store was opened.
    pub fn check_in_place(&self) -> Result<()> {
        engine!(self, check_in_place())
    }

    /// Returns the current time by the store's clock.
    pub fn now(&self) -> Now {
        engine!(self, now())
    }

    /// Returns a random number from the store's source.
    pub(crate) fn random(&self) -> u128 {
        engine!(self, random())
    }

    /// Checks that this program may change the store.
    ///
    /// # Errors
    /// `NewerFormat` when the store has a newer format than this program writes.
    pub fn check_writable(&self) -> Result<()> {
        engine!(self, check_writable())
    }

    /// Writes every task for which `keep` returns true to `out`, one JSON object per line, in the order of
    /// the ids; returns their number. Unreadable tasks are left out and passed to `unreadable` with their
    /// names. Files that a line cannot contain are left out, and a sentence about each is passed to
    /// `left_out`. Takes no lock; each task is written as it was at one moment.
    ///
    /// # Errors
    /// `Io` when the store cannot be listed or `out` cannot be written.
    pub fn export(
        &self,
        out: &mut dyn Write,
        keep: &dyn Fn(&Task) -> bool,
        unreadable: &mut dyn FnMut(&str, Error),
        left_out: &mut dyn FnMut(&str),
    ) -> Result<u64> {
        files!(self, export(out, keep, unreadable, left_out))
    }

    /// Adds the tasks of an export with their ids. A task that exists already is skipped when it is the same
    /// and refused when it is not; a line that cannot be used is refused, and the others are imported
    /// nevertheless. Each task is added completely or not at all. `progress` is called with the number of
    /// lines read.
    ///
    /// Once this returns, every added task survives a power cut.
    ///
    /// # Errors
    /// `Io` when `input` cannot be read or the store cannot be written at all; `NewerFormat`, `Locked`.
    pub fn import(&self, input: &mut dyn BufRead, progress: &mut dyn FnMut(u64)) -> Result<ImportReport> {
        files!(self, import(input, progress))
    }
}
