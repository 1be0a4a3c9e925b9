//! The correlations: for each, a file that leads other implementations to its newest task.

use super::{CORRELATIONS, Index, self_heal};
use crate::error::{ErrorKind, Result};
use crate::model::{Task, TaskId, json};
use crate::store::correlation_file::{correlation_content, correlation_name};
use crate::store::dir::Dir;
use crate::store::{atomic, bounded_file};

impl Index<'_> {
    /// Returns the directory of the correlation files.
    pub(in crate::store) fn correlations(&self) -> Result<Dir> {
        self_heal::directory(self.layout, &self.dir(), CORRELATIONS)
    }

    /// Returns the task that the correlation of `task` leads to.
    pub(in crate::store) fn correlation_target(&self, task: &Task) -> Result<Option<TaskId>> {
        let name = correlation_name(&task.spec.workspace_id, &task.spec.correlation_id);
        let target = || match self.dir().open_existing(CORRELATIONS)? {
            Some(correlations) => target_of(&correlations, &name),
            None => Ok(None),
        };
        match target() {
            // Something other than a directory or file has its name.
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
            target => target,
        }
    }

    /// Makes the correlation of a task lead to it, unless it leads to a younger task.
    pub(in crate::store) fn recover_correlation(&self, task: &Task) -> Result<()> {
        let target = self.correlation_target(task)?;
        if target.as_ref() == Some(&task.id) {
            return Ok(());
        }
        let target = target.map_or(Ok(None), |id| self.load(id.as_str()))?;
        if target.is_some_and(|target| target.created_at >= task.created_at) {
            return Ok(());
        }
        let (correlations, text) = (self.correlations()?, correlation_content(task));
        let name = correlation_name(&task.spec.workspace_id, &task.spec.correlation_id);
        self_heal::put(self.layout, &correlations, &name, || {
            atomic::replace_derived(&correlations, &name, text.as_bytes())
        })
    }
}

/// Returns the task that a correlation file leads to, if the file can be read.
pub(in crate::store) fn target_of(correlations: &Dir, name: &str) -> Result<Option<TaskId>> {
    let content = bounded_file::read(correlations, name, 1024 * 1024)?;
    let object = content.and_then(|content| json::parse_object(&content.bytes).ok());
    Ok(object.and_then(|object| TaskId::parse(object.get("task_id")?.as_str()?).ok()))
}
