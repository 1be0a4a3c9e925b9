//! `lanes next` and `lanes watch`: wait for the next task of a lane and show it, without claiming it.

use clap::Args;
use serde_json::Value;

use super::args::{LaneQueryArgs, WaitArgs};
use super::context::CommandContext;
use super::exit::CommandExit;
use super::idle::print_idle;
use super::task_fields::TaskFieldsArg;
use super::waiting::wait_for_task;
use crate::error::Result;
use crate::model::task::object;

/// Wait until a task of a lane can be claimed, and show it.
///
/// It is not claimed. To take a task, use `claim --lane`, which finds and claims it in one step.
#[derive(Args, Debug)]
#[command(mut_arg("lane", |lane| lane.required(true)))]
#[command(after_help = "Examples:\n  lanes next --lane review --timeout 0\n  lanes watch --lane review")]
pub(super) struct NextCommand {
    #[command(flatten)]
    want: LaneQueryArgs,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    fields: TaskFieldsArg,
}

impl NextCommand {
    pub(super) fn run(&self, context: &mut CommandContext, verb: &str) -> Result<CommandExit> {
        self.fields.apply(context)?;
        wait_on_lanes(context, &self.want, &self.wait, verb)
    }
}

pub(super) fn wait_on_lanes(
    context: &mut CommandContext,
    want: &LaneQueryArgs,
    wait: &WaitArgs,
    verb: &str,
) -> Result<CommandExit> {
    let want = want.query()?;
    let timing = wait.timing()?;
    let store = if wait.timeout > 0.0 { context.store_or_new()? } else { context.store()? };
    if wait.timeout > 0.0 {
        context.note_misspelt_lanes(&store, &want.lanes);
    }
    let task = wait_for_task(context, &store, &want.lanes, verb, timing, || store.peek_next(&want))?;
    match task {
        Some(task) if context.out.json => context.out.object(&object([
            ("status", "task_available".into()),
            ("lane", task.spec.lane.clone().into()),
            ("task", Value::Object(store.shown(task).to_public_object())),
        ]))?,
        Some(task) => context.out.line(task.id.as_str())?,
        None => print_idle(context, &store, &want, wait.timeout)?,
    }
    Ok(CommandExit::Done)
}
