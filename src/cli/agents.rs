//! `lanes agents`: shows the agents of a workspace, and changes those in the store.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::agents_change::{
    AddAgentCommand, AgentNameArgs, ImportAgentsCommand, RemoveAgentCommand, SetAgentCommand,
};
use super::context::CommandContext;
use super::env;
use super::exit::CommandExit;
use super::table::Table;
use crate::dispatch::config::agent_inspection::{add_typical_run, inspect_agents};
use crate::dispatch::config::consent::ConsentPolicy;
use crate::dispatch::config::options::ProcessContext;
use crate::error::{Error, Result, brief_list, printable};
use crate::model::AgentName;
use crate::model::task::object;
use crate::store::Store;
use crate::workspace::{AgentReport, Config, MAX_DESCRIPTION, describe_directory, did_you_mean};

/// Show the agents of the workspace, or change them.
///
/// Only those that are kept in the store can be changed. The agent NAME serves the lane agent/NAME. Agents are defined under `agents:` in handoff.yaml, in the file that
/// `agents_from` names, or by this command in agents.json in the store.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  lanes agents
  lanes agents show infra
  lanes agents add infra --directory ../infra --model sonnet
  lanes agents set infra --permission-mode plan --unset model
  lanes agents import ~/.config/agent-dispatch/agents.yaml")]
pub(super) struct AgentsCommand {
    #[command(subcommand)]
    action: Option<AgentsAction>,
}

/// What is done with the agents; by default, they are listed.
#[derive(Subcommand, Debug)]
enum AgentsAction {
    /// List the agents (default)
    #[command(name = "list", after_help = "Examples:\n  lanes agents list --json")]
    List,
    /// Show an agent with its settings, and how long and costly its runs usually are
    #[command(name = "show", after_help = "Examples:\n  lanes agents show infra")]
    Show(AgentNameArgs),
    /// Print the description that is made from an agent's directory
    #[command(name = "describe", after_help = "Examples:\n  lanes agents describe infra")]
    Describe(AgentNameArgs),
    #[command(
        name = "add",
        after_help = "Examples:\n  lanes agents add infra --directory ../infra --model sonnet"
    )]
    Add(AddAgentCommand),
    #[command(
        name = "set",
        after_help = "Examples:\n  lanes agents set infra --permission-mode plan --unset model"
    )]
    Set(SetAgentCommand),
    #[command(name = "remove", after_help = "Examples:\n  lanes agents remove infra")]
    Remove(RemoveAgentCommand),
    #[command(
        name = "import",
        after_help = "Examples:\n  lanes agents import ~/.config/agent-dispatch/agents.yaml"
    )]
    Import(ImportAgentsCommand),
}

impl AgentsCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        match &self.action {
            None | Some(AgentsAction::List) => list(context),
            Some(AgentsAction::Show(agent)) => show(context, &agent.name),
            Some(AgentsAction::Describe(agent)) => describe(context, &agent.name),
            Some(AgentsAction::Add(command)) => command.run(context),
            Some(AgentsAction::Set(command)) => command.run(context),
            Some(AgentsAction::Remove(command)) => command.run(context),
            Some(AgentsAction::Import(command)) => command.run(context),
        }
    }
}

/// Returns the workspace, and its store if it exists.
fn workspace(context: &CommandContext) -> Result<(Config, Option<Store>)> {
    let config = context.config()?;
    // A store that is named must be there.
    let is_needed = context.explicit_paths().1.is_some() || config.store_root.is_dir();
    let store = if is_needed { Some(context.store()?) } else { None };
    Ok((config, store))
}

/// Returns this process as a dispatcher that it would be.
pub(super) fn process_context() -> ProcessContext {
    ProcessContext {
        environment: env::all_variables(),
        cwd: std::env::current_dir().unwrap_or_default(),
        pid: std::process::id(),
        program: env::own_program(),
        consent: ConsentPolicy::AllowAll,
    }
}

fn list(context: &mut CommandContext) -> Result<CommandExit> {
    let (config, store) = workspace(context)?;
    let agents = inspect_agents(&config, store.as_ref(), &process_context())?;
    if context.out.json {
        let list: Vec<Value> = agents.values().map(|agent| agent.to_object().into()).collect();
        context.out.object(&object([
            ("status", "ok".into()),
            ("count", agents.len().into()),
            ("agents", list.into()),
        ]))?;
        return Ok(CommandExit::Done);
    }
    if agents.is_empty() {
        context.out.note("lanes: no agents; `lanes agents add NAME --directory DIR` adds one");
        return Ok(CommandExit::Done);
    }
    let mut table = Table::new(&["NAME", "VENDOR", "MODEL", "WHERE", "DESCRIPTION"]);
    for agent in agents.values() {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_string());
        let description: String = agent.description.chars().take(MAX_DESCRIPTION).collect();
        let parts = agent.warnings().into_iter().chain(Some(description).filter(|text| !text.is_empty()));
        table.row(vec![
            agent.name.as_str().to_string(),
            text(&agent.vendor),
            text(&agent.model),
            agent.source.as_str().to_string(),
            parts.collect::<Vec<_>>().join("; "),
        ]);
    }
    table.print(&mut context.out)?;
    Ok(CommandExit::Done)
}

/// Returns the agent called `name`.
fn find(agents: BTreeMap<AgentName, AgentReport>, name: &str) -> Result<AgentReport> {
    let name = AgentName::new(name)?;
    let mut agents = agents;
    match agents.remove(&name) {
        Some(agent) => Ok(agent),
        None => {
            let error =
                Error::not_found(format!("no agent '{}' in this workspace", printable(name.as_str())));
            Err(match agents.is_empty() {
                true => error.with_hint("`lanes agents add NAME --directory DIR` adds one"),
                false => {
                    let known: Vec<&str> = agents.keys().map(AgentName::as_str).collect();
                    let similar = did_you_mean(name.as_str(), &known);
                    error.with_hint(similar.unwrap_or_else(|| format!("choose one of {}", brief_list(known))))
                }
            })
        }
    }
}

fn show(context: &mut CommandContext, name: &str) -> Result<CommandExit> {
    let (config, store) = workspace(context)?;
    let mut agent = find(inspect_agents(&config, store.as_ref(), &process_context())?, name)?;
    if let Some(store) = &store {
        add_typical_run(&mut agent, store)?;
    }
    if context.out.json {
        context.out.object(&object([("status", "ok".into()), ("agent", agent.to_object().into())]))?;
        return Ok(CommandExit::Done);
    }
    for line in agent.lines() {
        context.out.line(&line)?;
    }
    Ok(CommandExit::Done)
}

fn describe(context: &mut CommandContext, name: &str) -> Result<CommandExit> {
    let (config, store) = workspace(context)?;
    let agent = find(inspect_agents(&config, store.as_ref(), &process_context())?, name)?;
    let directory = agent.directory.unwrap_or_else(|| config.workspace_root.clone());
    let description = describe_directory(&directory);
    if context.out.json {
        context.out.object(&object([
            ("status", "ok".into()),
            ("name", agent.name.as_str().into()),
            ("description", description.into()),
        ]))?;
        return Ok(CommandExit::Done);
    }
    if description.is_empty() {
        let directory = printable(&directory.to_string_lossy());
        context.out.note(&format!("lanes: nothing in {directory} says what it is for"));
        return Ok(CommandExit::Done);
    }
    context.out.line(&printable(&description))?;
    Ok(CommandExit::Done)
}
