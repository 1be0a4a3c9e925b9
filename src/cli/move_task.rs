//! `lanes move`: moves a waiting task to another lane.

use clap::Args;
use serde_json::Value;

use super::context::CommandContext;
use super::exit::CommandExit;
use super::task_fields::TaskFieldsArg;
use crate::error::Result;
use crate::model::task::object;
use crate::model::{Command, Effect, LaneName};

/// Move a waiting task to another lane.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes move d64cf2 --to review")]
pub(super) struct MoveCommand {
    /// Id of the task; its beginning or end suffices if unique
    #[arg(value_name = "ID")]
    id: String,
    /// The new lane
    #[arg(long, value_name = "LANE")]
    to: String,
    #[command(flatten)]
    fields: TaskFieldsArg,
}

impl MoveCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        self.fields.apply(context)?;
        let lane = LaneName::new(self.to.as_str())?;
        let store = context.store()?;
        let id = store.resolve(&self.id)?;
        let (task, effect) = store.apply(&id, &Command::Move { lane })?;
        if context.out.json {
            context.out.object(&object([
                ("status", "moved".into()),
                ("task_id", id.as_str().into()),
                ("lane", task.spec.lane.clone().into()),
                ("changed", (effect == Effect::Changed).into()),
                ("task", Value::Object(store.shown(task).to_public_object())),
            ]))?;
        } else {
            context.out.line(id.as_str())?;
        }
        Ok(CommandExit::Done)
    }
}
