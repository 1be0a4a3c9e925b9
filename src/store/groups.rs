//! Groups: tasks that were submitted under one name.

use std::ops::ControlFlow;

use super::Store;
use crate::error::{Error, Result, printable};
use crate::model::{GroupName, TaskId, TaskText};

impl Store {
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
        let member = |task: &TaskText<'_>| {
            let is_member = task.spec.group.is_some_and(|name| name.is(group.as_str()));
            is_member.then(|| (keep(task), task.created_at, task.id.clone()))
        };
        let mut members = Vec::new();
        self.scan_names(&self.task_names()?, member, &mut |_, seen| {
            match seen {
                Ok(member) => members.extend(member),
                Err(error) => unreadable(error),
            }
            ControlFlow::Continue(())
        });
        if members.is_empty() {
            return Err(Error::not_found(format!(
                "there is no task in group '{}'",
                printable(group.as_str())
            ))
            .with_hint("`lanes submit --group NAME` adds one"));
        }
        members.retain(|(is_kept, ..)| *is_kept);
        members.sort_by(|a, b| (a.1, &a.2).cmp(&(b.1, &b.2)));
        Ok(members.into_iter().map(|(.., id)| id).collect())
    }
}
