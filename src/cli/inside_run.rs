//! Commands that agents are refused.
//!
//! Agents are often allowed to run `lanes`. That must not become a way to run anything: a dispatcher
//! started by an agent runs whichever program the agent names, without the limits that the agent has. So
//! what decides what runs, where and as what is refused to every process of a run. An agent with a shell
//! can drop the mark of its run from the environment: against that its own sandbox must help.

use super::context::CommandContext;
use super::env;
use crate::dispatch::agent::process_tree::MARKER;
use crate::error::{Error, Result};

/// Refuses `command` to the processes of a run, unless `--inside-run` is given.
///
/// # Errors
/// `Refused`, naming the flag.
pub(super) fn refuse(context: &CommandContext, command: &str) -> Result<()> {
    if context.global.inside_run || !env::is_inside_run() {
        return Ok(());
    }
    Err(Error::refused(format!(
        "{command} is not for agents, and {MARKER} says that a dispatcher's agent gave it"
    ))
    .with_hint("give --inside-run as well if a person wants it so"))
}
