//! `lanes move`: moves a waiting task to another lane.

use clap::Args;
use serde_json::Value;

use super::context::CommandContext;
use super::exit::CommandExit;
use super::task_fields::TaskFieldsArg;
use super::view::{change_reply, print_reply};
use crate::error::Result;
use crate::model::{Command, LaneName};

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
        let misspelt = context.misspelt_lane(&store, &lane);
        let (task, effect) = store.apply(&id, &Command::Move { lane })?;
        if let Some(said) = misspelt {
            context.out.note(&format!("lanes: {said}"));
        }
        let lane = Value::from(task.spec.lane.clone());
        let mut reply = change_reply("moved", &store, task, effect);
        reply.insert("lane".to_string(), lane);
        print_reply(&mut context.out, &id, &reply)
    }
}
