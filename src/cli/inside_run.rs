//! Refuses certain commands to agents.
//!
//! Agents are often allowed to run `lanes`. This must not allow them to run arbitrary programs: a dispatcher that
//! an agent starts would run any program that the agent names, without the agent's own restrictions. Every process
//! of a run is therefore refused the commands that decide what runs, where, and as which user. An agent with a
//! shell can remove the mark of its run from the environment; only its own sandbox prevents that.

use super::context::CommandContext;
use super::env;
use crate::error::{Error, Result};
use crate::guard::process_tree::RUN_ID_VARIABLE;
#[cfg(feature = "mcp")]
use crate::guard::process_tree::is_below_a_guard;
use crate::model::NewTask;

/// Returns whether an agent of a dispatcher, or a process that it started, runs this command. Without the mark of the
/// run, which not every agent's program passes on, a guard among the ancestors shows it.
#[cfg(feature = "mcp")]
pub(super) fn is_inside_run() -> bool {
    env::is_inside_run() || is_below_a_guard()
}

/// Refuses `command` to a process whose environment has the mark of a run, unless `--inside-run` is given.
///
/// # Errors
/// `Refused`, naming the flag.
pub(super) fn refuse(context: &CommandContext, command: &str) -> Result<()> {
    if env::is_inside_run() { refuse_shown_by(context, command, RUN_ID_VARIABLE) } else { Ok(()) }
}

/// Refuses an agent a task with commands: they would run without the restrictions of the agent.
///
/// # Errors
/// As [`refuse`].
pub(super) fn refuse_commands(context: &CommandContext, task: &NewTask) -> Result<()> {
    if task.spec.verify.is_empty() { Ok(()) } else { refuse(context, "submit with verify") }
}

/// Refuses `command` to a process of a run, which `evidence` shows it to be, unless `--inside-run` is given.
///
/// # Errors
/// `Refused`, naming the flag.
pub(super) fn refuse_shown_by(context: &CommandContext, command: &str, evidence: &str) -> Result<()> {
    if context.global.inside_run {
        return Ok(());
    }
    Err(Error::refused(format!(
        "{command} is not for agents, and {evidence} shows that a dispatcher's agent runs it"
    ))
    .with_hint("add --inside-run if a person wants it"))
}
