//! Checks a change of the texts that people see on a task.

use crate::error::Result;
use crate::model::Command;
use crate::model::limits;

/// A change of the texts that people see on a task; absent fields stay as they are.
#[derive(Clone, Debug, Default)]
pub(crate) struct TaskEdit {
    /// The title.
    pub name: Option<String>,
    /// The description for people; the request that the worker gets stays as it was submitted.
    pub description: Option<String>,
    /// The complete list of labels.
    pub labels: Option<Vec<String>>,
    /// The complete list of assignees.
    pub assignees: Option<Vec<String>>,
}

/// Checks a change against the limits of a submit.
///
/// # Errors
/// `Invalid` when a text is too long or not printable, or there are too many labels or assignees.
pub(crate) fn check_edit(edit: TaskEdit) -> Result<Command> {
    Ok(Command::Edit {
        name: edit.name.map(limits::check_name).transpose()?,
        description: edit.description,
        labels: edit.labels.map(limits::check_labels).transpose()?,
        assignees: edit.assignees.map(limits::check_labels).transpose()?,
    })
}
