//! Lanes that cannot be served for a while, through no fault of their tasks: their agent's program or
//! working directory is gone, or their route allows no run. They are looked at again and again, and no task of theirs is taken.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::plan::Plan;
use super::served_lane::Service;
use crate::dispatch::event::DispatchEvent;
use crate::model::json::Object;

/// How long a lane is left alone whose program is there and yet could not be started.
const AFTER_NO_START: Duration = Duration::from_secs(60);

/// What is known to be missing, by lane.
#[derive(Debug, Default)]
pub struct Unready {
    missing: BTreeMap<String, String>,
    /// Lanes whose program could not be started: until when they are left alone, and why.
    no_start: BTreeMap<String, (Instant, String)>,
}

impl Unready {
    /// A run of the lane could not be started.
    pub fn could_not_start(&mut self, lane: String, message: String) {
        self.no_start.insert(lane, (Instant::now() + AFTER_NO_START, message));
    }

    /// Looks at every lane of the plan. What has changed since the last look is returned.
    pub fn look(&mut self, plan: &Plan) -> Vec<DispatchEvent> {
        let now = Instant::now();
        self.no_start.retain(|_, (until, _)| now < *until);
        let missing: BTreeMap<String, String> =
            plan.services.iter().filter_map(|service| self.missing_for(service)).collect();
        // A lane that is not served any more does not come back.
        let lanes = plan.lanes();
        let back = self.missing.keys().filter(|lane| !missing.contains_key(*lane) && lanes.contains(lane));
        let back = back.map(|lane| DispatchEvent::LaneReady { lane: lane.clone() });
        let gone = missing.iter().filter(|(lane, _)| !self.missing.contains_key(*lane));
        let gone =
            gone.map(|(lane, why)| DispatchEvent::LaneNotReady { lane: lane.clone(), message: why.clone() });
        let moments = back.chain(gone).collect();
        self.missing = missing;
        moments
    }

    /// Whether the lane is to be left alone.
    pub fn contains(&self, lane: &str) -> bool {
        self.missing.contains_key(lane)
    }

    /// Lane → what is missing.
    pub fn to_object(&self) -> Object {
        self.missing.iter().map(|(lane, why)| (lane.clone(), why.clone().into())).collect()
    }

    fn missing_for(&self, service: &Arc<Service>) -> Option<(String, String)> {
        let lane = &service.route.lane;
        let why = match service.check_ready() {
            Err(error) => error.message().to_string(),
            Ok(()) => match service.closed() {
                Some(place) => format!("a concurrency above 0 ({place})"),
                None => self.no_start.get(lane)?.1.clone(),
            },
        };
        Some((lane.clone(), why))
    }
}
