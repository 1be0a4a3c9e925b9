//! What `lanes doctor` reads from a store.

use super::{FORMAT_VERSION, FileStore};
use crate::error::{Error, Result};
use crate::model::{TaskId, Time};

/// The free space on the file system of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DiskSpace {
    /// Bytes available to this user.
    pub free_bytes: u64,
    /// Bytes in total.
    pub total_bytes: u64,
    /// Files that can still be created.
    pub free_files: u64,
    /// Files in total; 0 when the file system has no limit.
    pub total_files: u64,
}

impl FileStore {
    pub(crate) fn format_version(&self) -> u64 {
        self.version
    }

    pub(crate) fn is_writable_version(&self) -> bool {
        self.version <= FORMAT_VERSION
    }

    pub(crate) fn is_in_place(&self) -> bool {
        let tasks = &self.layout.tasks;
        match (rustix::fs::fstat(tasks), rustix::fs::stat(tasks.path())) {
            (Ok(open), Ok(named)) => (open.st_dev, open.st_ino) == (named.st_dev, named.st_ino),
            _ => false,
        }
    }

    pub(crate) fn try_lock(&self) -> Result<()> {
        self.lock_store().map(drop)
    }

    pub(crate) fn disk_space(&self) -> Result<DiskSpace> {
        let stat = rustix::fs::fstatvfs(&self.layout.root)
            .map_err(|errno| Error::io("ask for the free space of", self.root(), errno))?;
        Ok(DiskSpace {
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            free_files: stat.f_favail,
            total_files: stat.f_files,
        })
    }

    pub(crate) fn newest_change(&self) -> Result<Option<Time>> {
        let mut names = self.layout.tasks.names()?;
        names.sort_unstable_by(|a, b| b.cmp(a));
        let ids = names.iter().filter_map(|name| TaskId::parse(name).ok());
        let readable = ids.filter_map(|id| self.scan_one(&id).ok().flatten()).take(1);
        Ok(readable.map(|task| task.updated_at).next())
    }
}
