//! Changes of the agents in a store.

use crate::model::json::Object;

/// A change of one agent in agents.json.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum AgentChange {
    /// Adds an agent with these settings.
    Add(Object),
    /// Changes the settings of an agent, and removes those that are named.
    Set {
        /// The settings that change.
        settings: Object,
        /// The keys of the settings that are removed.
        unset: Vec<String>,
    },
    /// Removes an agent.
    Remove,
}

/// How far a change of an agent may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AgentRights {
    /// Whatever a person may write in handoff.yaml.
    Everything,
    /// Directories below `agent_roots`, and any rights except those that bypass all permissions.
    WithinRoots,
    /// Directories below `agent_roots`; a new agent has at most the rights of the defaults, and an agent that exists at
    /// most those that it has.
    WithoutMoreRights,
}
