//! Syncs many staged files and directories together.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{StagedEntry, create, duplicate, unique_name};
use crate::error::{Error, Result};
use crate::store::dir::Dir;

/// The files and directories of several items that have to be synced, each with the number of its item.
#[derive(Default)]
pub(in crate::store) struct SyncGroup(Vec<(usize, OwnedFd, PathBuf)>);

/// How many syncs of a group run at a time. The file system commits syncs that arrive together in one journal
/// transaction.
const SYNCS_AT_ONCE: usize = 16;

impl SyncGroup {
    /// Adds a directory; `item` is its number here.
    pub(in crate::store) fn add_directory(&mut self, item: usize, dir: &Dir) -> Result<()> {
        self.0.push((item, duplicate(dir)?, dir.path().to_path_buf()));
        Ok(())
    }

    /// Syncs everything. Returns the failures, each with the number of its item.
    pub(in crate::store) fn sync(self) -> Vec<(usize, Error)> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut failed = Vec::new();
            while let Some((item, file, path)) = self.0.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(errno) = rustix::fs::fsync(file) {
                    failed.push((*item, Error::io("sync", path, errno)));
                }
            }
            failed
        };
        std::thread::scope(|scope| {
            let threads = SYNCS_AT_ONCE.min(self.0.len()).saturating_sub(1);
            // With fewer threads it only takes longer.
            let others: Vec<_> = (0..threads)
                .map_while(|_| std::thread::Builder::new().spawn_scoped(scope, work).ok())
                .collect();
            let mut failed = work();
            for other in others {
                // A thread that panicked took an unknown item with it, so all of them count as failed.
                let died = |_| (0..self.0.len()).map(|n| (n, Error::corrupt("a sync thread died"))).collect();
                failed.extend(other.join().unwrap_or_else(died));
            }
            failed
        })
    }
}

impl<'a> StagedEntry<'a> {
    /// Stages a directory as [`StagedEntry::directory`] does, with its syncs left to `group`; `item` is its number
    /// there.
    pub(in crate::store) fn directory_in_group(
        tmp: &'a Dir,
        files: &[(&str, &[u8], bool)],
        item: usize,
        group: &mut SyncGroup,
    ) -> Result<Self> {
        let (staged, open, dir) = Self::written_directory(tmp, files)?;
        group.0.extend(open.into_iter().map(|(file, path)| (item, OwnedFd::from(file), path)));
        let path = dir.path().to_path_buf();
        group.0.push((item, dir.into(), path));
        Ok(staged)
    }

    /// Stages a file, with its sync left to `group`; `item` is its number there.
    pub(in crate::store) fn file_in_group(
        tmp: &'a Dir,
        content: &[u8],
        item: usize,
        group: &mut SyncGroup,
    ) -> Result<Self> {
        let staged = Self { tmp, name: unique_name(), published: false };
        let file = create(tmp, &staged.name, content)?;
        group.0.push((item, file.into(), tmp.path().join(&staged.name)));
        Ok(staged)
    }
}
