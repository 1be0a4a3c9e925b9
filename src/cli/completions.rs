//! `lanes completions`: prints the completion script of a shell.

use clap::Args;
use clap_complete::Shell;

use super::complete;
use super::context::CommandContext;
use super::exit::CommandExit;
use crate::error::Result;

/// Print the completion script for a shell.
///
/// It completes commands, flags, files, and the lanes and task ids of the current queue.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  source <(lanes completions bash)\n  source <(lanes completions zsh)\n  lanes completions fish | source"
)]
pub(super) struct CompletionsCommand {
    /// Shell to complete in
    #[arg(value_enum)]
    shell: Shell,
}

impl CompletionsCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        context.out.raw(&complete::script(&self.shell.to_string())?)?;
        Ok(CommandExit::Done)
    }
}
