//! The commands that change tasks at an operator's word: cancel, retry, redrive, move.

use clap::{ArgGroup, Args};
use serde_json::Value;

use super::context::{Context, resolve_all};
use super::env;
use super::exit::CommandExit;
use crate::error::Result;
use crate::model::json::Object;
use crate::model::task::object;
use crate::model::transition::check_redrive;
use crate::model::{Command, Effect, TaskId};
use crate::store::Store;
use crate::workspace::check_lane;

/// End tasks without an answer.
///
/// A claimed task's token is void at once: its worker learns at the next renew that it was
/// cancelled. Whoever waits for the task gets a failed answer.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes cancel d64cf2 --reason 'no longer needed'")]
pub struct CancelCommand {
    /// The tasks
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// Why, for the task's history
    #[arg(long)]
    reason: Option<String>,
    /// Who cancels [default: $USER]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

impl CancelCommand {
    pub(super) fn run(&self, context: &mut Context) -> Result<CommandExit> {
        let store = context.store()?;
        let by = self.by.clone().unwrap_or_else(env::user);
        let ids = resolve_all(&store, &self.ids)?;
        each(context, &ids, ids.len() > 1, |_, id| {
            let cancel = Command::Cancel { reason: self.reason.clone(), by: by.clone() };
            let (task, effect) = store.apply(id, &cancel)?;
            let reply = object([
                ("status", "cancelled".into()),
                ("task_id", id.as_str().into()),
                ("changed", (effect == Effect::Changed).into()),
                ("task", Value::Object(task.to_public_object())),
            ]);
            Ok((id.to_string(), reply))
        })
    }
}

/// Does `act` to each task in turn and tells what came of it: a line each, or in JSON one object,
/// with a list of results when `several` may be meant. What was done before a failure is told too.
fn each(
    context: &mut Context,
    ids: &[TaskId],
    several: bool,
    act: impl Fn(&Context, &TaskId) -> Result<(String, Object)>,
) -> Result<CommandExit> {
    let mut done = Vec::new();
    let mut failure = None;
    for id in ids {
        match act(context, id) {
            Ok(reply) => done.push(reply),
            Err(error) => {
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

/// Submit a failed task again, as a new task with a new id.
///
/// The failed task stays as it is and names its successor; asking twice gives the same successor.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes retry d64cf2")]
pub struct RetryCommand {
    /// The tasks
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
}

impl RetryCommand {
    pub(super) fn run(&self, context: &mut Context) -> Result<CommandExit> {
        let store = context.store()?;
        let ids = resolve_all(&store, &self.ids)?;
        each(context, &ids, ids.len() > 1, |context, id| retry(context, &store, id))
    }
}

/// Submit dead tasks again: those named, or all of a lane.
#[derive(Args, Debug)]
#[command(override_usage = "lanes redrive [OPTIONS] <ID>...\n       lanes redrive [OPTIONS] --lane <LANE>")]
#[command(after_help = "Examples:\n  lanes redrive --lane review")]
#[command(group(ArgGroup::new("what").args(["ids", "lane"]).required(true)))]
pub struct RedriveCommand {
    /// The tasks
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// All dead tasks of this lane that were not retried yet
    #[arg(long)]
    lane: Option<String>,
}

impl RedriveCommand {
    pub(super) fn run(&self, context: &mut Context) -> Result<CommandExit> {
        let store = context.store()?;
        let ids = match &self.lane {
            Some(lane) => store.dead_tasks(lane, &mut |error| context.out.warn(&error.to_string()))?,
            None => resolve_all(&store, &self.ids)?,
        };
        for id in &ids {
            check_redrive(&store.task(id)?)?;
        }
        if ids.is_empty() {
            context.out.note("lanes: no dead task to redrive");
        }
        let several = self.lane.is_some() || ids.len() > 1;
        each(context, &ids, several, |context, id| retry(context, &store, id))
    }
}

fn retry(context: &Context, store: &Store, id: &TaskId) -> Result<(String, Object)> {
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

/// Put a waiting task into another lane.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes move d64cf2 --to review")]
pub struct MoveCommand {
    /// The task
    #[arg(value_name = "ID")]
    id: String,
    /// The new lane
    #[arg(long, value_name = "LANE")]
    to: String,
}

impl MoveCommand {
    pub(super) fn run(&self, context: &mut Context) -> Result<CommandExit> {
        check_lane(&self.to)?;
        let store = context.store()?;
        let id = store.resolve(&self.id)?;
        let (task, effect) = store.apply(&id, &Command::Move { lane: self.to.clone() })?;
        if context.out.json {
            context.out.object(&object([
                ("status", "moved".into()),
                ("task_id", id.as_str().into()),
                ("lane", task.spec.lane.clone().into()),
                ("changed", (effect == Effect::Changed).into()),
                ("task", Value::Object(task.to_public_object())),
            ]))?;
        } else {
            context.out.line(id.as_str())?;
        }
        Ok(CommandExit::Done)
    }
}
