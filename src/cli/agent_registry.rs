//! The agents for the tools of a chat: connects `mcp`, which knows tools, with `dispatch`, which knows routes.

use super::agents::process_context;
use super::env;
use crate::dispatch::config::agent_edit::AgentEditor;
use crate::dispatch::config::agent_inspection::{add_typical_run, inspect_agents};
use crate::dispatch::config::consent::ConsentPolicy;
use crate::error::Result;
use crate::mcp::AgentRegistry;
use crate::model::AgentName;
use crate::store::Store;
use crate::workspace::{AgentChange, AgentReport, AgentRights, Config};

/// The agents of a workspace, with what a chat may change of them.
pub(super) struct ChatAgents {
    /// How far a change may go.
    pub rights: AgentRights,
}

impl AgentRegistry for ChatAgents {
    fn inspect_all(&self, config: &Config, store: &Store) -> Result<Vec<AgentReport>> {
        Ok(inspect_agents(config, Some(store), &process_context())?.into_values().collect())
    }

    fn inspect(&self, config: &Config, store: &Store, name: &AgentName) -> Result<Option<AgentReport>> {
        let mut found = inspect_agents(config, Some(store), &process_context())?.remove(name);
        if let Some(report) = &mut found {
            add_typical_run(report, store)?;
        }
        Ok(found)
    }

    fn change(&self, config: &Config, store: &Store, name: &AgentName, change: &AgentChange) -> Result<()> {
        let consent = ConsentPolicy::new(env::trust_records());
        let editor = AgentEditor { workspace: config, store, consent: &consent, rights: self.rights };
        editor.change(name, change)
    }
}
