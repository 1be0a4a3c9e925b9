//! `lanes retry`: submits failed tasks again.

use clap::{ArgGroup, Args};
use serde_json::Value;

use super::context::{CommandContext, resolve_all};
use super::each_task::for_each_task;
use super::env;
use super::exit::CommandExit;
use super::task_fields::TaskFieldsArg;
use crate::error::Result;
use crate::model::json::Object;
use crate::model::task::object;
use crate::model::{TaskId, TaskText};
use crate::store::{Store, SubmittedTask};

/// Submit a failed task again, as a new task with a new id.
///
/// The failed task stays as it is and names its successor; a second retry returns the same successor.
#[derive(Args, Debug)]
#[command(override_usage = "lanes retry [OPTIONS] <ID>...\n       lanes retry [OPTIONS] --group <GROUP>")]
#[command(
    after_help = "Examples:\n  lanes retry d64cf2\n  lanes retry d64cf2 --with-dependents\n  lanes retry --group night"
)]
#[command(group(ArgGroup::new("what").args(["ids", "group"]).required(true)))]
pub(super) struct RetryCommand {
    /// Ids of the tasks; their beginnings or ends suffice if unique
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// All failed tasks of this group that have not been retried
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Also the tasks that failed because of them, and so on: the new tasks depend on each other as the old ones do
    #[arg(long, conflicts_with = "group")]
    with_dependents: bool,
    #[command(flatten)]
    fields: TaskFieldsArg,
}

impl RetryCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        self.fields.apply(context)?;
        let store = context.store()?;
        if self.with_dependents {
            let ids = resolve_all(&store, &self.ids)?;
            return retry_with_dependents(context, &store, &ids);
        }
        let ids = match &self.group {
            Some(group) => {
                let failed = |task: &TaskText<'_>| task.state() == "failed" && task.retried_as.is_none();
                context.group_members(&store, group, &failed)?
            }
            None => resolve_all(&store, &self.ids)?,
        };
        if ids.is_empty() {
            context.out.note("lanes: no failed tasks to retry");
        }
        for_each_task(context, &ids, self.group.is_some() || ids.len() > 1, |context, id| {
            retry(context, &store, id)
        })
    }
}

/// Submits failed tasks again together with those that failed because of them, and prints the new tasks.
pub(super) fn retry_with_dependents(
    context: &mut CommandContext,
    store: &Store,
    ids: &[TaskId],
) -> Result<CommandExit> {
    let mut retried = Vec::new();
    for id in ids {
        retried.extend(store.retry_with_dependents(id, &env::user())?);
    }
    if !context.out.json {
        retried.iter().try_for_each(|submitted| context.out.line(submitted.task.id.as_str()))?;
        return Ok(CommandExit::Done);
    }
    let results: Vec<Value> =
        retried.iter().map(|submitted| Value::Object(reply(store, submitted))).collect();
    context.out.object(&object([
        ("status", "ok".into()),
        ("count", results.len().into()),
        ("results", results.into()),
    ]))?;
    Ok(CommandExit::Done)
}

/// Returns the result of a retry as JSON.
fn reply(store: &Store, submitted: &SubmittedTask) -> Object {
    object([
        ("status", "retried".into()),
        ("retry_of", submitted.task.spec.retry_of.clone().into()),
        ("task_id", submitted.task.id.as_str().into()),
        ("existing", submitted.existing.into()),
        ("task", Value::Object(store.shown(submitted.task.clone()).to_public_object())),
    ])
}

/// Submits a failed task again, and returns the line and the object to print.
pub(super) fn retry(context: &CommandContext, store: &Store, id: &TaskId) -> Result<(String, Object)> {
    let submitted = store.retry(id, &env::user())?;
    if submitted.existing {
        context.out.note(&format!("lanes: {id} was retried before"));
    }
    Ok((submitted.task.id.to_string(), reply(store, &submitted)))
}
