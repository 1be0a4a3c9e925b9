//! The agents of a workspace as they are written in its files: their names, files and settings.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::agents_file::read_agents_file;
use super::{Config, yaml};
use crate::error::{Error, Result, printable};
use crate::model::json::Object;
use crate::model::{AgentName, LaneName};
use crate::store::Store;

/// An agent as it is written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Agent {
    /// Its name.
    pub name: AgentName,
    /// Its purpose; empty if no file describes it.
    pub description: String,
}

/// Returns the agents of a workspace, by name. If several have the same name, handoff.yaml takes precedence over
/// the file that `agents_from` names, and that over the store.
///
/// # Errors
/// `Config`, `Corrupt` or `Io` when one of the files cannot be read.
pub(crate) fn agents(config: &Config, store: Option<&Store>) -> Result<BTreeMap<AgentName, Agent>> {
    let mut all = BTreeMap::new();
    let mut add = |name: AgentName, settings: &Value| {
        let own = settings.get("description").and_then(Value::as_str).filter(|text| !text.trim().is_empty());
        let of_lane = || config.lanes.get(name.lane().as_str()).cloned();
        let description = own.map(str::to_string).or_else(of_lane).unwrap_or_default();
        all.entry(name.clone()).or_insert(Agent { name, description });
    };
    let routes = store.map(Store::routes).transpose()?.unwrap_or_default();
    let is_switched_off = |name: &AgentName| routes.get(name.lane().as_str()).is_some_and(Value::is_null);
    let imported = config.agents_from.as_deref().map(|path| imported_agents(config, path)).transpose()?;
    let declared = [
        section(config.agents.as_ref()),
        imported.unwrap_or_default(),
        store.map(Store::agents).transpose()?.unwrap_or_default(),
    ];
    for (name, settings) in declared.iter().flatten() {
        if let Some(name) = AgentName::new(name).ok().filter(|name| !is_switched_off(name)) {
            add(name, settings);
        }
    }
    let in_file = section(config.dispatch.as_ref().and_then(|dispatch| dispatch.get("routes")));
    let in_file = in_file.iter().filter(|(lane, _)| !routes.contains_key(*lane));
    for (lane, settings) in routes.iter().filter(|(_, route)| !route.is_null()).chain(in_file) {
        if let Some(name) = AgentName::of_lane(&LaneName::stored(lane)) {
            add(name, settings);
        }
    }
    for name in config.lanes.keys().filter_map(AgentName::of_lane) {
        add(name, &Value::Null);
    }
    Ok(all)
}

/// Returns a section of the configuration as JSON; empty if it is not a mapping.
fn section(value: Option<&serde_yaml::Value>) -> Object {
    match value.and_then(|value| serde_json::to_value(value).ok()) {
        Some(Value::Object(section)) => section,
        _ => Object::new(),
    }
}

fn imported_agents(config: &Config, path: &Path) -> Result<Object> {
    let (path, text) = read_agents_file(config, path)?;
    let path = path.to_string_lossy();
    let refuse =
        |why: String| Error::config(format!("cannot parse {}: {}", printable(&path), printable(&why)));
    let mut document = yaml::parse(&text).map_err(refuse)?;
    Ok(match document.object.remove("agents") {
        Some(Value::Object(agents)) => agents,
        _ => Object::new(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::StoreOptions;

    #[test]
    fn agents_of_all_files_are_found_and_the_first_of_one_name_counts() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("handoff.yaml");
        let text = "workspace_id: w\nagents_from: agents.yaml\n\
                    lanes: {review: x, agent/infra: Terraform, agent/api: Of the lane, agent/web: Pages}\n\
                    agents: {api: {directory: api}, off: {directory: .}}\n\
                    dispatch: {routes: {agent/ops: {vendor: claude}, agent/gone: {}, work: {}}}\n";
        std::fs::write(&file, text).unwrap();
        let imported = "agents: {api: {directory: other}, web: {directory: /w, description: ' Own '}}\n";
        std::fs::write(dir.path().join("agents.yaml"), imported).unwrap();
        let config = Config::load(&file, None).unwrap();
        let store = Store::open(&config.store_root, StoreOptions::default()).unwrap();
        let stored = json!({"agents": {"web": {"directory": "/x"}, "db": {"directory": "/d"}}});
        std::fs::write(store.agents_path(), stored.to_string()).unwrap();
        let routes = json!({"routes": {"agent/off": null, "agent/gone": null, "agent/new": {}}});
        std::fs::write(store.routes_path(), routes.to_string()).unwrap();
        let found = agents(&config, Some(&store)).unwrap();
        let shown: Vec<_> = found.values().map(|a| (a.name.as_str(), a.description.as_str())).collect();
        let expected = [
            ("api", "Of the lane"),
            ("db", ""),
            ("infra", "Terraform"),
            ("new", ""),
            ("ops", ""),
            ("web", " Own "),
        ];
        assert_eq!(shown, expected);
        let without_store: Vec<String> =
            agents(&config, None).unwrap().into_keys().map(|name| name.as_str().to_string()).collect();
        assert_eq!(without_store, ["api", "gone", "infra", "off", "ops", "web"]);
    }
}
