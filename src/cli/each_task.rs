//! Applies one action to several tasks, and prints one reply for all of them.

use serde_json::Value;

use super::context::CommandContext;
use super::exit::CommandExit;
use crate::error::Result;
use crate::model::TaskId;
use crate::model::json::Object;
use crate::model::task::object;

/// Applies `act` to each task in turn and prints the results: one line each, or one JSON object, with a list of
/// results when `several` is set. The results before a failure are printed too.
///
/// # Errors
/// The first failure of `act`.
pub(super) fn for_each_task(
    context: &mut CommandContext,
    ids: &[TaskId],
    several: bool,
    act: impl Fn(&CommandContext, &TaskId) -> Result<(String, Object)>,
) -> Result<CommandExit> {
    let mut done = Vec::new();
    let mut failure = None;
    for id in ids {
        match act(context, id) {
            Ok(reply) => done.push(reply),
            Err(error) => {
                context.out.task_of_failure = Some(id.to_string());
                failure = Some(error);
                break;
            }
        }
    }
    if !context.out.json {
        for (line, _) in done {
            context.out.line(&line)?;
        }
    } else if several {
        let results: Vec<Value> = done.into_iter().map(|(_, reply)| Value::Object(reply)).collect();
        let status = if failure.is_none() { "ok" } else { "incomplete" };
        context.out.object(&object([
            ("status", status.into()),
            ("count", results.len().into()),
            ("results", results.into()),
        ]))?;
    } else {
        for (_, reply) in done {
            context.out.object(&reply)?;
        }
    }
    failure.map_or(Ok(CommandExit::Done), Err)
}
