//! Sees to it that an open task of an agent has a dispatcher.

use std::collections::BTreeMap;

use super::failure::ToolFailure;
use crate::error::{Result, printable};
use crate::model::{LaneName, Status, Task};
use crate::store::{Store, WorkerInfo, WorkerKind};
use crate::workspace::Config;

/// Starts dispatchers for agents that nobody serves.
pub(crate) trait DispatcherStarter: Send + Sync {
    /// Checks that a dispatcher which is started now would run the agent of a lane.
    ///
    /// # Errors
    /// `NotFound` when its program is not installed; `Refused` when a person has not agreed to the configuration yet;
    /// `Config` when that is not valid, or names no vendor for the lane.
    fn check(&self, config: &Config, store: &Store, lane: &LaneName) -> Result<()>;

    /// Starts a dispatcher, and returns once a worker claims from the lane. One that waits until its predecessor has
    /// left is not waited for.
    ///
    /// # Errors
    /// `Io` when it cannot be started; `Config` when it ended at once.
    fn start(&self, config: &Config, store: &Store, lane: &LaneName) -> Result<()>;

    /// Ends the dispatchers that are to end with this server, and waits for them.
    fn end(&self);
}

/// How the agents of a queue get a dispatcher when nobody serves them.
pub(crate) enum AgentDispatch {
    /// One is started.
    OnDemand(Box<dyn DispatcherStarter>),
    /// None is started, for this reason.
    Never(&'static str),
}

impl AgentDispatch {
    /// Checks, before a task is submitted, that somebody will run the agent of its lane.
    ///
    /// # Errors
    /// As [`DispatcherStarter::check`].
    pub(super) fn check(
        &self,
        config: &Config,
        store: &Store,
        lane: &LaneName,
    ) -> std::result::Result<(), ToolFailure> {
        match self {
            Self::OnDemand(starter) if !store.lane_is_attended(lane)? => {
                Ok(starter.check(config, store, lane)?)
            }
            _ => Ok(()),
        }
    }

    /// Starts a dispatcher if one of the tasks needs it. Returns the lanes for which none could be started, each with
    /// the reason.
    ///
    /// # Errors
    /// Whatever the store reports.
    pub(super) fn attend(
        &self,
        config: &dyn Fn() -> Result<Config>,
        store: &Store,
        tasks: &[Task],
    ) -> Result<BTreeMap<LaneName, String>> {
        let mut failures = BTreeMap::new();
        for task in tasks {
            let lane = &task.spec.lane;
            if failures.contains_key(lane) || !needs_dispatcher(store, task)? {
                continue;
            }
            let started = match self {
                Self::Never(reason) => Err((*reason).to_string()),
                Self::OnDemand(starter) => config()
                    .and_then(|config| {
                        starter.check(&config, store, lane)?;
                        starter.start(&config, store, lane)
                    })
                    .map_err(|error| error.to_string()),
            };
            if let Err(reason) = started {
                failures.insert(lane.clone(), printable(&format!("no dispatcher is started: {reason}")));
            }
        }
        Ok(failures)
    }

    /// Ends what is to end with this server.
    pub(super) fn end(&self) {
        if let Self::OnDemand(starter) = self {
            starter.end();
        }
    }
}

/// Returns whether a task is an agent's and nobody is there to run it. In a paused lane nobody could.
fn needs_dispatcher(store: &Store, task: &Task) -> Result<bool> {
    let lane = &task.spec.lane;
    if lane.agent().is_none() {
        return Ok(false);
    }
    match &task.status {
        Status::Blocked { .. } if task.waits_for_dependencies() => Ok(false),
        Status::Queued | Status::Scheduled { .. } | Status::Blocked { .. } => {
            Ok(!store.lane_is_attended(lane)? && !store.paused()?.contains_key(lane))
        }
        // Every dispatcher recovers the tasks of one that died.
        Status::Claimed(claim) => {
            let is_dead = |worker: &WorkerInfo| worker.claimed_with(&claim.token);
            Ok(store.dead_workers(&WorkerKind::Dispatcher)?.iter().any(is_dead)
                && !store.live_workers()?.iter().any(|worker| worker.kind == WorkerKind::Dispatcher))
        }
        Status::InputRequired | Status::Completed { .. } | Status::Failed { .. } | Status::Unknown(_) => {
            Ok(false)
        }
    }
}
