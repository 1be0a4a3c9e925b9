//! Copies of changes that did not happen, and changes without their copies: what a power cut leaves,
//! since copies are not synced, and a killed process.

use std::collections::HashMap;

use rustix::fs::AtFlags;

use super::correlations::target_of;
use super::{CORRELATIONS, Index};
use crate::error::Result;
use crate::model::{Task, TaskId};
use crate::store::correlation_file::correlation_name;
use crate::store::layout::RESPONSE_FILE;
use crate::store::{atomic, feed, task_files};

/// How much of the feed's end is looked at, in bytes.
const FEED_END: u64 = 256 * 1024;

/// What is older than this was written to the disk long ago, in seconds.
pub(super) const UNWRITTEN: f64 = 60.0;

/// The tasks made so recently that their correlations may not be on the disk: the newest of each.
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
    /// None yet, of a store whose tasks have these names.
    pub(super) fn newest_by_correlation(&self, names: &[String]) -> Result<NewestByCorrelation> {
        let last = names.iter().filter(|name| TaskId::is_valid(name)).max();
        let last = last.map_or(Ok(None), |name| self.load(name))?;
        let since = last.map_or_else(String::new, |task| task.created_at.plus_seconds(-UNWRITTEN).compact());
        Ok(NewestByCorrelation { since, newest: HashMap::new() })
    }

    /// Whether a task that could not be read is not there at all.
    pub(super) fn is_gone(&self, id: &TaskId) -> bool {
        matches!(self.layout.task(id), Ok(None))
    }

    /// Takes back what the feed tells and no task confirms: an unsynced line may survive a power cut
    /// that its change did not.
    pub(super) fn withdraw_undone(&self) -> Result<()> {
        let mut tasks: HashMap<TaskId, Option<Task>> = HashMap::new();
        feed::withdraw(&self.layout.root, FEED_END, |entry, all| {
            let newest = all.iter().map(|entry| entry.event.created_at).max();
            let is_old = newest.is_some_and(|end| end.seconds_since(entry.event.created_at) > UNWRITTEN);
            let Some(n) = entry.event.n.filter(|_| !is_old) else { return Ok(true) };
            if !tasks.contains_key(&entry.task_id) {
                tasks.insert(entry.task_id.clone(), self.load(entry.task_id.as_str())?);
            }
            Ok(match tasks.get(&entry.task_id).and_then(Option::as_ref) {
                // Its submit did not happen. One that was removed has told more than its beginning.
                None if self.is_gone(&entry.task_id) => {
                    n > 1 || all.iter().filter(|other| other.task_id == entry.task_id).count() > 1
                }
                None => true,
                Some(task) if task.was_written_by_others() => true,
                Some(task) => match task.journal.recent.iter().find(|event| event.n == Some(n)) {
                    Some(event) => *event == entry.event,
                    None => n <= task.journal.last_event,
                },
            })
        })
    }

    /// Lets others find the answer of an ended task, and none of an open one: the answer's name, its
    /// content and the commit survive a power cut without each other, if the task is news. The caller holds
    /// the store lock, without which no answer gets that name. What cannot be done is left to fsck.
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

    /// Lets the correlations that may not have been written before a power cut lead to their newest
    /// tasks, of which `youngest` names one for each file.
    pub(super) fn recover_correlations(&self, newest_by_correlation: &NewestByCorrelation) -> Result<()> {
        let correlations = match self.dir().open_existing(CORRELATIONS) {
            Ok(None) => return Ok(()),
            Ok(Some(correlations)) => correlations,
            // Something else stands in its place.
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
