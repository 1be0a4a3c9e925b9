//! `lanes bridge`: boards outside whose cards become tasks.

use clap::{Args, Subcommand};

use super::bridge_test::BridgeTestCommand;
use super::context::CommandContext;
use super::exit::CommandExit;
use crate::error::Result;

/// Work with a board outside.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes bridge test -- ./adapter")]
pub(super) struct BridgeCommand {
    #[command(subcommand)]
    action: BridgeAction,
}

/// What to do with a board.
#[derive(Subcommand, Debug)]
enum BridgeAction {
    #[command(name = "test")]
    Test(BridgeTestCommand),
}

impl BridgeCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        match &self.action {
            BridgeAction::Test(command) => command.run(context),
        }
    }
}
