//! Commits the same change of many tasks together.
//!
//! A change of one task costs two syncs and a hold of the store lock that is mostly spent on the index and the feed. Here
//! the syncs of a group run in parallel, and one hold of the lock publishes all of the group. `indexes/state` names every
//! task of the group meanwhile, so that the next process completes what a killed one has left, as for a single change.

use super::atomic::{self, StagedEntry, SyncGroup};
use super::commit::catch_up_with_others;
use super::dir::Dir;
use super::index::Index;
use super::index::exclusive::holds_keys;
use super::layout::TASK_FILE;
use super::lock::TaskLock;
use super::task_files::LoadedTask;
use super::{FileStore, feed, history};
use crate::error::Result;
use crate::model::transition::TransitionContext;
use crate::model::{Command, Effect, Event, RequestCheck, Task, TaskId, json};

/// How many tasks are changed together. Each keeps up to four files open meanwhile: fewer than 256, the lowest usual limit
/// of a process.
pub(super) const GROUP_SIZE: usize = 32;

/// Decides what to do with a task; `None` means nothing.
type Decide<'a> = dyn Fn(&Task) -> Result<Option<Command>> + 'a;

/// A change of a task that is not committed yet.
struct Draft {
    dir: Dir,
    loaded: LoadedTask,
    task: Task,
    _lock: TaskLock,
}

/// What becomes of one task of a group.
enum Drafted {
    /// It changes with the others.
    Changes(Box<Draft>),
    /// It stays as it is.
    Stays,
    /// It needs a commit of its own: another process is changing it, or it ends.
    Alone,
}

impl FileStore {
    /// Changes some tasks, at most [`GROUP_SIZE`], in one step for other processes. Returns those that were left out,
    /// which the caller changes one by one.
    ///
    /// # Errors
    /// `Io`, `Locked`; whatever was committed until then stays.
    pub(super) fn apply_to_group(
        &self,
        index: &Index<'_>,
        ids: &[TaskId],
        decide: &Decide<'_>,
    ) -> Result<Vec<TaskId>> {
        let (mut drafts, mut left) = (Vec::new(), Vec::new());
        for id in ids {
            match self.draft_change(id, decide) {
                Ok(Drafted::Changes(draft)) => drafts.push(*draft),
                Ok(Drafted::Stays) => {}
                // What is wrong with a single task shows when it is changed by itself.
                Ok(Drafted::Alone) | Err(_) => left.push(id.clone()),
            }
        }
        if !drafts.is_empty() {
            left.extend(self.commit_group(index, drafts)?);
        }
        Ok(left)
    }

    fn draft_change(&self, id: &TaskId, decide: &Decide<'_>) -> Result<Drafted> {
        let Some(dir) = self.layout.task(id)? else { return Ok(Drafted::Stays) };
        // Not more: the process that has the lock may wait for the lock of a task that this process has.
        let Some(lock) = TaskLock::try_acquire(&dir)? else { return Ok(Drafted::Alone) };
        let loaded = self.load(&dir, id)?;
        let Some(command) = decide(&loaded.task)? else { return Ok(Drafted::Stays) };
        let mut task = loaded.task.clone();
        catch_up_with_others(&dir, &mut task)?;
        let context = TransitionContext {
            now: &self.now(),
            request: &RequestCheck::Unchecked,
            previous: None,
            new_request: None,
        };
        let effect = command.apply(&mut task, &context)?;
        let has_too_many_events = task.bookkeeping.recent.len() > history::MAX_RECENT_EVENTS;
        if effect == Effect::Unchanged
            || task.status.is_terminal()
            || holds_keys(&task)
            || has_too_many_events
        {
            return Ok(Drafted::Alone);
        }
        task.bookkeeping.written_at = Some(task.updated_at);
        Ok(Drafted::Changes(Box::new(Draft { dir, loaded, task, _lock: lock })))
    }

    /// Commits the changes of a group, and returns the tasks that were left out.
    fn commit_group(&self, index: &Index<'_>, mut drafts: Vec<Draft>) -> Result<Vec<TaskId>> {
        let is_unnamed =
            |draft: &&Draft| !draft.task.bookkeeping.name_is_durable && !atomic::is_name_durable(&draft.dir);
        let unnamed: Vec<&Task> = drafts.iter().filter(is_unnamed).map(|draft| &draft.task).collect();
        self.sync_new(&unnamed)?;
        let tmp = self.layout.tmp()?;
        let mut syncs = SyncGroup::default();
        let mut staged = Vec::with_capacity(drafts.len());
        for (n, draft) in drafts.iter_mut().enumerate() {
            draft.task.bookkeeping.name_is_durable = true;
            let text = json::to_text(&draft.task.to_object());
            staged.push(Some(StagedEntry::file_in_group(&tmp, text.as_bytes(), n, &mut syncs)?));
        }
        for (n, _) in syncs.sync() {
            staged[n] = None;
        }

        let (mut done, mut left) = (Vec::with_capacity(drafts.len()), Vec::new());
        let lock = self.lock_store()?;
        let state = index.ensure(&lock)?;
        let mut group = Vec::with_capacity(drafts.len());
        for (draft, staged) in drafts.into_iter().zip(staged) {
            match staged {
                Some(staged) if draft.loaded.is_current(&draft.dir)? => group.push((draft, staged)),
                _ => left.push(draft.task.id),
            }
        }
        let of_group = index.begin_group(&lock, &state, group.iter().map(|(draft, _)| &draft.task))?;
        let Some((state, count)) = of_group else { return Ok(left) };
        for (n, (draft, staged)) in group.into_iter().enumerate() {
            if n < count && staged.publish(&draft.dir, TASK_FILE).is_ok() {
                done.push(draft);
            } else {
                left.push(draft.task.id);
            }
        }
        // The changes are committed from here on, as in `FileStore::commit`.
        let noted = || -> Result<()> {
            let news: Vec<(&Task, Vec<Event>)> =
                done.iter().map(|draft| (&draft.task, draft.news())).collect();
            let seq = feed::append_all(&self.layout.root, &news, state.seq)?;
            done.iter().try_for_each(|draft| history::append(&draft.dir, &draft.task))?;
            let changes: Vec<_> = done.iter().map(|draft| (&draft.loaded.task, &draft.task)).collect();
            index.update_group(&lock, &changes)?;
            index.finish(&lock, &state, seq, None).map(drop)
        };
        let _ = noted();
        drop(lock);

        let mut syncs = SyncGroup::default();
        for (n, draft) in done.iter().enumerate() {
            syncs.add_directory(n, &draft.dir)?;
        }
        let failed = syncs.sync().into_iter().next();
        let mut lanes: Vec<_> = done.iter().map(|draft| &draft.task.spec.lane).collect();
        lanes.sort();
        lanes.dedup();
        self.ring(lanes);
        match failed {
            Some((_, error)) => Err(error),
            None => Ok(left),
        }
    }
}

impl Draft {
    /// Returns the events of the change.
    fn news(&self) -> Vec<Event> {
        let before = self.loaded.task.bookkeeping.last_event;
        self.task.bookkeeping.recent.iter().filter(|event| event.n > Some(before)).cloned().collect()
    }
}
