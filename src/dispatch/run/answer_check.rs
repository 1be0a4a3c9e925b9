//! Checks the answer of an agent against the schema of its task.

use crate::dispatch::outcome::RunAnswer;
use crate::model::Task;

/// Returns what is wrong with an answer whose task has a schema, if anything is.
pub(crate) fn schema_problem(task: &Task, answer: &RunAnswer) -> Option<String> {
    let schema = task.spec.schema.as_ref()?;
    match answer.parsed.as_ref()? {
        Ok(value) => schema.check(value).err(),
        Err(reason) => Some(reason.clone()),
    }
}
