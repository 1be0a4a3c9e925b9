//! A quick look at many tasks: a few fields, without building the whole task.
//!
//! Reading a task keeps everything another implementation may have written, exactly; that is most
//! of the cost of looking through a large store. Whoever wants few of many tasks glances first.

use std::borrow::Cow;

use serde::Deserialize;

use super::Store;
use super::layout::{Layout, TASK_FILE};
use super::read::{self, MAX_TASK_FILE};
use crate::error::{Error, Result, printable};
use crate::model::transition::check_redrive;
use crate::model::{Task, TaskId};

/// The fields by which tasks are chosen, as they stand in task.json.
#[derive(Debug, Deserialize)]
pub struct Glance<'a> {
    /// See [`Task::id`](crate::model::Task::id).
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// See [`Task::lane`](crate::model::Task::lane).
    #[serde(borrow)]
    pub lane: Cow<'a, str>,
    /// The word for its state.
    #[serde(borrow)]
    pub state: Cow<'a, str>,
    /// When it was submitted, as text; such texts sort as the times do.
    #[serde(borrow)]
    pub created_at: Cow<'a, str>,
    /// When it was last changed.
    #[serde(borrow)]
    pub updated_at: Cow<'a, str>,
    /// See [`Task::key`](crate::model::Task::key).
    #[serde(borrow, default, rename = "idempotency_key")]
    pub key: Option<Cow<'a, str>>,
}

impl Glance<'_> {
    /// Whether nothing can change any more.
    pub fn is_terminal(&self) -> bool {
        matches!(&*self.state, "completed" | "failed")
    }
}

/// What a quick look found.
pub(super) enum Seen {
    /// There is nothing of this name any more.
    Gone,
    /// Not wanted.
    Passed,
    /// Wanted, and read in full.
    Task(Box<Task>),
}

impl Store {
    /// The dead tasks of a lane that were not retried yet, oldest first; what cannot be read is shown
    /// to `unreadable`.
    pub fn dead_tasks(&self, lane: &str, unreadable: &mut dyn FnMut(Error)) -> Result<Vec<TaskId>> {
        let mut dead = Vec::new();
        let wanted = |glance: &Glance<'_>| glance.lane == lane && glance.state == "failed";
        self.scan_some(&wanted, &mut |_, task| match task {
            Ok(task) if task.retried_as.is_none() && check_redrive(&task).is_ok() => {
                dead.push((task.created_at, task.id));
            }
            Ok(_) => {}
            Err(error) => unreadable(error),
        })?;
        dead.sort();
        Ok(dead.into_iter().map(|(_, id)| id).collect())
    }

    /// As [`Store::scan`], for the tasks that `want` accepts: the others are only glanced at, and
    /// one of them that would not be readable in full goes unnoticed.
    pub fn scan_some(
        &self,
        want: &dyn Fn(&Glance<'_>) -> bool,
        visit: &mut dyn FnMut(&str, Result<Task>),
    ) -> Result<()> {
        let mut names = self.layout.tasks.names()?;
        names.sort_unstable();
        for name in names {
            match glance(&self.layout, &name, want) {
                Ok(Seen::Task(task)) => visit(&name, Ok(*task)),
                Ok(Seen::Gone | Seen::Passed) => {}
                Err(error) => visit(&name, Err(error)),
            }
        }
        Ok(())
    }
}

/// Glances at one entry of the task directory, and reads it in full if it is wanted.
pub(super) fn glance(layout: &Layout, name: &str, want: &dyn Fn(&Glance<'_>) -> bool) -> Result<Seen> {
    let shown = || printable(&layout.tasks.path().join(name).to_string_lossy());
    let Ok(id) = TaskId::parse(name) else {
        return Err(Error::corrupt(format!("{} is not the directory of a task", shown())));
    };
    let Some(dir) = layout.task(&id)? else { return Ok(Seen::Gone) };
    let Some(content) = read::file(&dir, TASK_FILE, MAX_TASK_FILE)? else {
        return Err(Error::corrupt(format!("{} has no task.json", shown())));
    };
    // What is unusual (NaN, a key twice, no task at all) is for the thorough reader to judge.
    if let Ok(glance) = serde_json::from_slice::<Glance<'_>>(&content.bytes)
        && glance.id == name
        && !want(&glance)
    {
        return Ok(Seen::Passed);
    }
    Ok(Seen::Task(Box::new(read::parse(content, &dir, &id)?.task)))
}
