//! `lanes mcp`: the queue as the tools of a chat.

use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use clap::Args;

use super::args::span;
use super::context::CommandContext;
use super::env;
use super::exit::CommandExit;
use super::inside_run;
use crate::error::{Error, Result};
use crate::mcp::{self, McpOptions, ToolSet};
use crate::store::Store;
use crate::workspace::{BaseDir, Config, LocateOptions, locate};

/// Serve the queue as tools over the Model Context Protocol, on standard input and output.
///
/// A client such as Claude Code, Codex or Gemini starts this command. Work that it delegates is in the queue and
/// goes on when the client ends.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  lanes mcp
  lanes mcp --user --tools caller
  lanes mcp --config ~/projects/handoff/handoff.yaml")]
pub(super) struct McpCommand {
    /// The tools to offer: caller, worker, admin, or all; several with commas [default: caller,worker]
    #[arg(long, value_name = "SETS", value_delimiter = ',')]
    tools: Vec<String>,
    /// Where there is no workspace, use a queue of your own, which is made below $XDG_STATE_HOME/lanes
    #[arg(long)]
    user: bool,
    /// Offer the prompt `worker`, which clients may show as a slash command
    #[arg(long)]
    prompts: bool,
    /// The longest time that a call waits: seconds, or 5m [default: by client, 50 s for unknown ones]
    #[arg(long, value_name = "SPAN", value_parser = span, allow_negative_numbers = true)]
    max_wait: Option<f64>,
}

impl McpCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        let tools = self.tool_sets()?;
        if tools.contains(&ToolSet::Admin) {
            inside_run::refuse(context, "mcp --tools admin")?;
        }
        let max_wait = self.max_wait.map(|seconds| match seconds {
            seconds if (0.0..=86_400.0).contains(&seconds) => Ok(seconds as u64),
            _ => Err(Error::invalid("--max-wait must be from 0 seconds to a day")),
        });
        let find = self.workspace_finder(context)?;
        if std::io::stdin().is_terminal() {
            context.out.note("lanes mcp: a client starts this command: `claude mcp add lanes -- lanes mcp`");
        }
        let store_options = context.store_options()?;
        let random = store_options.entropy.draw(store_options.clock.now().wall);
        let find_again = find.clone();
        mcp::serve(McpOptions {
            tools,
            has_prompts: self.prompts,
            queue: Box::new(move || {
                let config = find.config()?;
                let store = Store::open(&config.store_root, store_options.clone())?;
                Ok((config, store))
            }),
            config: Box::new(move || find_again.config().ok()),
            session: env::client_session(),
            random,
            depth: env::depth(),
            max_wait: max_wait.transpose()?,
            input: Box::new(own(std::io::stdin().as_fd(), "standard input")?),
            output: Box::new(own(std::io::stdout().as_fd(), "standard output")?),
        })?;
        Ok(CommandExit::Done)
    }

    fn tool_sets(&self) -> Result<Vec<ToolSet>> {
        if self.tools.is_empty() {
            return Ok(ToolSet::DEFAULT.to_vec());
        }
        let mut sets = Vec::new();
        for word in &self.tools {
            match word.as_str() {
                "all" => sets.extend(ToolSet::ALL),
                word => {
                    sets.push(word.parse().map_err(|why| Error::invalid(format!("--tools: {why}, all")))?)
                }
            }
        }
        Ok(sets)
    }

    fn workspace_finder(&self, context: &CommandContext) -> Result<WorkspaceFinder> {
        let (config, store) = context.explicit_paths();
        let own_queue = match self.user {
            true => Some(env::user_queue().ok_or_else(|| {
                Error::config("--user needs a home directory").with_hint("set HOME or XDG_STATE_HOME")
            })?),
            false => None,
        };
        Ok(WorkspaceFinder { config, store, own_queue })
    }
}

/// Finds the workspace, each time anew: it may be made while the server runs.
#[derive(Clone, Debug)]
struct WorkspaceFinder {
    config: Option<PathBuf>,
    store: Option<PathBuf>,
    own_queue: Option<PathBuf>,
}

impl WorkspaceFinder {
    fn config(&self) -> Result<Config> {
        locate(&LocateOptions {
            config: self.config.as_deref(),
            store: self.store.as_deref(),
            fallback_store: self.own_queue.as_deref(),
            base: &BaseDir::current(),
            identity: env::identity(),
        })
    }
}

/// A standard stream by a descriptor of its own, for a thread that may wait on it.
fn own(stream: BorrowedFd<'_>, name: &str) -> Result<File> {
    stream.try_clone_to_owned().map(File::from).map_err(|error| Error::io("use", name, error))
}
