//! The files of the on-demand dispatcher, of which a store has at most one: its locks and its log.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use super::atomic;
use super::dir::Dir;
use super::layout::{LOGS, OLD_ON_DEMAND_LOG, ON_DEMAND, ON_DEMAND_LOG, ON_DEMAND_NEXT};
use super::lock::{self, FileLock};
use super::spool::Spool;
use crate::error::{Error, Result};

/// The size of the log, in bytes, at which it becomes the old one and a new one is begun.
const ROTATE_AT: u64 = 1024 * 1024;

impl Spool<'_> {
    /// Takes the lock of the on-demand dispatcher; `None` while another process has it.
    ///
    /// # Errors
    /// `NewerFormat`, `Io`; `Corrupt` when something other than a file has its name.
    pub(crate) fn try_on_demand_lock(&self) -> Result<Option<FileLock>> {
        self.try_root_lock(ON_DEMAND)
    }

    /// Takes the lock of the process that waits to become the on-demand dispatcher; `None` while another one waits.
    ///
    /// # Errors
    /// As [`Spool::try_on_demand_lock`].
    pub(crate) fn try_on_demand_next_lock(&self) -> Result<Option<FileLock>> {
        self.try_root_lock(ON_DEMAND_NEXT)
    }

    fn try_root_lock(&self, name: &str) -> Result<Option<FileLock>> {
        self.0.check_writable()?;
        FileLock::try_acquire_in(Dir::open_root(self.0.root())?, name)
    }

    /// Returns whether a process has the lock of the on-demand dispatcher.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn on_demand_is_locked(&self) -> Result<bool> {
        lock::is_held(&self.0.layout.root, ON_DEMAND)
    }

    /// Returns the path of the file that the on-demand dispatcher locks.
    pub(crate) fn on_demand_lock_path(&self) -> PathBuf {
        self.0.layout.root.path().join(ON_DEMAND)
    }

    /// Opens the log of on-demand dispatchers, and makes it if there is none.
    ///
    /// # Errors
    /// `NewerFormat`, `Io`; `Corrupt` when something other than a file has its name.
    pub(crate) fn on_demand_log(&self) -> Result<OnDemandLog> {
        self.0.check_writable()?;
        OnDemandLog::open(self.0.layout.root.open_or_make_derived(LOGS)?)
    }
}

/// The log of on-demand dispatchers, which only its owner can read.
#[derive(Debug)]
pub(crate) struct OnDemandLog {
    logs: Dir,
    file: File,
}

impl OnDemandLog {
    fn open(logs: Dir) -> Result<Self> {
        let file = atomic::open_for_append(&logs, ON_DEMAND_LOG)?;
        let mut log = Self { logs, file };
        log.rotate_if_long()?;
        Ok(log)
    }

    /// Adds a line. A log that has become too long replaces the old one.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn add(&mut self, line: &str) -> Result<()> {
        self.rotate_if_long()?;
        let path = || self.logs.path().join(ON_DEMAND_LOG);
        // One write: lines of several processes never mix.
        self.file.write_all(format!("{line}\n").as_bytes()).map_err(|error| Error::io("write", path(), error))
    }

    /// Returns the file, for what a process writes to its standard error.
    #[cfg(feature = "mcp")]
    pub(crate) fn into_file(self) -> File {
        self.file
    }

    fn rotate_if_long(&mut self) -> Result<()> {
        if self.file.metadata().is_ok_and(|meta| meta.len() >= ROTATE_AT) {
            // If two processes do this at once, the second may move a log that has just begun, which is
            // harmless.
            atomic::rename_derived(&self.logs, ON_DEMAND_LOG, &self.logs, OLD_ON_DEMAND_LOG)?;
            self.file = atomic::open_for_append(&self.logs, ON_DEMAND_LOG)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::store::{FileStore, StoreOptions};

    #[test]
    fn the_log_is_private_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileStore::open(dir.path(), StoreOptions::default()).unwrap();
        let mut log = store.spool().on_demand_log().unwrap();
        let line = "x".repeat(1023);
        for _ in 0..2500 {
            log.add(&line).unwrap();
        }
        let meta = |name: &str| dir.path().join("logs").join(name).metadata().unwrap();
        for name in [ON_DEMAND_LOG, OLD_ON_DEMAND_LOG] {
            assert!(meta(name).len() <= ROTATE_AT, "{name} has {} bytes", meta(name).len());
            assert_eq!(meta(name).permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(meta(ON_DEMAND_LOG).len() + meta(OLD_ON_DEMAND_LOG).len(), 1024 * 1476);
    }

    #[test]
    fn a_link_in_place_of_the_log_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileStore::open(dir.path(), StoreOptions::default()).unwrap();
        drop(store.spool().on_demand_log().unwrap());
        std::fs::remove_file(dir.path().join("logs/on-demand.log")).unwrap();
        std::fs::write(dir.path().join("elsewhere"), "kept").unwrap();
        std::os::unix::fs::symlink("../elsewhere", dir.path().join("logs/on-demand.log")).unwrap();
        store.spool().on_demand_log().unwrap_err();
        assert_eq!(std::fs::read_to_string(dir.path().join("elsewhere")).unwrap(), "kept");
    }
}
