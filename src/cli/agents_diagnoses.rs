//! What `lanes doctor` reports of the agents: whether each can work, what it may do, where chats may add some, and which
//! tasks wait for one that does not exist.

use std::path::Path;

use super::agents::process_context;
use super::context::CommandContext;
use crate::dispatch::config::agent_inspection::inspect_agents;
use crate::error::{Result, printable};
use crate::model::AgentName;
use crate::store::Store;
use crate::workspace::{AgentReport, Config, Diagnosis, home};

/// The group of these checks.
const AREA: &str = "agents";

/// Returns the diagnoses about agents; none if there is no agent and no task for one, or if the settings cannot be read,
/// which has a diagnosis of its own.
pub(super) fn diagnoses(context: &CommandContext) -> Vec<Diagnosis> {
    let Ok(config) = context.config() else { return Vec::new() };
    let store = Some(&config.store_root).filter(|root| root.is_dir());
    let store = store.and_then(|root| Store::open_to_read(root, context.store_options().ok()?).ok());
    let Ok(agents) = inspect_agents(&config, store.as_ref(), &process_context()) else { return Vec::new() };
    let mut found: Vec<Diagnosis> = agents.values().flat_map(of_agent).collect();
    if found.is_empty() && !agents.is_empty() {
        let count = agents.len();
        let message =
            if count == 1 { "the agent can work".to_string() } else { format!("{count} agents can work") };
        found.push(Diagnosis::ok(AREA, "agents", message));
    }
    found.extend(of_roots(&config));
    if let Some(store) = &store {
        found.extend(of_waiting_tasks(store, &|name| agents.contains_key(name)).unwrap_or_default());
    }
    found
}

fn of_agent(agent: &AgentReport) -> Vec<Diagnosis> {
    let name = printable(agent.name.as_str());
    let mut found = Vec::new();
    if let Some(problem) = &agent.problem {
        let remedy = format!("`lanes agents show {name}` shows its settings");
        let message = format!("agent {name} cannot work: {}", printable(problem));
        found.push(Diagnosis::warning(AREA, "agent-problem", message, remedy));
    }
    if let Some(right) = &agent.bypass {
        let message = format!("agent {name} BYPASSES PERMISSIONS ({})", printable(right));
        let remedy = "set its `permission_mode` to one that asks, or run it in a sandbox".to_string();
        found.push(Diagnosis::warning(AREA, "agent-rights", message, remedy));
    }
    found
}

/// Returns the diagnoses about the directories below which chats may add agents.
fn of_roots(config: &Config) -> Vec<Diagnosis> {
    let problem = |root: &Path| match root.canonicalize() {
        Err(_) => Some("does not exist"),
        Ok(real) if home().is_some_and(|home| home.starts_with(&real)) => {
            Some("contains the whole home directory")
        }
        Ok(_) => None,
    };
    let roots = config.agent_roots.iter().filter(|root| **root != config.workspace_root);
    let found = roots.filter_map(|root| {
        let message = format!("{} in agent_roots {}", printable(&root.to_string_lossy()), problem(root)?);
        let remedy = "name directories of projects in `agent_roots` of handoff.yaml".to_string();
        Some(Diagnosis::warning(AREA, "agent-roots", message, remedy))
    });
    found.collect()
}

/// Returns the diagnoses about tasks that wait for an agent which does not exist. Those of other lanes without a worker
/// are among the workers.
fn of_waiting_tasks(store: &Store, is_known: &dyn Fn(&AgentName) -> bool) -> Result<Vec<Diagnosis>> {
    let mut found = Vec::new();
    for (lane, ready) in store.lanes_with_ready_tasks()? {
        let Some(agent) = AgentName::of_lane(&lane).filter(|agent| !is_known(agent)) else { continue };
        if store.lane_is_served(&lane)? {
            continue;
        }
        let name = printable(agent.as_str());
        let tasks = match ready.count {
            1 => "1 task waits".to_string(),
            count => format!("{count} tasks wait"),
        };
        let message = format!("{tasks} for agent {name}, which does not exist");
        let remedy = format!("add it with `lanes agents add {name}`, or move the tasks to another lane");
        found.push(Diagnosis::warning(AREA, "agent-tasks", message, remedy));
    }
    Ok(found)
}
