//! Syncing many staged things together.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Staged, create, unique_name};
use crate::error::{Error, Result};
use crate::store::dir::Dir;

/// Files and directories of several items that wait to be synced together.
#[derive(Default)]
pub(in crate::store) struct SyncGroup(Vec<(usize, OwnedFd, PathBuf)>);

/// How many syncs of a group are under way at a time. The file system gathers what comes together
/// into one commit of its journal.
const SYNCS_AT_ONCE: usize = 16;

impl SyncGroup {
    /// Syncs everything; returns what failed, with the number of its item.
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
            // Fewer threads than wished for only take longer.
            let others: Vec<_> = (0..threads)
                .map_while(|_| std::thread::Builder::new().spawn_scoped(scope, work).ok())
                .collect();
            let mut failed = work();
            for other in others {
                // A thread that died took an item with it, and nobody knows which.
                let died = |_| (0..self.0.len()).map(|n| (n, Error::corrupt("a sync thread died"))).collect();
                failed.extend(other.join().unwrap_or_else(died));
            }
            failed
        })
    }
}

impl<'a> Staged<'a> {
    /// A staged directory, as of [`Staged::directory`], with the syncs left to a group of items of which this is number `item`.
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

    /// A staged file, with the sync left to a group.
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
