//! Adds many tasks at once.
//!
//! A task costs several syncs, and a file system commits syncs that arrive together in one transaction. So a
//! group of tasks is staged first, then everything of the group is synced in parallel, then each is published
//! under the store lock like a single submit, and one sync of the task directory makes all names durable. The
//! lock is held for one task at a time. While one group is synced and published, the next one is staged.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread;

use super::atomic::{StagedEntry, SyncGroup};
use super::dependencies::CheckedDependencies;
use super::dir::Dir;
use super::index::Index;
use super::submit::{PreparedTask, is_id_taken};
use super::{FileStore, SubmittedTask, write_format};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{LaneName, NewTask, Task, Time};

/// How many tasks are synced together. Each keeps up to four files open meanwhile, and two groups are open at
/// a time: fewer than 256 files, the lowest usual limit of a process.
const GROUP_SIZE: usize = 28;

/// A task of a group between staging and publication.
type StagedTask<'a> =
    Result<(PreparedTask, Option<CheckedDependencies>, StagedEntry<'a>, Option<StagedEntry<'a>>)>;

/// The tasks of a group, and the syncs that they need.
type StagedGroup<'a> = (Vec<StagedTask<'a>>, SyncGroup);

impl FileStore {
    pub(crate) fn submit_batch(&self, new: Vec<NewTask>) -> Result<Vec<Result<SubmittedTask>>> {
        self.check_writable()?;
        if self.version == 0 && !new.is_empty() {
            write_format(&self.layout)?;
        }
        let index = Index::open(&self.layout)?;
        let tmp = self.layout.tmp()?;
        let mut results = Vec::with_capacity(new.len());
        let mut groups = self.groups(&tmp, new);
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::sync_channel(0);
            let groups = &mut groups;
            let stage_ahead = move || {
                for group in groups {
                    // The receiver is gone only when this process is about to end.
                    if sender.send(group).is_err() {
                        break;
                    }
                }
            };
            // Without a thread nothing is received, and the loop below does all the work.
            let _ = thread::Builder::new().name("stage".to_string()).spawn_scoped(scope, stage_ahead);
            for (in_hand, group) in receiver {
                results.extend(self.publish_group(&index, in_hand, group));
            }
        });
        for (in_hand, group) in groups {
            results.extend(self.publish_group(&index, in_hand, group));
        }
        Ok(results)
    }

    /// Stages the tasks of `new` group by group, each when it is asked for.
    fn groups<'a>(&'a self, tmp: &'a Dir, new: Vec<NewTask>) -> impl Iterator<Item = StagedGroup<'a>> + Send {
        let mut new = new.into_iter();
        let mut last = Time::from_micros(0);
        std::iter::from_fn(move || {
            let group: Vec<NewTask> = new.by_ref().take(GROUP_SIZE).collect();
            (!group.is_empty()).then(|| self.stage_group(tmp, group, &mut last))
        })
    }

    fn stage_group<'a>(&self, tmp: &'a Dir, new: Vec<NewTask>, last: &mut Time) -> StagedGroup<'a> {
        let drafts: Vec<Result<(PreparedTask, Option<CheckedDependencies>)>> = new
            .into_iter()
            .map(|mut new| {
                new.check_sizes()?;
                let (content, checked) = self.check_dependencies(&mut new)?;
                // Each a little younger than the one before, so that their order is kept.
                *last = self.now().wall.max(Time::from_micros(last.micros() + 1));
                Ok((self.draft(new, content, *last, checked.as_ref()), checked))
            })
            .collect();
        // A correlation leads only to its newest task in the end.
        let correlations: Vec<Option<&String>> =
            drafts.iter().map(|draft| draft.as_ref().ok().map(|(draft, _)| &draft.correlation.0)).collect();
        let newest: Vec<bool> =
            (0..drafts.len()).map(|n| !correlations[n + 1..].contains(&correlations[n])).collect();
        let mut group = SyncGroup::default();
        let in_hand = drafts
            .into_iter()
            .zip(newest)
            .enumerate()
            .map(|(n, (draft, newest))| stage(tmp, draft?, newest, n, &mut group))
            .collect();
        (in_hand, group)
    }

    /// Syncs a staged group and makes its tasks visible.
    fn publish_group(
        &self,
        index: &Index<'_>,
        mut in_hand: Vec<StagedTask<'_>>,
        group: SyncGroup,
    ) -> Vec<Result<SubmittedTask>> {
        for (n, error) in group.sync() {
            if let Some(item) = in_hand.get_mut(n) {
                *item = Err(error);
            }
        }
        let mut lanes: Vec<LaneName> = Vec::new();
        let mut results: Vec<Result<SubmittedTask>> = Vec::with_capacity(in_hand.len());
        // New tasks that no correlation leads to yet, because a later one of the group was to replace them.
        let mut passed_over: BTreeMap<String, Task> = BTreeMap::new();
        for item in in_hand {
            let correlation =
                item.as_ref().ok().map(|(draft, _, _, file)| (draft.correlation.0.clone(), file.is_some()));
            let result = item.and_then(|(draft, checked, staged, mut correlation)| {
                match self.publish(index, &draft, staged, correlation.as_mut(), None, checked.as_ref()) {
                    Err(error) if is_id_taken(&error) => self.submit(draft.new),
                    published => published,
                }
            });
            if let Ok(SubmittedTask { task, existing: false }) = &result {
                match correlation {
                    Some((name, false)) => drop(passed_over.insert(name, task.clone())),
                    Some((name, true)) => drop(passed_over.remove(&name)),
                    None => {}
                }
                if !lanes.contains(&task.spec.lane) {
                    lanes.push(task.spec.lane.clone());
                }
            }
            results.push(result);
        }
        // That later one failed or existed already. The tasks exist, whether or not this can be written.
        if !passed_over.is_empty()
            && let Ok(_lock) = self.lock_store()
        {
            let _ = passed_over.values().try_for_each(|task| index.recover_correlation(task));
        }
        let added: Vec<&Task> = results.iter().flatten().map(|submitted| &submitted.task).collect();
        let synced = self.sync_new(&added);
        self.ring(&lanes);
        let _ = self.release_if_due();
        if let Err(error) = synced {
            // They exist, but may not survive a power cut.
            for result in results.iter_mut().filter(|result| result.is_ok()) {
                *result = Err(Error::new(ErrorKind::Io, error.message()));
            }
        }
        results
    }
}

fn stage<'a>(
    tmp: &'a Dir,
    (draft, checked): (PreparedTask, Option<CheckedDependencies>),
    is_newest: bool,
    item: usize,
    group: &mut SyncGroup,
) -> StagedTask<'a> {
    let staged = StagedEntry::directory_in_group(tmp, &draft.files(), item, group)?;
    let correlation = match is_newest {
        true => Some(StagedEntry::copy(tmp, draft.correlation.1.as_bytes())?),
        false => None,
    };
    Ok((draft, checked, staged, correlation))
}
