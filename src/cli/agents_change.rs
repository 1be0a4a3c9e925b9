//! `lanes agents add|set|remove|import`: change the agents in the store.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::args::{amount, number, seconds};
use super::context::CommandContext;
use super::env;
use super::exit::CommandExit;
use super::inside_run;
use crate::dispatch::config::agent_edit::AgentEditor;
use crate::dispatch::config::consent::ConsentPolicy;
use crate::dispatch::config::load::imported_agents;
use crate::error::{Error, Result, printable};
use crate::model::AgentName;
use crate::model::json::Object;
use crate::model::task::object;
use crate::store::Store;
use crate::workspace::SourceText;
use crate::workspace::{AgentChange, AgentRights, Config, agents, parse_pairs, read_agents_file};

/// The agent that a command is about.
#[derive(Args, Debug)]
pub(super) struct AgentNameArgs {
    /// Name of the agent
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// The settings of an agent that flags set.
#[derive(Args, Debug, Default)]
pub(super) struct AgentSettingsArgs {
    /// Description for those who choose an agent [default: made from its directory]
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// The vendor that serves it [default: `vendor` under dispatch in handoff.yaml]
    #[arg(long, value_name = "VENDOR")]
    vendor: Option<String>,
    /// Model of the vendor
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// The effort: low, medium, high, xhigh
    #[arg(long, value_name = "LEVEL")]
    effort: Option<String>,
    /// Time limit of a run: seconds, or 15m
    #[arg(long, value_name = "SPAN", value_parser = seconds, allow_negative_numbers = true)]
    timeout: Option<f64>,
    /// Cost limit of a run in US dollars, for vendors that support one
    #[arg(long, value_name = "USD", value_parser = amount, allow_negative_numbers = true)]
    max_budget_usd: Option<f64>,
    /// One of the vendor's permission modes, such as plan
    #[arg(long, value_name = "MODE")]
    permission_mode: Option<String>,
    /// A tool that runs without asking; repeatable, and `''` alone for none
    #[arg(long, value_name = "TOOL")]
    allowed_tool: Vec<String>,
    /// A tool that is denied; repeatable
    #[arg(long, value_name = "TOOL")]
    disallowed_tool: Vec<String>,
    /// Text that is placed before each task
    #[arg(long, value_name = "TEXT")]
    instructions: Option<String>,
    /// Maximum number of concurrent runs
    #[arg(long, value_name = "N", value_parser = number::<u32>, allow_negative_numbers = true)]
    max_concurrent: Option<u32>,
    /// A variable of its environment; repeatable
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// A further argument for the vendor's program; repeatable
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    arg: Vec<String>,
}

impl AgentSettingsArgs {
    /// Returns the settings that are given.
    fn settings(&self) -> Result<Object> {
        let list = |list: &[String]| match list {
            [] => Value::Null,
            [none] if none.is_empty() => json!([]),
            list => json!(list),
        };
        let env = match self.env.is_empty() {
            true => Value::Null,
            false => Value::Object(
                parse_pairs("--env", &self.env)?.into_iter().map(|(k, v)| (k, v.into())).collect(),
            ),
        };
        let mut settings = object([
            ("description", self.description.clone().into()),
            ("vendor", self.vendor.clone().into()),
            ("model", self.model.clone().into()),
            ("effort", self.effort.clone().into()),
            ("timeout", self.timeout.into()),
            ("max_budget_usd", self.max_budget_usd.into()),
            ("permission_mode", self.permission_mode.clone().into()),
            ("allowed_tools", list(&self.allowed_tool)),
            ("disallowed_tools", list(&self.disallowed_tool)),
            ("instructions", self.instructions.clone().into()),
            ("max_concurrent", self.max_concurrent.into()),
            ("env", env),
            ("args", list(&self.arg)),
        ]);
        settings.retain(|_, value| !value.is_null());
        Ok(settings)
    }
}

/// Add an agent
#[derive(Args, Debug)]
pub(super) struct AddAgentCommand {
    #[command(flatten)]
    agent: AgentNameArgs,
    /// The directory in which it works, which must exist
    #[arg(long, value_name = "DIR")]
    directory: PathBuf,
    #[command(flatten)]
    settings: AgentSettingsArgs,
}

/// Change an agent of the store: only what is given
#[derive(Args, Debug)]
pub(super) struct SetAgentCommand {
    #[command(flatten)]
    agent: AgentNameArgs,
    /// The directory in which it works, which must exist
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    #[command(flatten)]
    settings: AgentSettingsArgs,
    /// A setting to remove, such as model, so that the default applies; repeatable
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,
}

/// Remove an agent from the store
#[derive(Args, Debug)]
pub(super) struct RemoveAgentCommand {
    #[command(flatten)]
    agent: AgentNameArgs,
}

/// Copy the agents of a file of agent-dispatch into the store
#[derive(Args, Debug)]
pub(super) struct ImportAgentsCommand {
    /// The file, such as ~/.config/agent-dispatch/agents.yaml
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl AddAgentCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        let mut settings = self.settings.settings()?;
        settings.insert("directory".to_string(), directory(context, &self.directory)?);
        change(context, &self.agent.name, AgentChange::Add(settings), "added")
    }
}

