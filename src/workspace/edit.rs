//! Checks a change of what a task says.

use crate::error::Result;
use crate::model::json::BYTE_ORDER_MARK;
use crate::model::{Command, ListEdit, TaskEdit, limits};

/// Checks a change against the limits of a submit. The prompt is checked with its task, which decides how long it may be.
///
/// # Errors
/// `Invalid` when a text is too long or not printable, the priority is out of range, or there are too many labels or
/// assignees.
pub(crate) fn check_edit(edit: TaskEdit) -> Result<Command> {
    Ok(Command::Edit(TaskEdit {
        // A byte order mark of an editor does not belong to the prompt.
        prompt: edit
            .prompt
            .map(|prompt| prompt.strip_prefix(BYTE_ORDER_MARK).map(str::to_string).unwrap_or(prompt)),
        priority: edit.priority.map(|wanted| limits::check_priority(wanted.into())).transpose()?,
        name: edit.name.map(limits::check_name).transpose()?,
        description: edit.description,
        labels: edit.labels.map(check_list).transpose()?,
        assignees: edit.assignees.map(check_list).transpose()?,
    }))
}

fn check_list(edit: ListEdit) -> Result<ListEdit> {
    Ok(match edit {
        ListEdit::Replace(texts) => ListEdit::Replace(limits::check_labels(texts)?),
        // What is removed may be older than the limits.
        ListEdit::Change { add, remove } => ListEdit::Change { add: limits::check_labels(add)?, remove },
    })
}
