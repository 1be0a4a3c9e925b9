//! `lanes mcp`: the queue as the tools of a chat.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::agent_registry::ChatAgents;
use super::context::CommandContext;
use super::env;
use super::exit::CommandExit;
use super::inside_run;
use super::mcp_budget::session_budget;
use super::mcp_install::McpInstallCommand;
use super::mcp_server_args::McpServerArgs;
use super::mcp_settings::settings_reader;
use crate::dispatch::agent::mcp_access::McpAccess;
use crate::dispatch::config::load::recursion_limits;
use crate::error::{Error, Result};
use crate::mcp::{self, McpOptions, PermissionAsker, QueueSource, ToolSet};
use crate::store::Store;
use crate::workspace::{BaseDir, Config, LocateOptions, locate};

/// Serve the queue as tools over the Model Context Protocol.
///
/// A client such as Claude Code, Codex or Gemini starts this command. Work that it delegates is in the queue and
/// continues when the client ends.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  lanes mcp install --client claude
  lanes mcp
  lanes mcp --user --tools caller
  lanes mcp --config ~/projects/handoff/handoff.yaml"
)]
pub(super) struct McpCommand {
    #[command(flatten)]
    server: McpServerArgs,
    #[command(subcommand)]
    action: Option<McpAction>,
}

/// The action instead of serving.
#[derive(Subcommand, Debug)]
enum McpAction {
    #[command(name = "install")]
    Install(McpInstallCommand),
}

impl McpCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        match &self.action {
            Some(McpAction::Install(command)) => command.run(context),
            None => self.serve(context),
        }
    }

    fn serve(&self, context: &mut CommandContext) -> Result<CommandExit> {
        let mut tools = self.server.tool_sets()?;
        let run = env::enclosing_run()?;
        for set in [ToolSet::Admin, ToolSet::Compat] {
            if tools.contains(&set) && run.is_some() {
                // The mark of the run may be missing here.
                inside_run::refuse_shown_by(context, &format!("mcp --tools {}", set.as_str()), "its run")?;
            }
        }
        let is_withheld = run.as_ref().is_some_and(|run| run.mcp == McpAccess::Off);
        if is_withheld {
            tools.retain(|set| *set == ToolSet::Permission);
        }
        let permission = match tools.contains(&ToolSet::Permission) {
            true => Some(self.permission_asker()?),
            false => None,
        };
        let max_wait = self.server.max_wait_seconds();
        let find = self.workspace_finder(context)?;
        if std::io::stdin().is_terminal() {
            context.out.note(
                "lanes mcp: a client starts this command: `lanes mcp install --client claude` registers it",
            );
        }
        let store_options = context.store_options()?;
        let clock = store_options.clock.clone();
        let random = store_options.entropy.next(store_options.clock.now().wall);
        let find_again = find.clone();
        mcp::serve(McpOptions {
            tools,
            has_prompts: self.server.prompts && !is_withheld,
            queue: QueueSource {
                open: Box::new(move || {
                    let config = find.config()?;
                    let store = Store::open(&config.store_root, store_options.clone())?;
                    Ok((config, store))
                }),
                agent_settings: settings_reader(context),
            },
            dispatch: self.server.agent_dispatch(inside_run::is_inside_run()),
            config: Box::new(move || find_again.config().ok()),
            agents: Arc::new(ChatAgents { rights: self.server.agent_rights() }),
            session: env::client_session(),
            random,
            chain: match run {
                Some(run) => Some(run.chain),
                None => env::agent_chain()?,
            },
            limits: recursion_limits,
            permission,
            budget: self.server.budget.map(session_budget).transpose()?,
            max_wait: max_wait?,
            input: Box::new(own_descriptor(std::io::stdin().as_fd(), "standard input")?),
            output: Box::new(own_descriptor(std::io::stdout().as_fd(), "standard output")?),
            log: self.server.verbose.then(log_on_standard_error).transpose()?,
            clock,
        })?;
        Ok(CommandExit::Done)
    }

    /// Returns the run for which permissions are asked: the one in whose environment this process is.
    fn permission_asker(&self) -> Result<PermissionAsker> {
        let Some((id, token)) = env::claimed_task() else {
            return Err(Error::invalid_here("--tools permission works only in the run of a dispatcher")
                .with_hint("set `permission_prompts: ask` in a route; its dispatcher starts this server"));
        };
        let expires = self.server.permission_expires.unwrap_or(Duration::from_secs(3600));
        PermissionAsker::new(&id, &token, expires)
    }

    fn workspace_finder(&self, context: &CommandContext) -> Result<WorkspaceFinder> {
        let (config, store) = context.explicit_paths();
        let own_queue = match self.server.user {
            true => Some(env::user_queue().ok_or_else(|| {
                Error::config("--user needs a home directory").with_hint("set HOME or XDG_STATE_HOME")
            })?),
            false => None,
        };
        Ok(WorkspaceFinder { config, store, own_queue })
    }
}

/// Finds the workspace each time it is needed: it may be created while the server runs.
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

/// Returns a log on standard error.
fn log_on_standard_error() -> Result<Box<dyn Write + Send>> {
    Ok(Box::new(own_descriptor(std::io::stderr().as_fd(), "standard error")?))
}

/// Returns a standard stream with a descriptor of its own, for a thread that may block on it.
fn own_descriptor(stream: BorrowedFd<'_>, name: &str) -> Result<File> {
    stream.try_clone_to_owned().map(File::from).map_err(|error| Error::io("use", name, error))
}
