//! The agents of a workspace, by the names that a client gives.

use crate::error::{Error, Result, brief_list, printable};
use crate::model::{AgentName, LaneName};
use crate::store::Store;
use crate::workspace::{Config, agents};

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
    let error = Error::not_found(format!("no agent '{}' in this workspace", printable(name.as_str())));
    Err(if known.is_empty() {
        error.with_hint("give `lane` instead, or add an agent under `agents:` in handoff.yaml")
    } else {
        error.with_hint(format!("choose one of {}", brief_list(known.keys().map(AgentName::as_str))))
    })
}
