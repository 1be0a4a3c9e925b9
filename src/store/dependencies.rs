//! Tasks that wait for other tasks: finds these at the submit, and releases the dependents of a task that has ended.
//!
//! The release follows the commit of the end. Dependents that can be claimed are changed a group at a time
//! (`commit_group.rs`), the others by commits of their own, so the store lock is never held for long, and a process that
//! dies in the middle leaves a mark in the index that makes the next command go on (`index/dependents.rs`). To look at a
//! dependent again is harmless, so it does not matter how many processes do it.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use rustix::fs::AtFlags;

use super::FileStore;
use super::commit_group::GROUP_SIZE;
use super::content_hash::content_hash;
use super::index::{DependentsMark, Index, IndexState};
use super::layout::RESPONSE_FILE;
use super::lock::TaskLock;
use crate::error::{Error, ErrorKind, Result, printable};
use crate::model::dependency::check_count;
use crate::model::dependency_outcome::outcome;
use crate::model::succession::newest_successor;
use crate::model::{
    Command, Dependency, DependencyCondition, DependencyOutcome, DependencyRef, DependencyTarget, NewTask,
    Sha256, Task, TaskId,
};

/// How many tasks on which others depend are checked when there is nothing to claim: another implementation may
/// have ended one without telling.
const MAX_CHECKED: usize = 2000;
/// How many tasks upstream of a task are looked at when somebody looks at that task.
const MAX_UPSTREAM: usize = 1000;

/// The dependencies of a new task, as they were checked before the task is added.
pub(super) struct CheckedDependencies {
    /// Whether all of them are satisfied.
    pub(super) are_met: bool,
    /// Whether one of them can no longer be satisfied.
    has_failed: bool,
    /// The number of the last change of the store before they were read; `None` when it is not known.
    seq: Option<u64>,
}

impl CheckedDependencies {
    /// Returns whether the outcome may be another one after change number `seq`.
    pub(super) fn may_have_changed(&self, seq: u64) -> bool {
        self.has_failed || self.seq != Some(seq)
    }
}

impl FileStore {
    pub(crate) fn dependents(&self, id: &TaskId) -> Result<Vec<TaskId>> {
        self.with_index(|index| index.dependents_of(id))
    }

    pub(crate) fn newest_successor(&self, id: &TaskId) -> Result<TaskId> {
        newest_successor(id, |id| {
            let successor = self.scan_one(id)?.and_then(|task| TaskId::parse(&task.retried_as?).ok());
            Ok(successor.filter(|id| !matches!(self.layout.task(id), Ok(None))))
        })
    }

    /// Finds the tasks that a new task depends on, and adds them to its specification: of those that were retried, the
    /// newest successors. Returns the hash of its content as well, which is of the tasks that were named, so that the
    /// same submit has the same hash before and after a retry.
    ///
    /// # Errors
    /// `NotFound` when there is no such task; `Invalid` when there are too many, or a part of an id names several.
    pub(super) fn check_dependencies(
        &self,
        new: &mut NewTask,
    ) -> Result<(Sha256, Option<CheckedDependencies>)> {
        if new.after.is_empty() && new.spec.after.is_empty() {
            return Ok((content_hash(new), None));
        }
        check_count(new.after.len() + new.spec.after.len())?;
        let seq = Index::open(&self.layout)?.state_if_current()?.map(|state| state.seq);
        self.name_dependencies(new)?;
        let content = content_hash(new);
        for dependency in &mut new.spec.after {
            dependency.task = self.newest_successor(&dependency.task)?;
        }
        new.spec.after = without_repetitions(std::mem::take(&mut new.spec.after));
        let found = self.dependency_outcome(&new.spec.after)?;
        let checked = CheckedDependencies {
            are_met: found == Some(DependencyOutcome::Satisfied),
            has_failed: matches!(found, Some(DependencyOutcome::Failed { .. })),
            seq,
        };
        Ok((content, Some(checked)))
    }

