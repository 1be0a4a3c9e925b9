//! `lanes retry`: submits failed tasks again.

use clap::Args;
use serde_json::Value;

use super::context::{CommandContext, resolve_all};
use super::each_task::for_each_task;
use super::env;
use super::exit::CommandExit;
use crate::error::Result;
use crate::model::TaskId;
use crate::model::json::Object;
use crate::model::task::object;
use crate::store::Store;

/// Submit a failed task again, as a new task with a new id.
///
/// The failed task stays as it is and names its successor; a second retry returns the same successor.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes retry d64cf2")]
pub(super) struct RetryCommand {
    /// Ids of the tasks; their beginnings or ends suffice if unique
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
}

impl RetryCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        let store = context.store()?;
        let ids = resolve_all(&store, &self.ids)?;
        for_each_task(context, &ids, ids.len() > 1, |context, id| retry(context, &store, id))
    }
}

/// Submits a failed task again, and returns the line and the object to print.
pub(super) fn retry(context: &CommandContext, store: &Store, id: &TaskId) -> Result<(String, Object)> {
    let submitted = store.retry(id, &env::user())?;
    if submitted.existing {
        context.out.note(&format!("lanes: {id} was retried before"));
    }
    let reply = object([
        ("status", "retried".into()),
        ("retry_of", id.as_str().into()),
        ("task_id", submitted.task.id.as_str().into()),
        ("existing", submitted.existing.into()),
        ("task", Value::Object(submitted.task.to_public_object())),
    ]);
    Ok((submitted.task.id.to_string(), reply))
}
