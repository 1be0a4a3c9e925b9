//! Checks a change of the texts that people see on a task.

use crate::error::Result;
use crate::model::Command;
use crate::model::limits;

/// The changes; what is left out stays as it is.
#[derive(Clone, Debug, Default)]
pub struct TaskEdit {
    /// The title.
    pub name: Option<String>,
    /// The description for people; the request that the worker gets stays as it was submitted.
    pub description: Option<String>,
    /// All labels.
    pub labels: Option<Vec<String>>,
    /// All assignees.
    pub assignees: Option<Vec<String>>,
}

/// Checks a change against the limits of a submit.
///
/// # Errors
/// `Invalid`, naming what is too long, too many or not printable.
pub fn check_edit(wish: TaskEdit) -> Result<Command> {
    Ok(Command::Edit {
        name: wish.name.map(limits::name).transpose()?,
        description: wish.description,
        labels: wish.labels.map(limits::labels).transpose()?,
        assignees: wish.assignees.map(limits::labels).transpose()?,
    })
}