    /// Adds the tasks that a submit names as dependencies to the specification of the new task.
    fn name_dependencies(&self, new: &mut NewTask) -> Result<()> {
        let mut after = std::mem::take(&mut new.spec.after);
        for DependencyRef { target, on } in std::mem::take(&mut new.after) {
            match target {
                DependencyTarget::Task(text) => {
                    let task = self.resolve(&text).map_err(|error| name_dependency(&text, &error))?;
                    after.push(Dependency { task, on });
                }
                DependencyTarget::Key(key) => {
                    let holder = self.with_index(|index| index.key_holder(&new.spec.workspace_id, &key))?;
                    let task = holder.ok_or_else(|| {
                        Error::not_found(format!("no task has the key '{}'", printable(key.as_str())))
                            .with_hint("a line of a batch can name the key of an earlier line")
                    })?;
                    after.push(Dependency { task, on });
                }
                DependencyTarget::Line(number) => {
                    return Err(Error::invalid_here(format!(
                        "line {number} is not an earlier line of a batch"
                    ))
                    .with_hint("only a line of a batch can depend on another one"));
                }
                DependencyTarget::Group(group) => {
                    let mut failure = None;
                    let members = self.counted_members(&group, &mut |error| {
                        failure.get_or_insert(error);
                    })?;
                    // One that cannot be read may belong to the group.
                    if let Some(failure) = failure {
                        return Err(failure);
                    }
                    after.extend(members.into_iter().map(|task| Dependency { task, on }));
                }
            }
        }
        check_count(after.len())?;
        new.spec.after = without_repetitions(after);
        Ok(())
    }

