//! The flags of `mcp` that decide what a server offers.

use std::time::Duration;

use clap::Args;

use super::args::{amount, seconds, span};
use super::on_demand_dispatcher::OnDemandStarter;
use crate::dispatch::config::options::DEFAULT_IDLE_EXIT;
use crate::error::{Error, Result};
use crate::mcp::{AgentDispatch, ToolSet};
use crate::workspace::AgentRights;

/// The flags that decide what a server offers.
#[derive(Args, Clone, Debug)]
pub(super) struct McpServerArgs {
    /// The tools to offer: caller, worker, admin, all (of these), or compat; several with commas [default: caller,worker]
    #[arg(long, value_name = "SETS", value_delimiter = ',')]
    pub tools: Vec<String>,
    /// Where there is no workspace, use a queue of your own, which is created below $XDG_STATE_HOME/lanes
    #[arg(long)]
    pub user: bool,
    /// Offer the prompt `worker`, which clients may show as a slash command
    #[arg(long)]
    pub prompts: bool,
    /// Maximum time that a call waits: seconds, or 5m [default: by client, 50 s for unknown ones]
    #[arg(long, value_name = "SPAN", value_parser = seconds, allow_negative_numbers = true)]
    pub max_wait: Option<f64>,
    /// Total cost limit of the runs that a session delegates, in US dollars; once it is spent, `delegate` is refused
    #[arg(long, value_name = "USD", value_parser = amount, allow_negative_numbers = true)]
    pub budget: Option<f64>,
    /// With the admin tools, also give agents more rights than they have, except those that bypass all permissions
    #[arg(long)]
    pub allow_rights: bool,
    /// Print a line for each call on standard error
    #[arg(long)]
    pub verbose: bool,
    /// Start no dispatcher for an agent that nobody serves
    #[arg(long)]
    pub no_dispatch: bool,
    /// End the dispatcher that is started for an agent with this server, and its agents with it
    #[arg(long, conflicts_with = "no_dispatch")]
    pub attached: bool,
    /// With the tool of permissions, how long a question is open
    #[arg(long, value_name = "SPAN", value_parser = span, hide = true)]
    pub permission_expires: Option<Duration>,
    /// How long a dispatcher that was started on demand stays without work [default: 60s]
    #[arg(long, value_name = "SPAN", value_parser = span, conflicts_with = "no_dispatch")]
    pub idle_exit: Option<Duration>,
}

impl McpServerArgs {
    /// Returns the sets of tools.
    ///
    /// # Errors
    /// As [`tool_sets`].
    pub(super) fn tool_sets(&self) -> Result<Vec<ToolSet>> {
        tool_sets(&self.tools, "--tools")
    }

    /// Returns how far a client may change agents.
    pub(super) fn agent_rights(&self) -> AgentRights {
        if self.allow_rights { AgentRights::WithinRoots } else { AgentRights::WithoutMoreRights }
    }

    /// Returns how the agents get a dispatcher; `is_inside_run` where an agent of a dispatcher asks.
    pub(super) fn agent_dispatch(&self, is_inside_run: bool) -> AgentDispatch {
        if is_inside_run {
            // It would run programs without the restrictions of the agent, and end with the run.
            AgentDispatch::Never(
                "an agent of a dispatcher asks, whose own dispatcher serves what it delegates",
            )
        } else if self.no_dispatch {
            AgentDispatch::Never("--no-dispatch was given to lanes mcp")
        } else {
            let idle_exit = self.idle_exit.unwrap_or(DEFAULT_IDLE_EXIT);
            AgentDispatch::OnDemand(Box::new(OnDemandStarter::new(idle_exit, self.attached)))
        }
    }

    /// Returns the longest time that a call waits, in seconds.
    ///
    /// # Errors
    /// `Invalid` when it is negative or longer than a day.
    pub(super) fn max_wait_seconds(&self) -> Result<Option<u64>> {
        self.max_wait
            .map(|seconds| match seconds {
                seconds if (0.0..=86_400.0).contains(&seconds) => Ok(seconds as u64),
                _ => Err(Error::invalid("--max-wait must be from 0 seconds to a day")),
            })
            .transpose()
    }
}

/// Returns the sets of tools that the words of a flag name; without words, the default.
///
/// # Errors
/// `Invalid` for an unknown set.
pub(super) fn tool_sets(words: &[String], flag: &str) -> Result<Vec<ToolSet>> {
    if words.is_empty() {
        return Ok(ToolSet::DEFAULT.to_vec());
    }
    let mut sets = Vec::new();
    for word in words {
        match word.as_str() {
            "all" => sets.extend(ToolSet::ALL),
            word => sets.push(word.parse().map_err(|why| Error::invalid(format!("{flag}: {why}, all")))?),
        }
    }
    Ok(sets)
}
