//! Tasks: submitted, claimed, changed, read.

use std::ops::ControlFlow;
use std::time::Duration;

use super::{Engine, Store};
use crate::error::{Error, Result};
use crate::model::{
    Command, Effect, Event, GroupName, IdempotencyKey, NewRequest, NewTask, Owner, Response, Task, TaskId,
    TaskText,
};
use crate::store::groups::EndedGroup;
#[cfg(feature = "cli")]
use crate::store::scan::TaskStamp;
use crate::store::{ClaimRequest, HeldKey, LaneQuery, ShownStates, SubmittedTask};

impl Store {
    /// Claims the first matching task in one step: of two callers at the same time, each gets a different
    /// task. Returns `None` when no task can be claimed now.
    ///
    /// Lanes are searched in the given order, tasks by priority and age. A task that does not match, is
    /// claimed, or whose request has changed never delays the ones behind it.
    ///
    /// # Errors
    /// `Invalid` for a lease out of range; `NewerFormat`, `Io`, `Locked`.
    pub fn claim_next(&self, query: &LaneQuery, owner: &Owner, lease: Duration) -> Result<Option<Task>> {
        engine!(self, claim_next(query, owner, lease))
    }

    /// Claims the first matching task that the request accepts, as [`Store::claim_next`] does.
    ///
    /// # Errors
    /// As [`Store::claim_next`].
    pub(crate) fn claim_next_as(
        &self,
        query: &LaneQuery,
        request: &ClaimRequest<'_>,
    ) -> Result<Option<Task>> {
        engine!(self, claim_next_as(query, request))
    }

    /// Returns the task that [`Store::claim_next`] would claim, without claiming it.
    ///
    /// Changes that have come due are written on the way, so that other processes see them too: a scheduled
    /// task whose time has come is queued, a task without attempts left is dead-lettered.
    ///
    /// # Errors
    /// `Io`, `Locked`.
    pub fn peek_next(&self, query: &LaneQuery) -> Result<Option<Task>> {
        engine!(self, peek_next(query))
    }

    /// Applies the changes of one task that have come due: a scheduled task is queued, a task without
    /// attempts left is dead-lettered, an open question gets its default.
    ///
    /// # Errors
    /// As [`Store::apply`]; nothing is written when nothing has come due.
    pub fn settle(&self, id: &TaskId) -> Result<Task> {
        engine!(self, settle(id))
    }

    /// Returns a task as [`Store::settle`] does, or as it is stored where that cannot be written. If it waits for others, what
    /// has come due in these is applied before.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`, `Io` when the task cannot be read.
    pub(crate) fn read_settled(&self, id: &TaskId) -> Result<Task> {
        engine!(self, read_settled(id))
    }

    /// Claims the task `id` for `owner` with a lease of the length `lease`.
    ///
    /// # Errors
    /// `Refused` when it cannot be claimed now (ended, claimed, scheduled, request changed, lane paused);
    /// `Invalid` for a lease out of range; `NotFound`.
    pub fn claim(&self, id: &TaskId, owner: &Owner, lease: Duration) -> Result<Task> {
        engine!(self, claim(id, owner, lease))
    }

    /// Claims the task `id` as [`Store::claim`] does, with the token of the request if that has one.
    ///
    /// # Errors
    /// As [`Store::claim`].
    #[cfg(feature = "cli")]
    pub(crate) fn claim_as(&self, id: &TaskId, request: &ClaimRequest<'_>) -> Result<Task> {
        engine!(self, claim_as(id, request))
    }

    /// Applies `command` to the task `id`. Once this returns success, the change survives a power cut.
    ///
    /// # Errors
    /// `Refused` by the rules of the queue; `NotFound`; `Corrupt` when the task cannot be read; `NewerFormat`,
    /// `Locked`, `Io`.
    pub fn apply(&self, id: &TaskId, command: &Command) -> Result<(Task, Effect)> {
        engine!(self, apply(id, command))
    }

    /// Returns the tasks that wait for this one, directly: the open ones.
    ///
    /// # Errors
    /// `Io`, `Locked`.
    pub fn dependents(&self, id: &TaskId) -> Result<Vec<TaskId>> {
        engine!(self, dependents(id))
    }

    /// Returns which key of a waiting task another one holds, and which task that is. `None` if all of them are free.
    ///
    /// # Errors
    /// `Io`, `Locked`.
    pub(crate) fn held_key(&self, task: &Task) -> Result<Option<HeldKey>> {
        engine!(self, held_key(task))
    }

    /// Returns the names of tasks among which are all of a group, sorted: those that the index tells, or those of all tasks
    /// where it is not up to date.
    ///
    /// # Errors
    /// `Io` when the tasks cannot be listed.
    pub(crate) fn task_names_of_group(&self, group: &GroupName) -> Result<Vec<String>> {
        engine!(self, task_names_of_group(group))
    }

