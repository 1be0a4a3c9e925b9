//! Groups: tasks that were submitted under one name.

use std::ops::ControlFlow;

use super::index::Index;
use super::scan::{self, TaskScan};
use super::{FileStore, cannot_write};
use crate::error::{Error, ErrorKind, Result, printable};
use crate::model::json::raw::RawString;
use crate::model::succession::counts_in_group;
use crate::model::{GroupName, Status, TaskId, TaskText, Time};

/// A group all of whose tasks have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EndedGroup {
    /// The task that ended last.
    pub last: TaskId,
    /// When it ended.
    pub at: Time,
    /// The number of tasks that were answered.
    pub completed: usize,
    /// The number of tasks that failed.
    pub failed: usize,
}

impl FileStore {
    pub(crate) fn task_names_of_group(&self, group: &GroupName) -> Result<Vec<String>> {
        let listed = |index: &Index<'_>| match index.state_if_current()? {
            Some(_) => index.members_of(group).map(Some),
            None => Ok(None),
        };
        if self.layout.is_absent() {
            return self.task_names();
        }
        let members = match Index::open(&self.layout).and_then(|index| listed(&index)) {
            Err(error) if error.kind() == ErrorKind::Corrupt || cannot_write(&error) => None,
            members => members?,
        };
        let Some(members) = members else { return self.task_names() };
        let mut names: Vec<String> = members.into_iter().map(|id| id.to_string()).collect();
        names.sort_unstable();
        Ok(names)
    }

    pub(crate) fn group_members(
        &self,
        group: &GroupName,
        keep: &(dyn Fn(&TaskText<'_>) -> bool + Sync),
        unreadable: &mut dyn FnMut(Error),
    ) -> Result<Vec<TaskId>> {
        members(self, group, keep, unreadable)
    }

    pub(crate) fn counted_members(
        &self,
        group: &GroupName,
        unreadable: &mut dyn FnMut(Error),
    ) -> Result<Vec<TaskId>> {
        counted(self, group, unreadable)
    }

    pub(crate) fn ended_group(&self, group: &GroupName) -> Result<Option<EndedGroup>> {
        ended(self, group)
    }
}

/// Returns the tasks of a group that `keep` accepts, in the order in which they were submitted.
pub(super) fn members(
    store: &impl TaskScan,
    group: &GroupName,
    keep: &(dyn Fn(&TaskText<'_>) -> bool + Sync),
    unreadable: &mut dyn FnMut(Error),
) -> Result<Vec<TaskId>> {
    let member = |task: &TaskText<'_>| {
        let is_member = task.spec.group.is_some_and(|name| name.is(group.as_str()));
        is_member.then(|| (keep(task), task.created_at, task.id.clone()))
    };
    let mut members = Vec::new();
    scan::all(store, &store.names_of_group(group)?, member, &mut |seen| {
        match seen {
            Ok(member) => members.extend(member),
            Err(error) => unreadable(error),
        }
        ControlFlow::Continue(())
    })?;
    if members.is_empty() {
        return Err(Error::not_found(format!("there is no task in group '{}'", printable(group.as_str())))
            .with_hint("`lanes submit --group NAME` adds one"));
    }
    members.retain(|(is_kept, ..)| *is_kept);
    members.sort_by(|a, b| (a.1, &a.2).cmp(&(b.1, &b.2)));
    Ok(members.into_iter().map(|(.., id)| id).collect())
}

/// Returns the tasks of a group that count for its end.
pub(super) fn counted(
    store: &impl TaskScan,
    group: &GroupName,
    unreadable: &mut dyn FnMut(Error),
) -> Result<Vec<TaskId>> {
    let names = store.names_of_group(group)?;
    members(store, group, &|task| counts(task, &names), unreadable)
}

/// Returns whether a task of a group counts for its end; `names` are the sorted names of tasks among which are all of
/// the group.
fn counts(task: &TaskText<'_>, names: &[String]) -> bool {
    let retried_as = task.retried_as.map(RawString::decode);
    counts_in_group(retried_as.as_deref(), |id| names.binary_search_by(|name| name.as_str().cmp(id)).is_ok())
}

/// Returns how a group has ended; `None` while one of its tasks is open.
pub(super) fn ended(store: &impl TaskScan, group: &GroupName) -> Result<Option<EndedGroup>> {
    let names = store.names_of_group(group)?;
    let member = |task: &TaskText<'_>| {
        let is_member = task.spec.group.is_some_and(|name| name.is(group.as_str()));
        (is_member && counts(task, &names)).then(|| (task.id.clone(), task.status()))
    };
    let (mut ended, mut is_open) = (None::<EndedGroup>, false);
    scan::all(store, &names, member, &mut |seen| {
        let Ok(Some((id, status))) = seen else { return ControlFlow::Continue(()) };
        let (at, is_completed) = match status {
            Status::Completed { at, .. } => (at, true),
            Status::Failed { at, .. } => (at, false),
            _ => {
                is_open = true;
                return ControlFlow::Break(());
            }
        };
        let group = ended.get_or_insert(EndedGroup { last: id.clone(), at, completed: 0, failed: 0 });
        group.completed += usize::from(is_completed);
        group.failed += usize::from(!is_completed);
        if (at, &id) > (group.at, &group.last) {
            (group.at, group.last) = (at, id);
        }
        ControlFlow::Continue(())
    })?;
    Ok(ended.filter(|_| !is_open))
}
