//! The agents of a workspace as they are written in its files: their names, files and settings.

use std::collections::BTreeMap;
use std::path::Path;
#[cfg(feature = "mcp")]
use std::path::PathBuf;

use serde_json::Value;

use super::agents_file::read_agents_file;
#[cfg(feature = "mcp")]
use super::paths::absolute;
use super::{Config, yaml};
use crate::error::{Error, Result, printable};
use crate::model::json::Object;
use crate::model::{AgentName, LaneName};
use crate::store::Store;

/// The place in which an agent is defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AgentSource {
    /// `agents:` in handoff.yaml.
    Config,
    /// The file that `agents_from` names.
    Imported,
    /// agents.json in the store.
    Store,
    /// A route of its lane, in handoff.yaml or routes.json.
    Route,
    /// The description of its lane in handoff.yaml, and nothing else.
    Lane,
}

impl AgentSource {
    /// Returns the name used in JSON.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "handoff.yaml",
            Self::Imported => "agents_from",
            Self::Store => "agents.json",
            Self::Route => "route",
            Self::Lane => "lane",
        }
    }
}

/// An agent as it is defined.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Agent {
    /// Its name.
    pub name: AgentName,
    /// Its purpose; empty if no file describes it.
    pub description: String,
    /// Where it is defined.
    pub source: AgentSource,
    /// Its settings, by the keys of an agent or, for [`AgentSource::Route`], those of a route.
    pub settings: Object,
}

impl Agent {
    /// Returns the directory in which it works; `None` if its settings name none, or the path cannot be resolved.
    #[cfg(feature = "mcp")]
    pub(crate) fn directory(&self, config: &Config) -> Option<PathBuf> {
        let key = if self.source == AgentSource::Route { "cwd" } else { "directory" };
        let written = self.settings.get(key).and_then(Value::as_str)?;
        let file = match self.source {
            AgentSource::Imported => config.agents_from.as_deref(),
            _ => config.path(),
        };
        absolute(file.and_then(Path::parent).unwrap_or(&config.workspace_root), Path::new(written)).ok()
    }
}

/// Returns the agents of a workspace, by name. If several have the same name, handoff.yaml takes precedence over
/// the file that `agents_from` names, and that over the store.
///
/// # Errors
/// `Config`, `Corrupt` or `Io` when one of the files cannot be read.
pub(crate) fn agents(config: &Config, store: Option<&Store>) -> Result<BTreeMap<AgentName, Agent>> {
    let mut all = BTreeMap::new();
    let mut add = |source, name: AgentName, settings: &Value| {
        let settings = settings.as_object().cloned().unwrap_or_default();
        let own = settings.get("description").and_then(Value::as_str).filter(|text| !text.trim().is_empty());
        let of_lane = || config.lanes.get(name.lane().as_str()).cloned();
        let description = own.map(str::to_string).or_else(of_lane).unwrap_or_default();
        all.entry(name.clone()).or_insert(Agent { name, description, source, settings });
    };
    let routes = store.map(Store::routes).transpose()?.unwrap_or_default();
    let is_switched_off = |name: &AgentName| routes.get(name.lane().as_str()).is_some_and(Value::is_null);
    let imported = config.agents_from.as_deref().map(|path| imported_agents(config, path)).transpose()?;
    let declared = [
        (AgentSource::Config, section(config.agents.as_ref())),
        (AgentSource::Imported, imported.unwrap_or_default()),
        (AgentSource::Store, store.map(Store::agents).transpose()?.unwrap_or_default()),
    ];
    for (source, agents) in &declared {
        for (name, settings) in agents {
            if let Some(name) = AgentName::new(name).ok().filter(|name| !is_switched_off(name)) {
                add(*source, name, settings);
            }
        }
    }
    let in_file = section(config.dispatch.as_ref().and_then(|dispatch| dispatch.get("routes")));
    let in_file = in_file.iter().filter(|(lane, _)| !routes.contains_key(*lane));
    for (lane, settings) in routes.iter().filter(|(_, route)| !route.is_null()).chain(in_file) {
        if let Some(name) = AgentName::of_lane(&LaneName::stored(lane)) {
            add(AgentSource::Route, name, settings);
        }
    }
    for name in config.lanes.keys().filter_map(AgentName::of_lane) {
        add(AgentSource::Lane, name, &Value::Null);
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
        let shown: Vec<_> =
            found.values().map(|a| (a.name.as_str(), a.source, a.description.as_str())).collect();
        let expected = [
            ("api", AgentSource::Config, "Of the lane"),
            ("db", AgentSource::Store, ""),
            ("infra", AgentSource::Lane, "Terraform"),
            ("new", AgentSource::Route, ""),
            ("ops", AgentSource::Route, ""),
            ("web", AgentSource::Imported, " Own "),
        ];
        assert_eq!(shown, expected);
        assert_eq!(found[&AgentName::new("api").unwrap()].settings["directory"], "api");
        let without_store: Vec<String> =
            agents(&config, None).unwrap().into_keys().map(|name| name.as_str().to_string()).collect();
        assert_eq!(without_store, ["api", "gone", "infra", "off", "ops", "web"]);
    }
}
