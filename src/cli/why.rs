//! `lanes why`: explains what a task is waiting for.

use clap::Args;

use super::colour::{Colour, painted};
use super::context::CommandContext;
use super::exit::CommandExit;
use crate::error::{Result, printable};
use crate::model::task::object;
use crate::workspace::why;

/// Explain what a task is waiting for.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes why d64cf2")]
pub(super) struct WhyCommand {
    /// Id of the task; its beginning or end suffices if unique
    #[arg(value_name = "ID")]
    id: String,
}

impl WhyCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        let store = context.store()?;
        let task = store.task(&store.resolve(&self.id)?)?;
        let reason = why(&store, &task)?;
        let task = store.shown(task);
        if context.out.json {
            context.out.object(&object([
                ("status", "ok".into()),
                ("task_id", task.id.as_str().into()),
                ("state", task.status.as_str().into()),
                ("reason", reason.code.into()),
                ("message", reason.sentence.into()),
            ]))?;
        } else {
            let colour = Colour::of_state(task.status.as_str()).filter(|_| context.out.is_coloured());
            context.out.line(&painted(&printable(&context.out.sentence(&reason.sentence)), colour))?;
        }
        Ok(CommandExit::Done)
    }
}
