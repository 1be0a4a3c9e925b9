//! `edit_agent`: adds, changes or removes an agent of the store.

use crate::mcp::arguments::Arguments;
use crate::mcp::call::{ToolCall, ToolReply, ToolResult};
use crate::mcp::failure::ToolFailure;
use crate::model::AgentName;
use crate::model::json::Object;
use crate::workspace::{AgentChange, AgentSource, agents};

/// The arguments that are settings of an agent.
const SETTINGS: [&str; 10] = [
    "directory",
    "description",
    "vendor",
    "model",
    "timeout",
    "max_budget_usd",
    "permission_mode",
    "allowed_tools",
    "disallowed_tools",
    "instructions",
];

pub(super) async fn run(call: ToolCall, arguments: Arguments) -> ToolResult {
    let name = AgentName::new(arguments.needed_text("name")?)?;
    let given = SETTINGS.iter().filter_map(|key| Some((key.to_string(), arguments.value(key)?.clone())));
    let settings: Object = given.collect();
    let unset = if arguments.has("clear") { arguments.needed_texts("clear")? } else { Vec::new() };
    let removes = arguments.flag("remove");
    if removes && !(settings.is_empty() && unset.is_empty()) {
        return Err(ToolFailure::invalid("'remove' is given together with settings", "give 'remove' alone"));
    }
    if !removes && settings.is_empty() && unset.is_empty() {
        return Err(ToolFailure::invalid("nothing to change", "give a setting, or 'remove'"));
    }
    let registry = call.agents.clone();
    call.with_queue(move |queue| {
        let config = queue.config_now()?;
        let is_stored = queue.store.agents()?.contains_key(name.as_str());
        let (change, done) = match (removes, is_stored) {
            (true, _) => (AgentChange::Remove, "removed"),
            (false, true) => (AgentChange::Set { settings, unset }, "changed"),
            (false, false) => (AgentChange::Add(settings), "added"),
        };
        registry.change(&config, &queue.store, &name, &change)?;
        let mut text = format!("agent {} {done}", name.as_str());
        // Of an agent that is defined elsewhere as well, the entry of the store did not count.
        let left = agents(&config, Some(&queue.store))?.remove(&name).map(|agent| agent.source);
        if change == AgentChange::Remove && left.is_some_and(|source| source != AgentSource::Lane) {
            text += "; one of that name is still defined elsewhere";
        }
        Ok(ToolReply::text(text))
    })
    .await
}
