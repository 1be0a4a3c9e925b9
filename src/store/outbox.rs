//! The outbox: the runs whose end is written down but not yet reported to the queue.
//!
//! An entry lives from just before the report is sent until just after. The next dispatcher sends the reports
//! that a killed process leaves there.

use super::atomic;
use super::layout::OUTBOX;
use super::spool::Spool;
use crate::error::Result;
use crate::model::TaskId;

impl Spool<'_> {
    /// Records that the outcome of a run is written down and about to be reported.
    ///
    /// # Errors
    /// `NewerFormat`, `Io`.
    pub(crate) fn add_to_outbox(&self, id: &TaskId, fence: u64) -> Result<()> {
        let outbox = self.0.layout.root.open_or_make(OUTBOX)?;
        atomic::replace_durably(&self.0.layout.tmp()?, &outbox, &outbox_name(id, fence), b"")
    }

    /// Records that the outcome of a run was reported.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn remove_from_outbox(&self, id: &TaskId, fence: u64) -> Result<()> {
        match self.0.layout.root.open_existing(OUTBOX)? {
            Some(outbox) => atomic::remove(&outbox, &outbox_name(id, fence)),
            None => Ok(()),
        }
    }

    /// Returns the task and the claim number of each run whose outcome was not reported yet.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn outbox(&self) -> Result<Vec<(TaskId, u64)>> {
        let Some(outbox) = self.0.layout.root.open_existing(OUTBOX)? else {
            return Ok(Vec::new());
        };
        let mut entries: Vec<(TaskId, u64)> = outbox.names()?.iter().filter_map(|name| entry(name)).collect();
        entries.sort_by(|a, b| (a.0.as_str(), a.1).cmp(&(b.0.as_str(), b.1)));
        Ok(entries)
    }
}

/// Returns the file name of an entry. The fence comes first, since an id may contain dots and a number does not.
fn outbox_name(id: &TaskId, fence: u64) -> String {
    format!("{fence}.{id}")
}

fn entry(name: &str) -> Option<(TaskId, u64)> {
    let (fence, id) = name.split_once('.')?;
    Some((TaskId::parse(id).ok()?, fence.parse().ok()?))
}