impl SetAgentCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        let mut settings = self.settings.settings()?;
        if let Some(path) = &self.directory {
            settings.insert("directory".to_string(), directory(context, path)?);
        }
        if settings.is_empty() && self.unset.is_empty() {
            return Err(
                Error::invalid("nothing to change").with_hint("give a setting, or remove one with --unset")
            );
        }
        let set = AgentChange::Set { settings, unset: self.unset.clone() };
        change(context, &self.agent.name, set, "changed")
    }
}

impl RemoveAgentCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        change(context, &self.agent.name, AgentChange::Remove, "removed")
    }
}

/// Returns a directory that was given relative to the current one.
fn directory(context: &CommandContext, path: &Path) -> Result<Value> {
    let path = context.base.real(path)?;
    let text = path.to_str().ok_or_else(|| {
        Error::invalid(format!("the path is not UTF-8: {}", printable(&path.to_string_lossy())))
    })?;
    Ok(text.into())
}

/// Changes agents of the store on behalf of a person.
fn change_all(context: &CommandContext, config: &Config, changes: &[(AgentName, AgentChange)]) -> Result<()> {
    let store = Store::open(&config.store_root, context.store_options()?)?;
    let consent = ConsentPolicy::new(env::trust_records());
    let rights = AgentRights::Everything;
    AgentEditor { workspace: config, store: &store, consent: &consent, rights }.change_all(changes)
}

fn change(context: &mut CommandContext, name: &str, change: AgentChange, done: &str) -> Result<CommandExit> {
    inside_run::refuse(context, "a change of agents")?;
    let name = AgentName::new(name)?;
    change_all(context, &context.config()?, &[(name.clone(), change)])?;
    if context.out.json {
        context.out.object(&object([
            ("status", done.into()),
            ("name", name.as_str().into()),
            ("lane", name.lane().into()),
        ]))?;
    } else {
        context.out.line(&printable(&format!("agent {} {done}", name.as_str())))?;
    }
    Ok(CommandExit::Done)
}

impl ImportAgentsCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        inside_run::refuse(context, "agents import")?;
        let config = context.config()?;
        let (path, text) = read_agents_file(&config, &context.base.absolute(&self.file)?)?;
        let file = path.to_string_lossy();
        let base = path.parent().unwrap_or(&config.workspace_root);
        let section = imported_agents(SourceText { file: &file, text: &text }, base)?;
        let mut known = agents(&config, None)?;
        if config.store_root.is_dir() {
            let store = Store::open_to_read(&config.store_root, context.store_options()?)?;
            known = agents(&config, Some(&store))?;
        }
        let (mut added, mut kept) = (Vec::new(), Vec::new());
        for name in section.keys()? {
            let agent = AgentName::new(&name).map_err(|error| section.error(&name, error.message()))?;
            match known.contains_key(&agent) {
                true => kept.push(name),
                false => {
                    let settings = section.mapping().get(name.as_str()).map(serde_json::to_value);
                    let settings = match settings {
                        Some(Ok(Value::Object(settings))) => settings,
                        _ => Object::new(),
                    };
                    added.push((agent, AgentChange::Add(settings)));
                }
            }
        }
        change_all(context, &config, &added)?;
        let added: Vec<&str> = added.iter().map(|(name, _)| name.as_str()).collect();
        if context.out.json {
            context.out.object(&object([
                ("status", "imported".into()),
                ("added", added.into()),
                ("kept", kept.into()),
            ]))?;
            return Ok(CommandExit::Done);
        }
        for name in added {
            context.out.line(&printable(&format!("agent {name} added")))?;
        }
        for name in kept {
            context.out.line(&printable(&format!("agent {name} exists already, and stays as it is")))?;
        }
        Ok(CommandExit::Done)
    }
}
