//! The routes of all files, and where each is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_yaml::Value;

use super::agent_sections::{AGENT_KEY_NAMES, route_section};
use super::route::{ROUTE_KEYS, Route, read_route};
use crate::dispatch::vendor::Vendors;
use crate::model::{AgentName, LaneName};
use crate::workspace::{Section, SourceText, written_key};
use crate::{Error, Result};

/// A settings file, with its text for line numbers in errors.
#[derive(Clone, Debug, Default)]
pub(super) struct ConfigSource {
    file: String,
    text: String,
}

impl ConfigSource {
    pub(super) fn of(source: SourceText<'_>) -> Self {
        Self { file: source.file.to_string(), text: source.text.to_string() }
    }

    /// Returns file, line and key.
    pub(super) fn location(&self, path: &[&str]) -> String {
        let path: Vec<String> = path.iter().map(ToString::to_string).collect();
        SourceText { file: &self.file, text: &self.text }.location(&path)
    }
}

/// Where a route is written.
#[derive(Clone, Debug)]
struct RouteOrigin {
    source: Arc<ConfigSource>,
    path: Vec<String>,
    kind: RouteKind,
}

/// The form in which a route is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RouteKind {
    /// As the route of a lane.
    Route,
    /// As an agent.
    Agent,
}

impl RouteOrigin {
    fn location(&self, key: Option<&str>) -> String {
        let key = key.map(|key| match self.kind {
            RouteKind::Route => key,
            RouteKind::Agent => written_key(AGENT_KEY_NAMES, key),
        });
        let path: Vec<&str> = self.path.iter().map(String::as_str).chain(key).collect();
        self.source.location(&path)
    }
}

/// The sections that set routes, apart from `dispatch:` itself.
#[derive(Clone, Debug, Default)]
pub(super) struct RouteSections<'a> {
    /// The routes in the store. Each replaces the route of `dispatch:` for the same lane, and `null` removes it.
    pub stored_routes: Option<Section<'a>>,
    /// The agents of each file. If several have the same name, the first counts.
    pub agents: Vec<Section<'a>>,
}

/// The routes of all files, in the order in which they are served.
#[derive(Clone, Debug)]
pub(super) struct RouteSet {
    pub routes: Vec<Route>,
    origins: BTreeMap<LaneName, RouteOrigin>,
}

impl RouteSet {
    /// Reads the routes in the `dispatch:` section and those of `sections`.
    ///
    /// # Errors
    /// `Config`, with file, line and key; also for an agent whose lane has a route.
    pub(super) fn read(
        dispatch: &Section<'_>,
        sections: &RouteSections<'_>,
        defaults: &Route,
        vendors: &Vendors,
    ) -> Result<Self> {
        let mut set = Self { routes: Vec::new(), origins: BTreeMap::new() };
        let written = dispatch.section("routes")?;
        let stored = sections.stored_routes.as_ref();
        let mut names = in_file_order(&written, &["dispatch", "routes"])?;
        for lane in stored.map(Section::keys).transpose()?.into_iter().flatten() {
            if !names.contains(&lane) {
                names.push(lane);
            }
        }
        let file = Arc::new(ConfigSource::of(dispatch.source()));
        let store = stored.map(|stored| Arc::new(ConfigSource::of(stored.source())));
        let mut removed = Vec::new();
        for name in names {
            let in_store = stored.zip(store.as_ref()).filter(|(stored, _)| stored.has(&name));
            if in_store.is_some_and(|(stored, _)| stored.mapping().get(&name) == Some(&Value::Null)) {
                removed.push(name);
                continue;
            }
            let (section, source) = in_store.unwrap_or((&written, &file));
            let route = section.section(&name)?;
            let lane = LaneName::new(name).map_err(|error| route.error_here(error.message()))?;
            route.refuse_unknown_keys(&ROUTE_KEYS)?;
            set.add(lane, &route, (RouteKind::Route, source), defaults, vendors)?;
        }
        for agents in &sections.agents {
            set.add_agents(agents, &removed, defaults, vendors)?;
        }
        // Stable: equal priorities keep the order of the file.
        set.routes.sort_by_key(|route| route.position);
        Ok(set)
    }

    /// Adds the agents of one file, except those that a file before it has.
    fn add_agents(
        &mut self,
        agents: &Section<'_>,
        removed: &[String],
        defaults: &Route,
        vendors: &Vendors,
    ) -> Result<()> {
        let source = Arc::new(ConfigSource::of(agents.source()));
        for name in in_file_order(agents, &["agents"])? {
            let agent = AgentName::new(&name).map_err(|error| agents.error(&name, error.message()))?;
            let section = route_section(agents, &name)?;
            match self.origins.get(agent.lane()) {
                Some(origin) if origin.kind == RouteKind::Route => return Err(clash(&section, origin)),
                Some(_) => continue,
                None if removed.iter().any(|lane| agent.lane() == lane.as_str()) => continue,
                None => {
                    let lane = agent.lane().clone();
                    self.add(lane, &section, (RouteKind::Agent, &source), defaults, vendors)?;
                }
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        lane: LaneName,
        section: &Section<'_>,
        (kind, source): (RouteKind, &Arc<ConfigSource>),
        defaults: &Route,
        vendors: &Vendors,
    ) -> Result<()> {
        let inherited = Route { lane: lane.clone(), ..defaults.clone() };
        self.routes.push(read_route(inherited, section, vendors)?);
        let origin = RouteOrigin { source: Arc::clone(source), path: section.path().to_vec(), kind };
        self.origins.insert(lane, origin);
        Ok(())
    }

    /// Returns file, line and key of a key that the route of `lane` itself sets; `None` for a lane without a route.
    pub(super) fn location(&self, lane: &LaneName, key: &str) -> Option<String> {
        self.origins.get(lane).map(|origin| origin.location(Some(key)))
    }
}

/// Creates the error about an agent whose lane has a route.
fn clash(agent: &Section<'_>, route: &RouteOrigin) -> Error {
    let route = route.location(None);
    agent.error_here(&format!("its lane has a route as well: {route}")).with_hint("keep one of the two")
}

/// Returns the keys of a section, at `path`, in the order of its file, which the parsed value does not preserve. A key
/// that is not text comes last.
fn in_file_order(section: &Section<'_>, path: &[&str]) -> Result<Vec<String>> {
    let mut names = section.keys()?;
    if names.len() < 2 {
        return Ok(names);
    }
    let mut place: &Value = &serde_yaml::from_str(section.source().text).unwrap_or_default();
    for key in path {
        place = place.get(*key).unwrap_or(&Value::Null);
    }
    let keys = place.as_mapping().into_iter().flat_map(|mapping| mapping.keys());
    let order: Vec<&str> = keys.filter_map(Value::as_str).collect();
    names.sort_by_key(|name| order.iter().position(|key| key == name).unwrap_or(usize::MAX));
    Ok(names)
}
