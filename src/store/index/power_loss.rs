//! Reconciles copies with the tasks after a power cut or a killed process: copies of changes that did not
//! happen, and changes without their copies.

use std::collections::HashMap;

use rustix::fs::AtFlags;

use super::correlations::target_of;
use super::{CORRELATIONS, Index};
use crate::error::Result;
use crate::model::{Task, TaskId};
use crate::store::correlation_file::correlation_name;
use crate::store::layout::RESPONSE_FILE;
use crate::store::{atomic, feed, task_files};

/// How much of the end of the feed is checked, in bytes.
const FEED_END_BYTES: u64 = 256 * 1024;

/// Data older than this has reached the disk, in seconds.
pub(super) const WRITEBACK_SECONDS: f64 = 60.0;

/// For each correlation that may not be on the disk yet, its newest task.
pub(super) struct NewestByCorrelation {
    since: String,
    newest: HashMap<String, TaskId>,
}

impl NewestByCorrelation {
    pub(super) fn add(&mut self, task: &Task) {
        if task.id.as_str() >= self.since.as_str() {
            let newest = self
                .newest
                .entry(correlation_name(&task.spec.workspace_id, &task.spec.correlation_id))
                .or_insert_with(|| task.id.clone());
            if *newest < task.id {
                newest.clone_from(&task.id);
            }
        }
    }
}

impl Index<'_> {
    /// Starts with no correlation, for a store whose tasks have these names.
    pub(super) fn newest_by_correlation(&self, names: &[String]) -> Result<NewestByCorrelation> {
        let last = names.iter().filter(|name| TaskId::is_valid(name)).max();
        let last = last.map_or(Ok(None), |name| self.load(name))?;
        let since =
            last.map_or_else(String::new, |task| task.created_at.plus_seconds(-WRITEBACK_SECONDS).compact());
        Ok(NewestByCorrelation { since, newest: HashMap::new() })
    }

    /// Returns whether a task that could not be read does not exist.
    pub(super) fn is_gone(&self, id: &TaskId) -> bool {
        matches!(self.layout.task(id), Ok(None))
    }

    /// Withdraws feed entries that no task confirms: an unsynced line may survive a power cut that its change
    /// did not.
    pub(super) fn withdraw_undone(&self) -> Result<()> {
        let mut tasks: HashMap<TaskId, Option<Task>> = HashMap::new();
        feed::withdraw(&self.layout.root, FEED_END_BYTES, |entry, all| {
            let newest = all.iter().map(|entry| entry.event.created_at).max();
            let is_old =
                newest.is_some_and(|end| end.seconds_since(entry.event.created_at) > WRITEBACK_SECONDS);
            let Some(n) = entry.event.n.filter(|_| !is_old) else { return Ok(true) };
            if !tasks.contains_key(&entry.task_id) {
                tasks.insert(entry.task_id.clone(), self.load(entry.task_id.as_str())?);
            }
            Ok(match tasks.get(&entry.task_id).and_then(Option::as_ref) {
                // The task is missing, so its submit did not take effect. A task that was removed has more entries
                // than its first.
                None if self.is_gone(&entry.task_id) => {
                    n > 1 || all.iter().filter(|other| other.task_id == entry.task_id).count() > 1
                }
                None => true,
                Some(task) if task.was_written_by_others() => true,
                Some(task) => match task.bookkeeping.recent.iter().find(|event| event.n == Some(n)) {
                    Some(event) => *event == entry.event,
                    None => n <= task.bookkeeping.last_event,
                },
            })
        })
    }

    /// Gives the response of an ended task its name, and takes it from an open one: the name of the response,
    /// its content and the commit of a recent task survive a power cut independently. The caller holds the
    /// store lock, without which no response gets that name. What fails here is left to fsck.
    pub(super) fn repair_response(&self, task: &Task, is_news: bool) -> Result<()> {
        let path = format!("{}/{RESPONSE_FILE}", task.id);
        let is_there = rustix::fs::statat(&self.layout.tasks, path, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        let has_ended = task.status.is_terminal();
        if (is_there != has_ended || (is_there && is_news))
            && let Some(dir) = self.layout.task(&task.id)?
        {
            let _ = if has_ended {
                self.complete_response(&dir, task)
            } else {
                atomic::rename_if_free(&dir, RESPONSE_FILE, &task_files::pending_response_name(task.fence))
            };
        }
        Ok(())
    }

    /// Makes the correlations that may not have reached the disk before a power cut lead to their newest
    /// tasks.
    pub(super) fn recover_correlations(&self, newest_by_correlation: &NewestByCorrelation) -> Result<()> {
        let correlations = match self.dir().open_existing(CORRELATIONS) {
            Ok(None) => return Ok(()),
            Ok(Some(correlations)) => correlations,
            // Something other than a directory has its name.
            Err(_) => self.correlations()?,
        };
        for (name, id) in &newest_by_correlation.newest {
            if !target_of(&correlations, name).is_ok_and(|target| target.as_ref() == Some(id))
                && let Some(task) = self.load(id.as_str())?
            {
                self.recover_correlation(&task)?;
            }
        }
        Ok(())
    }
}
