//! Many new tasks at once.
//!
//! A task costs several syncs, and a file system commits whatever comes together in one go. So a
//! group of tasks is staged first, then everything of the group is synced side by side, then each is
//! published under the store lock as a single submit would be, and one sync of the task directory
//! makes the names of all of them durable. The lock is held for one task at a time.

use super::atomic::{self, Group, Staged};
use super::index::Index;
use super::submit::{Draft, content_fingerprint};
use super::{Store, Submitted, mark_format};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{NewTask, Time};

/// How many tasks are synced together. Each keeps up to four files open meanwhile.
const GROUP: usize = 48;

/// A task of a group between its staging and its publication.
type InHand<'a> = Result<(Draft, Staged<'a>, Option<Staged<'a>>)>;

impl Store {
    /// Adds many tasks; the results come in the order of `new`. Each task is added whole or not at
    /// all, and the failure of one does not keep the others out; within a lane and a priority they
    /// are served in the order of `new`. Keys are honoured as in
    /// [`Store::submit`], also between tasks of one batch.
    ///
    /// Once this returns, every task with a successful result survives a power cut.
    ///
    /// # Errors
    /// `Config` when the store cannot be changed at all, `Io` when the staging directory cannot be
    /// made; everything else is the result of one task.
    pub fn submit_batch(&self, new: Vec<NewTask>) -> Result<Vec<Result<Submitted>>> {
        self.check_writable()?;
        if self.version == 0 && !new.is_empty() {
            mark_format(&self.layout)?;
        }
        let mut results = Vec::with_capacity(new.len());
        let mut new = new.into_iter();
        let mut last = Time::from_micros(0);
        loop {
            let group: Vec<NewTask> = new.by_ref().take(GROUP).collect();
            if group.is_empty() {
                return Ok(results);
            }
            results.extend(self.submit_group(group, &mut last)?);
        }
    }

    fn submit_group(&self, new: Vec<NewTask>, last: &mut Time) -> Result<Vec<Result<Submitted>>> {
        let index = Index::open(&self.layout)?;
        let tmp = self.layout.tmp()?;
        let drafts: Vec<Draft> = new
            .into_iter()
            .map(|new| {
                let content = content_fingerprint(&new);
                // Each a little younger than the one before, so that their order is kept.
                *last = self.now().wall.max(Time::from_micros(last.micros() + 1));
                self.draft(new, content, *last)
            })
            .collect();
        // Only the newest task of a correlation is pointed at in the end.
        let newest: Vec<bool> = (0..drafts.len())
            .map(|n| drafts[n + 1..].iter().all(|later| later.correlation.0 != drafts[n].correlation.0))
            .collect();
        let mut group = Group::default();
        let mut in_hand: Vec<InHand<'_>> = Vec::with_capacity(drafts.len());
        for (n, (draft, newest)) in drafts.into_iter().zip(newest).enumerate() {
            in_hand.push(stage(&tmp, draft, newest, n, &mut group));
        }
        for (n, error) in group.sync() {
            if let Some(item) = in_hand.get_mut(n) {
                *item = Err(error);
            }
        }
        let mut lanes: Vec<String> = Vec::new();
        let mut results: Vec<Result<Submitted>> = Vec::with_capacity(in_hand.len());
        for item in in_hand {
            let result = item.and_then(|(draft, staged, correlation)| {
                self.publish(&index, draft, staged, correlation, None)
            });
            if let Ok(Submitted { task, existing: false }) = &result
                && !lanes.contains(&task.lane)
            {
                lanes.push(task.lane.clone());
            }
            results.push(result);
        }
        // One that was there already may have been left half-way by a killed process.
        if results.iter().flatten().any(|submitted| !submitted.task.journal.name_is_durable) {
            let synced = atomic::sync_dir(&self.layout.tasks);
            self.ring(&lanes.iter().map(String::as_str).collect::<Vec<_>>());
            if let Err(error) = synced {
                // They are there, but nobody may rely on it.
                for result in results.iter_mut().filter(|result| result.is_ok()) {
                    *result = Err(Error::new(ErrorKind::Io, error.message()));
                }
            }
        }
        Ok(results)
    }
}

fn stage<'a>(
    tmp: &'a super::layout::Dir,
    draft: Draft,
    is_newest: bool,
    item: usize,
    group: &mut Group,
) -> InHand<'a> {
    let staged = Staged::directory_in_group(tmp, &draft.files(), item, group)?;
    let correlation = match is_newest {
        true => Some(Staged::file_in_group(tmp, draft.correlation.1.as_bytes(), item, group)?),
        false => None,
    };
    Ok((draft, staged, correlation))
}
