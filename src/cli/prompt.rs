//! `lanes prompt`: prints the instructions for an agent that works on the queue, or that submits to it.

use clap::{Args, ValueEnum};

use super::context::CommandContext;
use super::exit::CommandExit;
use super::setup::SECTION;
use crate::error::{Error, Result};
use crate::model::LaneName;
use crate::model::task::object;
use crate::workspace::worker_prompt;

/// Print instructions to paste into a chat.
///
/// `worker` makes a chat that can run commands claim and answer tasks until it is stopped. `submitter` tells an agent
/// when and how to hand over work, as `lanes setup` does for every agent of a project.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  lanes prompt worker --lane review\n  lanes prompt submitter\n  claude \"$(lanes prompt worker)\""
)]
pub(super) struct PromptCommand {
    /// Who is instructed
    #[arg(value_enum)]
    role: PromptRole,
    /// The lane that a worker serves; several are tried in the given order [default: those of handoff.yaml]
    #[arg(long, short, value_name = "LANE")]
    lane: Vec<String>,
}

/// Who is instructed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PromptRole {
    /// A chat that claims and answers tasks
    Worker,
    /// An agent that submits tasks
    Submitter,
}

impl PromptCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        let text = match self.role {
            PromptRole::Worker => self.worker(context)?,
            PromptRole::Submitter if self.lane.is_empty() => SECTION.to_string(),
            PromptRole::Submitter => {
                return Err(Error::invalid("--lane is for a worker")
                    .with_hint("a submitter chooses a lane for each task"));
            }
        };
        if context.out.json {
            context.out.object(&object([("status", "ok".into()), ("prompt", text.into())]))?;
        } else {
            context.out.raw(text.as_bytes())?;
        }
        Ok(CommandExit::Done)
    }

    fn worker(&self, context: &CommandContext) -> Result<String> {
        let given: Vec<LaneName> = self.lane.iter().map(LaneName::new).collect::<Result<_>>()?;
        let config = context.config()?;
        let lanes: Vec<&str> = match given.is_empty() {
            true => config.lanes.keys().map(LaneName::as_str).collect(),
            false => given.iter().map(LaneName::as_str).collect(),
        };
        if lanes.is_empty() {
            return Err(
                Error::invalid_here("no lane is described in handoff.yaml").with_hint("name one with --lane")
            );
        }
        worker_prompt(&config, &lanes)
    }
}
