//! Edits by boards: they change the texts of a task for people, never its state.

use serde_json::Value;

use super::{Effect, TransitionContext};
use crate::error::Result;
use crate::model::json::Object;
use crate::model::refusal::Refusal;
use crate::model::task::{Status, Task};

/// The keys of a task under which the fields of boards are kept.
const DESCRIPTION: &str = "description";
const ASSIGNEES: &str = "assignees";

/// Changes the texts of a task that people see; `None` leaves a text as it is.
///
/// # Errors
/// `Refused` in a state of a newer version.
pub(super) fn edit(
    task: &mut Task,
    context: &TransitionContext<'_>,
    name: Option<&str>,
    description: Option<&str>,
    labels: Option<&[String]>,
    assignees: Option<&[String]>,
) -> Result<Effect> {
    if matches!(task.status, Status::Unknown(_)) {
        return Err(Refusal::ended(task, "edit", None).into());
    }
    let mut changes = Object::new();
    if let Some(name) = name.filter(|name| task.spec.name.as_deref() != Some(name)) {
        task.spec.name = Some(name.to_string());
        changes.insert("name".into(), name.into());
    }
    if let Some(labels) = labels.filter(|labels| task.spec.labels != *labels) {
        task.spec.labels = labels.to_vec();
        changes.insert("labels".into(), labels.into());
    }
    if let Some(assignees) = assignees.filter(|assignees| task.assignees() != *assignees) {
        task.extra.insert(ASSIGNEES.into(), assignees.into());
        changes.insert(ASSIGNEES.into(), assignees.into());
    }
    if let Some(description) = description.filter(|text| task.description() != *text) {
        task.extra.insert(DESCRIPTION.into(), description.into());
        // The text itself may be long, and the task has it.
        changes.insert(DESCRIPTION.into(), true.into());
    }
    if changes.is_empty() {
        return Ok(Effect::Unchanged);
    }
    let fields: Vec<&str> = changes.keys().map(String::as_str).collect();
    let message = format!("edited: {}", fields.join(", "));
    task.record(context.now.wall, "edited", message, changes);
    Ok(Effect::Changed)
}

impl Task {
    /// Returns the description for people: the one set by a board, otherwise the prompt.
    ///
    /// The request that the worker receives stays as it was submitted.
    pub fn description(&self) -> &str {
        self.extra.get(DESCRIPTION).and_then(Value::as_str).unwrap_or(&self.spec.prompt)
    }

    /// Returns the people whom a board has assigned to the task.
    pub fn assignees(&self) -> Vec<String> {
        let names = self.extra.get(ASSIGNEES).and_then(Value::as_array);
        names.into_iter().flatten().filter_map(|name| name.as_str().map(str::to_string)).collect()
    }
}
