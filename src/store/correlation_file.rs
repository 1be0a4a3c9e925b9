//! The file of a correlation, which leads other implementations to the newest task of that correlation.

use crate::model::id::slug;
use crate::model::task::object;
use crate::model::{Task, json};

/// Returns the name and the content of the file that leads from a task's correlation to the task.
pub(super) fn correlation_file(task: &Task) -> (String, String) {
    (correlation_name(&task.spec.workspace_id, &task.spec.correlation_id), correlation_content(task))
}

pub(super) fn correlation_name(workspace_id: &str, correlation_id: &str) -> String {
    let part = |text: &str| {
        let mut slug = slug(text);
        slug.truncate(100);
        slug
    };
    format!("{}--{}.json", part(workspace_id), part(correlation_id))
}

pub(super) fn correlation_content(task: &Task) -> String {
    let content = object([
        ("workspace_id", task.spec.workspace_id.clone().into()),
        ("correlation_id", task.spec.correlation_id.clone().into()),
        ("task_id", task.id.as_str().into()),
        ("updated_at", task.updated_at.to_string().into()),
    ]);
    json::to_text(&content)
}
