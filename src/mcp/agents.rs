//! The agents of a workspace: the agent NAME is the worker of the lane `agent/NAME`.

use std::collections::BTreeMap;

use crate::error::{Error, Result, brief_list, printable};
use crate::model::{AGENT_LANES, LaneName};
use crate::store::Store;
use crate::workspace::Config;

/// Returns the agents that a workspace has, by name, with their descriptions: the lanes `agent/…` that the
/// configuration describes, or for which it or the store has a route.
///
/// # Errors
/// `Corrupt` or `Io` when the routes of the store cannot be read.
pub(super) fn agents(config: &Config, store: Option<&Store>) -> Result<BTreeMap<String, String>> {
    let in_store = store.map(Store::routes).transpose()?.unwrap_or_default();
    let in_file = config.dispatch.as_ref().and_then(|dispatch| dispatch.get("routes")?.as_mapping());
    let in_file = in_file.into_iter().flatten().filter_map(|(lane, _)| lane.as_str());
    // A null in the store switches off the route of the file.
    let in_file = in_file.filter(|lane| in_store.get(*lane).is_none_or(|route| !route.is_null()));
    let in_store = in_store.iter().filter(|(_, route)| !route.is_null()).map(|(lane, _)| lane.as_str());
    let lanes = config.lanes.keys().map(LaneName::as_str).chain(in_file).chain(in_store);
    Ok(lanes
        .filter_map(|lane| {
            let name = lane.strip_prefix(AGENT_LANES)?;
            Some((name.to_string(), config.lanes.get(lane).cloned().unwrap_or_default()))
        })
        .collect())
}

/// Returns the lane of an agent.
///
/// # Errors
/// `Invalid` for a name that no agent can have; `NotFound` when the workspace has no such agent; otherwise as
/// [`agents`].
pub(super) fn lane_of(config: &Config, store: &Store, name: &str) -> Result<LaneName> {
    let lane = LaneName::new(format!("{AGENT_LANES}{name}"))?;
    let known = agents(config, Some(store))?;
    if known.contains_key(name) {
        return Ok(lane);
    }
    let error = Error::not_found(format!("no agent '{}' in this workspace", printable(name)));
    Err(if known.is_empty() {
        error.with_hint("give `lane` instead, or add a route for the lane agent/NAME to handoff.yaml")
    } else {
        error.with_hint(format!("choose one of {}", brief_list(known.keys())))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::store::StoreOptions;

    #[test]
    fn agents_are_described_or_have_a_route_that_counts() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("handoff.yaml");
        let text = "workspace_id: w\nlanes: {review: x, agent/infra: Terraform}\n\
                    dispatch: {routes: {agent/api: {vendor: claude}, agent/web: {vendor: claude}, work: {}}}\n";
        std::fs::write(&file, text).unwrap();
        let config = Config::load(&file, None).unwrap();
        let names = |store| agents(&config, store).unwrap().into_keys().collect::<Vec<_>>();
        assert_eq!(names(None), ["api", "infra", "web"]);
        assert_eq!(agents(&config, None).unwrap()["infra"], "Terraform");
        let store = Store::open(&config.store_root, StoreOptions::default()).unwrap();
        let change = |routes: &mut crate::model::json::Object| {
            routes.insert("agent/api".to_string(), Value::Null);
            routes.insert("agent/ops".to_string(), json!({"vendor": "codex"}));
            Ok(())
        };
        store.change_routes(change).unwrap();
        assert_eq!(names(Some(&store)), ["infra", "ops", "web"]);
        assert_eq!(lane_of(&config, &store, "ops").unwrap(), "agent/ops");
        let refused = lane_of(&config, &store, "api").unwrap_err().to_string();
        assert_eq!(refused, "no agent 'api' in this workspace; choose one of infra, ops, web");
        assert!(lane_of(&config, &store, "../x").is_err());
    }
}