    /// Returns the tasks of a group that `keep` accepts, in the order in which they were submitted. Errors of tasks
    /// that cannot be read are passed to `unreadable`.
    ///
    /// # Errors
    /// `NotFound` when the group has no task at all; `Io` when the tasks cannot be listed.
    pub fn group_members(
        &self,
        group: &GroupName,
        keep: &(dyn Fn(&TaskText<'_>) -> bool + Sync),
        unreadable: &mut dyn FnMut(Error),
    ) -> Result<Vec<TaskId>> {
        engine!(self, group_members(group, keep, unreadable))
    }

    /// Returns the tasks of a group that count for its end, in the order in which they were submitted: all but those that
    /// were retried, for which their successors count. Errors of tasks that cannot be read are passed to `unreadable`.
    ///
    /// # Errors
    /// `NotFound` when the group has no task at all; `Io` when the tasks cannot be listed.
    pub fn counted_members(
        &self,
        group: &GroupName,
        unreadable: &mut dyn FnMut(Error),
    ) -> Result<Vec<TaskId>> {
        engine!(self, counted_members(group, unreadable))
    }

    /// Returns the newest successor of a task: the task that retries it or, if that was retried too, the last one of
    /// these. It is the task itself if it was not retried.
    ///
    /// # Errors
    /// `Io`, `Corrupt` when one of them cannot be read.
    pub(crate) fn newest_successor(&self, id: &TaskId) -> Result<TaskId> {
        engine!(self, newest_successor(id))
    }

    /// Returns how a group has ended; `None` while one of the tasks that count is open, or when it has none. Those that
    /// were retried do not count, and a task that cannot be read is left out.
    ///
    /// # Errors
    /// `Io` when the tasks cannot be listed.
    pub(crate) fn ended_group(&self, group: &GroupName) -> Result<Option<EndedGroup>> {
        engine!(self, ended_group(group))
    }

    /// Finds the task that `text` names: its id, or a beginning or an end that only one id has.
    ///
    /// # Errors
    /// `Invalid` for text that cannot be part of an id, or that matches several; `NotFound` when no task
    /// matches.
    pub fn resolve(&self, text: &str) -> Result<TaskId> {
        engine!(self, resolve(text))
    }

    /// Reads a task.
    ///
    /// # Errors
    /// `NotFound` when there is none; `Corrupt` when its file is not a task; `Io`.
    pub fn task(&self, id: &TaskId) -> Result<Task> {
        engine!(self, task(id))
    }

    /// Returns the response of a task; `None` while it is open, and when the file of the response is gone.
    ///
    /// # Errors
    /// `Corrupt` when the file is not a response; `Io`.
    pub fn response(&self, task: &Task) -> Result<Option<Response>> {
        engine!(self, response(task))
    }

    /// Returns whether a task has a response, without reading it.
    pub fn response_exists(&self, task: &Task) -> bool {
        engine!(self, response_exists(task))
    }

    /// Returns the history of a task, oldest event first.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`, `Io`.
    pub fn events(&self, id: &TaskId) -> Result<Vec<Event>> {
        engine!(self, events(id))
    }

    /// Returns the newest event of a task.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`, `Io`.
    pub fn last_event(&self, task: &Task) -> Result<Option<Event>> {
        engine!(self, last_event(task))
    }

    /// Returns a task with the paths of the files that this store keeps for it.
    pub fn with_current_paths(&self, task: Task) -> Task {
        engine!(self, with_current_paths(task))
    }

    /// Returns whether only the store keeps the response of a task, because the submit named no path for it.
    pub fn is_response_kept_in_store(&self, task: &Task) -> bool {
        engine!(self, is_response_kept_in_store(task))
    }

    /// Makes the response of a task durable, so that it may be printed.
    ///
    /// # Errors
    /// `Io`.
    pub fn sync_response(&self, task: &Task) -> Result<()> {
        engine!(self, sync_response(task))
    }

    /// Writes the body of `response` to the copy that the store keeps with the task. Failing to write this
    /// second copy is not an error: on a full or read-only disk the response can still be printed.
    ///
    /// The response itself is made durable first, so that nothing is reported that a power cut can undo.
    ///
    /// # Errors
    /// `Io` when the response cannot be made durable.
    pub fn copy_response(&self, task: &Task, response: &Response) -> Result<()> {
        engine!(self, copy_response(task, response))
    }

    /// Reads entries of the task directory as [`Store::scan_names`] does, with the stamp that each file had before it was
    /// read.
    #[cfg(feature = "cli")]
    pub(crate) fn scan_stamped<T: Send>(
        &self,
        names: &[String],
        extract: impl Fn(&TaskText<'_>) -> T + Sync,
        visit: &mut dyn FnMut(&str, TaskStamp, Result<T>),
    ) {
        engine!(self, scan_stamped(names, extract, visit))
    }

    /// Returns the stamp of the task.json in one entry of the task directory.
    #[cfg(feature = "cli")]
    pub(crate) fn task_stamp(&self, name: &str) -> TaskStamp {
        engine!(self, task_stamp(name))
    }

    /// Returns what changes whenever an entry is added to or removed from the task directory.
    #[cfg(feature = "cli")]
    pub(crate) fn task_names_stamp(&self) -> TaskStamp {
        engine!(self, task_names_stamp())
    }

    /// Returns the names in the task directory, sorted.
    ///
    /// # Errors
    /// `Io`.
    #[doc(hidden)]
    pub fn task_names(&self) -> Result<Vec<String>> {
        engine!(self, task_names())
    }

    /// Reads entries of the task directory, with several threads if there are many, and passes what `extract`
    /// returns for each to `visit`, in the order given, until that breaks. An entry that is not a readable
    /// task is passed as an error; one that is gone is skipped.
    pub(crate) fn scan_names<T: Send>(
        &self,
        names: &[String],
        extract: impl Fn(&TaskText<'_>) -> T + Sync,
        visit: &mut dyn FnMut(&str, Result<T>) -> ControlFlow<()>,
    ) {
        engine!(self, scan_names(names, extract, visit))
    }

    /// Passes every task to `visit`, in the order of the ids. An entry that is not a readable task is passed
    /// as an error.
    ///
    /// # Errors
    /// `Io` when the tasks cannot be listed.
    pub fn scan(&self, visit: &mut dyn FnMut(&str, Result<Task>)) -> Result<()> {
        engine!(self, scan(visit))
    }

    /// Returns the dead tasks of a lane that were not retried yet, oldest first. Errors of unreadable ones
    /// are passed to `unreadable`.
    ///
    /// # Errors
    /// `Io` when the tasks cannot be listed.
    pub fn dead_tasks(&self, lane: &str, unreadable: &mut dyn FnMut(Error)) -> Result<Vec<TaskId>> {
        engine!(self, dead_tasks(lane, unreadable))
    }

    /// Returns the states in which a view shows tasks that is made now.
    pub(crate) fn shown_states(&self) -> ShownStates<'_> {
        engine!(self, shown_states())
    }

    /// Returns a task as it is shown; see [`Task::shown_status`].
    pub(crate) fn shown(&self, task: Task) -> Task {
        engine!(self, shown(task))
    }

    /// Adds a task. Once this returns success, the task survives a power cut.
    ///
    /// If a task of the workspace has the same idempotency key and the same content, that task is returned
    /// instead.
    ///
    /// # Errors
    /// `Refused` when a task with other content has the key; `Invalid` when the prompt, a name or a label is too
    /// long, or there are too many labels; `NewerFormat`, `Locked`, `Io`.
    pub fn submit(&self, new: NewTask) -> Result<SubmittedTask> {
        engine!(self, submit(new))
    }

    /// Adds a task with the specification of one that is in the store ([`NewTask::with_spec_of`]). Its texts may be longer
    /// than a submit accepts, if another implementation wrote it.
    ///
    /// # Errors
    /// `Refused` when a task with other content has the key; `NewerFormat`, `Locked`, `Io`.
    pub(crate) fn submit_again(&self, new: NewTask) -> Result<SubmittedTask> {
        files!(self, submit_again(new))
    }

    /// Submits a failed task again, as a new one that takes over its idempotency key.
    ///
    /// The old task stays as it is, since a wait may have reported it already; each names the other. Retrying
    /// it again returns the same new task.
    ///
    /// # Errors
    /// `Refused` unless the task has failed (cancelled and dead tasks have); `NotFound`.
    pub fn retry(&self, id: &TaskId, by: &str) -> Result<SubmittedTask> {
        engine!(self, retry(id, by))
    }

    /// Submits a failed task again as [`Store::retry`] does, and with it the tasks that failed because it had failed, and
    /// so on: the new tasks depend on each other as the old ones do. Returns the new tasks, each after those that it
    /// depends on.
    ///
    /// # Errors
    /// As [`Store::retry`]. Tasks submitted before an error stay; to repeat the call continues it.
    pub fn retry_with_dependents(&self, id: &TaskId, by: &str) -> Result<Vec<SubmittedTask>> {
        engine!(self, retry_with_dependents(id, by))
    }

    /// Returns the request of a task, for a task that repeats or continues it.
    ///
    /// # Errors
    /// `Io` or `Refused` when it is gone.
    pub fn copy_request(&self, old: &Task) -> Result<NewRequest> {
        engine!(self, copy_request(old))
    }

    /// Returns the task of a workspace that has an idempotency key.
    ///
    /// # Errors
    /// `Corrupt` when its file is not a task; `Io`, `Locked`.
    pub(crate) fn task_with_key(&self, workspace_id: &str, key: &IdempotencyKey) -> Result<Option<Task>> {
        files!(self, task_with_key(workspace_id, key))
    }

    /// Adds many tasks; the results are in the order of `new`. Each task is added completely or not at all,
    /// and the failure of one does not affect the others; within a lane and a priority they are served in the
    /// order of `new`. Keys work as in [`Store::submit`], also between tasks of one batch.
    ///
    /// Once this returns, every task with a successful result survives a power cut.
    ///
    /// # Errors
    /// `NewerFormat` when the store cannot be changed at all, `Io` when the staging directory cannot be made; any
    /// other failure is the result of one task.
    pub fn submit_batch(&self, new: Vec<NewTask>) -> Result<Vec<Result<SubmittedTask>>> {
        engine!(self, submit_batch(new))
    }
}
