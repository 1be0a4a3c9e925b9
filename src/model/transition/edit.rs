//! Edits: they change what a task says, never its state.

use serde_json::Value;

use super::{Effect, ListEdit, TaskEdit, TransitionContext};
use crate::error::{Error, Result};
use crate::model::json::Object;
use crate::model::limits;
use crate::model::refusal::Refusal;
use crate::model::spec::NewRequest;
use crate::model::task::{Status, Task};

/// The keys of a task under which the fields of boards are kept.
const DESCRIPTION: &str = "description";
const ASSIGNEES: &str = "assignees";

/// Changes what a task says; absent fields stay as they are.
///
/// # Errors
/// `Refused` for a prompt or a priority unless the task waits, and for everything in a state of a newer version;
/// `Invalid` for a prompt that is blank although it is the whole request, or too long.
pub(super) fn edit(task: &mut Task, context: &TransitionContext<'_>, change: &TaskEdit) -> Result<Effect> {
    if matches!(task.status, Status::Unknown(_)) {
        return Err(Refusal::ended(task, "edit", None).into());
    }
    let mut changes = Object::new();
    if let Some(prompt) = &change.prompt {
        check_waits(task)?;
        if set_prompt(task, context, prompt)? {
            // The text itself may be long, and the task has it.
            changes.insert("prompt".into(), true.into());
        }
    }
    if let Some(priority) = change.priority {
        check_waits(task)?;
        if task.spec.priority != priority {
            task.spec.priority = priority;
            changes.insert("priority".into(), priority.into());
        }
    }
    if let Some(name) = change.name.as_ref().filter(|name| task.spec.name.as_ref() != Some(name)) {
        task.spec.name = Some(name.clone());
        changes.insert("name".into(), name.clone().into());
    }
    if let Some(labels) = changed_list(change.labels.as_ref(), &task.spec.labels)? {
        task.spec.labels.clone_from(&labels);
        changes.insert("labels".into(), labels.into());
    }
    if let Some(assignees) = changed_list(change.assignees.as_ref(), &task.assignees())? {
        task.extra.insert(ASSIGNEES.into(), assignees.clone().into());
        changes.insert(ASSIGNEES.into(), assignees.into());
    }
    if let Some(description) = change.description.as_ref().filter(|text| task.description() != **text) {
        task.extra.insert(DESCRIPTION.into(), description.clone().into());
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

/// Returns the new list, if it is another.
fn changed_list(change: Option<&ListEdit>, current: &[String]) -> Result<Option<Vec<String>>> {
    let new = change.map(|change| change.apply(current)).filter(|new| new.as_slice() != current);
    if let Some(new) = &new {
        limits::check_label_count(new)?;
    }
    Ok(new)
}

/// Refuses to change what a worker has been given, or was.
fn check_waits(task: &Task) -> std::result::Result<(), Refusal> {
    match &task.status {
        Status::Queued | Status::Scheduled { .. } | Status::Blocked { .. } | Status::InputRequired => Ok(()),
        Status::Claimed(claim) => {
            Err(Refusal::Claimed { id: task.id.clone(), verb: "edit", owner: claim.owner.clone() })
        }
        Status::Completed { .. } | Status::Failed { .. } | Status::Unknown(_) => {
            Err(Refusal::ended(task, "edit", None))
        }
    }
}

/// Gives the task another prompt, and another request where the prompt is that. Returns whether it was another.
fn set_prompt(task: &mut Task, context: &TransitionContext<'_>, text: &str) -> Result<bool> {
    limits::check_prompt(text, context.new_request.is_none())?;
    let Some(sha256) = context.new_request else {
        let is_new = task.spec.prompt != text;
        task.spec.prompt = text.to_string();
        return Ok(is_new);
    };
    if text.trim().is_empty() {
        return Err(Error::invalid("the prompt is the whole request of this task and cannot be empty"));
    }
    let is_new = task.request_sha256 != *sha256;
    task.request_sha256 = sha256.clone();
    task.spec.prompt = NewRequest::prompt(text.to_string()).1;
    Ok(is_new)
}

impl Task {
    /// Returns the description for people: the one set by an edit, otherwise the prompt.
    pub fn description(&self) -> &str {
        self.extra.get(DESCRIPTION).and_then(Value::as_str).unwrap_or(&self.spec.prompt)
    }

    /// Returns the people to whom an edit has assigned the task.
    pub fn assignees(&self) -> Vec<String> {
        let names = self.extra.get(ASSIGNEES).and_then(Value::as_array);
        names.into_iter().flatten().filter_map(|name| name.as_str().map(str::to_string)).collect()
    }
}