    /// Returns the outcome of dependencies; `None` while it is open.
    pub(super) fn dependency_outcome(
        &self,
        dependencies: &[Dependency],
    ) -> Result<Option<DependencyOutcome>> {
        outcome(dependencies, |id| match self.scan_one(id) {
            Ok(task) => Ok(task.map(|task| task.status)),
            // What cannot be read has not ended, as far as anybody knows.
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                Ok(Some(crate::model::Status::Unknown("unreadable".to_string())))
            }
            Err(error) => Err(error),
        })
    }

    /// Applies the outcome of the dependencies of a task, if they have one; otherwise returns it as it is.
    pub(super) fn settle_dependencies(&self, task: Task) -> Result<Task> {
        if !task.waits_for_dependencies() || task.lease_is_live(&self.now()) {
            return Ok(task);
        }
        match self.dependency_outcome(&task.spec.after)? {
            Some(outcome) => self.apply(&task.id, &Command::Unblock(outcome)).map(|(task, _)| task),
            None => Ok(task),
        }
    }

    /// Applies what has come due in the open tasks that this one waits for, and in those that they wait for: in a lane where
    /// nobody looks for work, nobody else does. What fails here is tried again when somebody looks again.
    pub(super) fn settle_upstream(&self, task: &Task) {
        let targets =
            |task: &Task| task.spec.after.iter().map(|after| after.task.clone()).collect::<Vec<_>>();
        let (mut next, mut seen, mut open) = (targets(task), HashSet::new(), Vec::new());
        while let Some(id) = next.pop() {
            if open.len() == MAX_UPSTREAM || !seen.insert(id.clone()) {
                continue;
            }
            let Ok(Some(task)) = self.scan_one(&id) else { continue };
            if !task.status.is_terminal() {
                if task.waits_for_dependencies() {
                    next.extend(targets(&task));
                }
                open.push(id);
            }
        }
        // What was found last is the most likely to decide about the others.
        for id in open.iter().rev() {
            let _ = self.settle(id);
        }
    }

    /// Remembers that dependents are to be released, if the index says so.
    pub(super) fn note_due(&self, state: &IndexState) {
        if state.dependents == DependentsMark::Due {
            self.releases_are_due.store(true, Ordering::Relaxed);
        }
    }

    /// Releases the dependents of tasks that have ended, if this process has seen that there are any.
    pub(super) fn release_if_due(&self) -> Result<()> {
        if self.releases_are_due.swap(false, Ordering::Relaxed) { self.release_dependents() } else { Ok(()) }
    }

    /// Releases the dependents of the tasks that have ended: each can be claimed, fails, or waits for others. One
    /// that fails has dependents of its own, which are released as well.
    fn release_dependents(&self) -> Result<()> {
        let index = Index::open(&self.layout)?;
        // Others that find this lock taken come from the other end of the list.
        let mut own = index.try_release_lock()?;
        loop {
            while let Some(step) = index.next_release()? {
                let mut seen = HashSet::new();
                let mut ids: Vec<&str> =
                    step.ids.iter().map(String::as_str).filter(|id| seen.insert(*id)).collect();
                if own.is_none() {
                    ids.reverse();
                }
                let ids: Vec<TaskId> = ids.into_iter().filter_map(|id| TaskId::parse(id).ok()).collect();
                for group in ids.chunks(GROUP_SIZE) {
                    for id in self.apply_to_group(&index, group, &|task| self.unblocks(task))? {
                        self.release(&id)?;
                    }
                }
                index.finish_release(&step)?;
            }
            let lock = self.lock_store()?;
            let is_done = index.finish_releases(&lock)?;
            if is_done {
                // Before the store lock: the process that ends a task next must find it free.
                own.take();
                self.releases_are_due.store(false, Ordering::Relaxed);
                return Ok(());
            }
        }
    }

    /// Returns the command that ends the wait of a task for others; `None` when there is nothing to do yet.
    fn unblocks(&self, task: &Task) -> Result<Option<Command>> {
        if !task.waits_for_dependencies() {
            return Ok(None);
        }
        Ok(self.dependency_outcome(&task.spec.after)?.map(Command::Unblock))
    }

    /// Looks at one task that may wait for others.
    fn release(&self, id: &TaskId) -> Result<()> {
        let task = match self.scan_one(id) {
            Ok(Some(task)) if task.waits_for_dependencies() => task,
            Ok(_) => return Ok(()),
            // `fsck` reports it, and a later look finds what it waits for.
            Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(()),
            Err(error) => return Err(error),
        };
        let Some(outcome) = self.dependency_outcome(&task.spec.after)? else { return Ok(()) };
        let Some(dir) = self.layout.task(id)? else { return Ok(()) };
        let lock = TaskLock::acquire(&dir, self.options.lock_timeout)?;
        self.apply_locked(&dir, id, &Command::Unblock(outcome), &lock).map(drop)
    }

    /// Looks for tasks on which others depend and which another implementation has ended, and releases their
    /// dependents. Returns whether there were any.
    pub(super) fn release_after_others(&self, index: &Index<'_>) -> Result<bool> {
        let awaited = index.awaited()?;
        let start = if awaited.len() > MAX_CHECKED { self.random() as usize % awaited.len() } else { 0 };
        let has_ended = |id: &&TaskId| {
            // Every implementation gives a task that has ended a response.
            let path = format!("{id}/{RESPONSE_FILE}");
            rustix::fs::statat(&self.layout.tasks, path, AtFlags::SYMLINK_NOFOLLOW).is_ok()
                || matches!(self.layout.task(id), Ok(None))
        };
        let ended: Vec<TaskId> = awaited
            .iter()
            .cycle()
            .skip(start)
            .take(awaited.len().min(MAX_CHECKED))
            .filter(has_ended)
            .cloned()
            .collect();
        if ended.is_empty() {
            return Ok(false);
        }
        index.note_ends(&self.lock_store()?, &ended)?;
        self.release_dependents().map(|()| true)
    }
}

/// Adds to an error that it is about a dependency.
fn name_dependency(text: &str, error: &Error) -> Error {
    let named = Error::new(error.kind(), format!("dependency '{}': {}", printable(text), error.message()));
    match error.hint() {
        Some(hint) => named.with_hint(hint),
        None => named,
    }
}

/// Keeps one dependency for each task, the stricter one.
fn without_repetitions(after: Vec<Dependency>) -> Vec<Dependency> {
    let mut seen = std::collections::HashMap::new();
    let mut kept: Vec<Dependency> = Vec::with_capacity(after.len());
    for dependency in after {
        let place = *seen.entry(dependency.task.clone()).or_insert(kept.len());
        match kept.get_mut(place) {
            None => kept.push(dependency),
            Some(first) if dependency.on == DependencyCondition::Completed => first.on = dependency.on,
            Some(_) => {}
        }
    }
    kept
}
