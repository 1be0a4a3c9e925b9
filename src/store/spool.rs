//! What a process keeps on its own machine, whatever keeps the queue: the files of the runs that it supervises, reports
//! that wait for their delivery, locks between processes of this machine, and secrets of its user.
//!
//! "The outcome of a run is on the disk before it is reported" is a promise of the spool. It is laid out as a store of
//! files, and for a store of files it is that store.

use std::path::PathBuf;

use super::FileStore;
use super::layout::ATTEMPTS;
use crate::model::TaskId;

/// The part of a store that is always on this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spool<'a>(pub(super) &'a FileStore);

impl FileStore {
    pub(crate) fn spool(&self) -> Spool<'_> {
        Spool(self)
    }
}

impl Spool<'_> {
    /// Returns the path of the directory with what this machine keeps of a task, which need not exist.
    pub(crate) fn task_path(&self, id: &TaskId) -> PathBuf {
        self.0.layout.tasks.path().join(id.as_str())
    }

    /// Returns the path of the directory of a run, which need not exist.
    pub(crate) fn attempt_path(&self, id: &TaskId, fence: u64) -> PathBuf {
        self.task_path(id).join(ATTEMPTS).join(fence.to_string())
    }
}
