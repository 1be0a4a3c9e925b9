//! Recognizes a lane whose name is probably misspelt.

use std::collections::BTreeSet;

use super::agents::agents;
use super::config::Config;
use super::yaml::most_similar;
use crate::error::printable;
use crate::model::LaneName;
use crate::store::Store;

/// Returns whether no setting names the lane, no worker serves it, and it never had a task.
///
/// In a store that cannot be read no lane is new: the submit reports that itself.
pub(crate) fn is_new_lane(config: &Config, store: &Store, lane: &LaneName) -> bool {
    !config.lanes.contains_key(lane)
        && store.lane_is_new(lane)
        && !configured_lanes(config, store).contains(lane)
        // A lane without a task has no claim either, so that the index need not be asked.
        && store.live_workers().is_ok_and(|workers| !workers.iter().any(|worker| worker.lanes.contains(lane)))
}

/// Returns a warning about a new lane that is spelt almost as a lane in use. A name that resembles no other is simply a
/// new lane, and so is one that differs from another in digits only.
pub(crate) fn misspelt_lane(config: &Config, store: &Store, lane: &LaneName) -> Option<String> {
    let similar = similar_lane(config, store, lane)?;
    let missing = if config.path().is_some() { "is not in handoff.yaml, and " } else { "is new: " };
    Some(format!("lane {lane} {missing}nothing was ever submitted to it; did you mean {similar}?"))
}

/// Returns the lane in use as whose name that of a new lane is almost spelt.
pub(crate) fn similar_lane(config: &Config, store: &Store, lane: &LaneName) -> Option<String> {
    if !is_new_lane(config, store, lane) {
        return None;
    }
    let mut known = configured_lanes(config, store);
    known.extend(store.recent_lanes());
    let without_digits = |name: &str| name.replace(|c: char| c.is_ascii_digit(), "");
    let own = without_digits(lane.as_str());
    let known: Vec<&str> =
        known.iter().map(LaneName::as_str).filter(|name| without_digits(name) != own).collect();
    most_similar(lane.as_str(), &known).map(printable)
}

/// Returns the lanes that are described, that have a route, and those of the agents.
pub(crate) fn configured_lanes(config: &Config, store: &Store) -> BTreeSet<LaneName> {
    let mut lanes: BTreeSet<LaneName> = config.lanes.keys().cloned().collect();
    if let Some(dispatch) = &config.dispatch {
        let routes = dispatch.get("routes").and_then(|routes| routes.as_mapping());
        let routes = routes.into_iter().flat_map(|routes| routes.keys());
        let served = dispatch.get("lanes").and_then(|lanes| lanes.as_sequence()).into_iter().flatten();
        lanes.extend(routes.chain(served).filter_map(|name| LaneName::new(name.as_str()?).ok()));
    }
    lanes.extend(agents(config, Some(store)).unwrap_or_default().keys().map(|agent| agent.lane().clone()));
    lanes
}
