//! Lanes that cannot be served at present for a reason that is independent of their tasks: the agent's program or
//! working directory is missing, or the route allows no runs. Their tasks are not claimed until a check succeeds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::plan::Plan;
use super::served_lane::ServedLane;
use crate::dispatch::event::DispatchEvent;
use crate::model::LaneName;

/// Time for which a lane is not served after its program could not be started.
const START_FAILURE_PAUSE: Duration = Duration::from_secs(60);

/// The lanes that cannot be served, and what each is missing.
#[derive(Debug, Default)]
pub(crate) struct UnreadyLanes {
    missing: BTreeMap<LaneName, String>,
    /// Lanes whose program could not be started: until when they are not served, and the reason.
    not_startable: BTreeMap<LaneName, (Instant, String)>,
}

impl UnreadyLanes {
    /// Records that a run of the lane could not be started.
    pub(crate) fn record_start_failure(&mut self, lane: LaneName, message: String) {
        self.not_startable.insert(lane, (Instant::now() + START_FAILURE_PAUSE, message));
    }

    /// Checks every lane of the plan and returns what has changed since the last check.
    pub(crate) fn check(&mut self, plan: &Plan) -> Vec<DispatchEvent> {
        let now = Instant::now();
        self.not_startable.retain(|_, (until, _)| now < *until);
        let missing: BTreeMap<LaneName, String> =
            plan.served_lanes.iter().filter_map(|served| self.find_missing(served)).collect();
        // A lane that is no longer served does not become ready.
        let lanes = plan.lanes();
        let back = self.missing.keys().filter(|lane| !missing.contains_key(*lane) && lanes.contains(lane));
        let back = back.map(|lane| DispatchEvent::LaneReady { lane: lane.clone() });
        let gone = missing.iter().filter(|(lane, _)| !self.missing.contains_key(*lane));
        let gone =
            gone.map(|(lane, why)| DispatchEvent::LaneUnready { lane: lane.clone(), message: why.clone() });
        let events = back.chain(gone).collect();
        self.missing = missing;
        events
    }

    /// Returns whether the lane cannot be served.
    pub(crate) fn is_blocked(&self, lane: &LaneName) -> bool {
        self.missing.contains_key(lane)
    }

    /// Returns what is missing, by lane.
    pub(crate) fn missing(&self) -> &BTreeMap<LaneName, String> {
        &self.missing
    }

    fn find_missing(&self, served: &Arc<ServedLane>) -> Option<(LaneName, String)> {
        let lane = &served.route.lane;
        let why = match served.check_ready() {
            Err(error) => error.message().to_string(),
            Ok(()) => match served.disabled_at() {
                Some(place) => format!("a concurrency above 0 ({place})"),
                None => self.not_startable.get(lane)?.1.clone(),
            },
        };
        Some((lane.clone(), why))
    }
}
