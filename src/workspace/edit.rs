//! From a wish to change a task's words to a checked command.

use crate::error::Result;
use crate::model::Command;
use crate::model::limits;

/// What is to change; what is left out stays.
#[derive(Clone, Debug, Default)]
pub struct EditWish {
    /// The title.
    pub name: Option<String>,
    /// The description for people; the request that the worker gets stays as it was submitted.
    pub description: Option<String>,
    /// All labels.
    pub labels: Option<Vec<String>>,
    /// All assignees.
    pub assignees: Option<Vec<String>>,
}

/// Checks a wish against the same limits as a submit's.
///
/// # Errors
/// `Invalid`, naming what is too long, too many or not printable.
pub fn check_edit(wish: EditWish) -> Result<Command> {
    Ok(Command::Edit {
        name: wish.name.map(limits::name).transpose()?,
        description: wish.description,
        labels: wish.labels.map(limits::labels).transpose()?,
        assignees: wish.assignees.map(limits::labels).transpose()?,
    })
}
