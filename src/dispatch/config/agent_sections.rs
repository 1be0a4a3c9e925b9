//! Agents as routes: the agent NAME is the route of the lane `agent/NAME`, of which three keys have other names.

use std::path::Path;

use serde_yaml::{Mapping, Value};

use super::route::ROUTE_KEYS;
use crate::Result;
use crate::workspace::absolute;
use crate::workspace::{KeyNames, Section};

/// The keys of a route that have another name in an agent.
pub(crate) const AGENT_KEY_NAMES: KeyNames =
    &[("cwd", "directory"), ("concurrency", "max_concurrent"), ("prompt", "instructions")];

/// The key of an agent that no route has.
pub(crate) const DESCRIPTION: &str = "description";

/// The vendor of agent-dispatch, and the timeout that its agents have unless their file has another, in seconds.
const IMPORTED_VENDOR: &str = "claude";
const IMPORTED_TIMEOUT: u64 = 300;

/// The keys of an agent that agent-dispatch has as well.
const IMPORTED_KEYS: [&str; 8] = [
    "directory",
    DESCRIPTION,
    "timeout",
    "model",
    "max_budget_usd",
    "permission_mode",
    "allowed_tools",
    "disallowed_tools",
];
/// Labels in a file of agent-dispatch, which have no effect.
const LABELS: [&str; 2] = ["capabilities", "risky_capabilities"];

/// Returns the keys of an agent.
pub(crate) fn agent_keys() -> Vec<&'static str> {
    let written = |key: &&'static str| AGENT_KEY_NAMES.iter().find(|(name, _)| name == key);
    let keys = ROUTE_KEYS.iter().map(|key| written(key).map_or(*key, |(_, written)| *written));
    keys.chain([DESCRIPTION]).collect()
}

/// Returns the settings of the agent `name` in a section of agents, as those of a route.
///
/// # Errors
/// `Config`, with file, line and key, for an unknown key and without a directory.
pub(crate) fn route_section<'a>(agents: &Section<'a>, name: &str) -> Result<Section<'a>> {
    let section = agents.section(name)?.with_key_names(AGENT_KEY_NAMES);
    section.refuse_unknown_keys(&agent_keys())?;
    section.text(DESCRIPTION)?;
    if section.text("cwd")?.value().is_none() {
        return Err(section.error_here("an agent needs a `directory`, in which it works"));
    }
    Ok(section)
}

/// Reads the agents of a file of agent-dispatch, whose directories are relative to `base`, as a section of agents.
///
/// # Errors
/// `Config`, with file, line and key.
pub(crate) fn imported<'a>(file: &Section<'a>, base: &Path) -> Result<Section<'a>> {
    file.refuse_unknown_keys(&["agents", "settings", "groups"])?;
    let agents = file.section("agents")?;
    let settings = file.section("settings")?;
    let mut all = Mapping::new();
    for name in agents.keys()? {
        let agent = agents.section(&name)?;
        let known: Vec<&str> = IMPORTED_KEYS.into_iter().chain(LABELS).chain(["instructions"]).collect();
        agent.refuse_unknown_keys(&known)?;
        all.insert(name.into(), Value::Mapping(imported_agent(&agent, &settings, base)?));
    }
    Ok(agents.with_mapping(all))
}

/// Returns the settings of one agent of agent-dispatch, with the defaults of its file.
fn imported_agent(agent: &Section<'_>, settings: &Section<'_>, base: &Path) -> Result<Mapping> {
    let mut own = Mapping::from_iter([("vendor".into(), IMPORTED_VENDOR.into())]);
    for key in IMPORTED_KEYS {
        // There, a limit of 0, an empty list of defaults and null mean that there is no value.
        let is_given = |value: &&Value| !value.is_null() && value.as_f64() != Some(0.0);
        let default = settings.mapping().get(format!("default_{key}").as_str());
        let default = default.filter(|value| value.as_sequence().is_none_or(|list| !list.is_empty()));
        let value = agent.mapping().get(key).filter(is_given).or(default.filter(is_given));
        if let Some(value) = value {
            own.insert(key.into(), value.clone());
        }
    }
    if !own.contains_key("timeout") {
        own.insert("timeout".into(), IMPORTED_TIMEOUT.into());
    }
    if let Some(directory) = agent.argument("directory")?.value() {
        let place = absolute(base, Path::new(&directory))
            .map_err(|error| agent.error("directory", &error.to_string()))?;
        own.insert("directory".into(), place.to_string_lossy().into());
    }
    if let Some(instructions) = agent.text("instructions")?.value().filter(|text| !text.trim().is_empty()) {
        // Braces have no meaning there.
        let instructions = instructions.replace('{', "{{").replace('}', "}}");
        own.insert("instructions".into(), instructions.into());
    }
    Ok(own)
}
