//! The agents of a workspace, by the names that a client gives.

use crate::error::{Error, Result, brief_list, printable};
use crate::model::{AgentName, LaneName};
use crate::store::Store;
use crate::workspace::{AgentChange, AgentReport, Config, agents, did_you_mean};

/// Reports and changes agents: what the tools need of the code that knows routes.
pub(crate) trait AgentRegistry: Send + Sync {
    /// Reports all agents, by name.
    ///
    /// # Errors
    /// The settings cannot be used.
    fn inspect_all(&self, config: &Config, store: &Store) -> Result<Vec<AgentReport>>;

    /// Reports one agent with its usual runs; `None` if there is none of that name.
    ///
    /// # Errors
    /// As [`AgentRegistry::inspect_all`].
    fn inspect(&self, config: &Config, store: &Store, name: &AgentName) -> Result<Option<AgentReport>>;

    /// Changes an agent of the store, as far as a client may.
    ///
    /// # Errors
    /// The change is refused, or cannot be written.
    fn change(&self, config: &Config, store: &Store, name: &AgentName, change: &AgentChange) -> Result<()>;
}

/// Returns the lane of an agent.
///
/// # Errors
/// `Invalid` for a name that no agent can have; `NotFound` when the workspace has no such agent; otherwise as
/// [`agents`].
pub(super) fn lane_of(config: &Config, store: &Store, name: &str) -> Result<LaneName> {
    let name = AgentName::new(name)?;
    let known = agents(config, Some(store))?;
    if known.contains_key(&name) {
        return Ok(name.lane().clone());
    }
    Err(unknown_agent(&name, known.keys()))
}

/// Creates the error about a name that no agent has; `known` are those that there are.
pub(super) fn unknown_agent<'a>(
    name: &AgentName,
    known: impl ExactSizeIterator<Item = &'a AgentName>,
) -> Error {
    let error = Error::not_found(format!("no agent '{}' in this workspace", printable(name.as_str())));
    match known.len() {
        0 => error.with_hint("give `lane` instead, or add an agent under `agents:` in handoff.yaml"),
        _ => {
            let known: Vec<&str> = known.map(AgentName::as_str).collect();
            let similar =
                did_you_mean(name.as_str(), &known).map_or(String::new(), |similar| format!("{similar} "));
            error.with_hint(format!("{similar}choose one of {}", brief_list(known)))
        }
    }
}
