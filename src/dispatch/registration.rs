//! The registration of a dispatcher among the workers. It is read by `status` and `workers`, and, if the
//! dispatcher dies, by the one that recovers its tasks.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::config::plan::Plan;
use crate::Result;
use crate::model::{CooldownKey, LaneName, RunId, TaskId, Time, TokenPrefix};
use crate::store::{DispatcherInfo, LaneService, RegisteredRun, Registration, Store, WorkerInfo, WorkerKind};

/// Minimum time between two updates of the registration that only change progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// The registration of this dispatcher, with its content.
#[derive(Debug)]
pub(crate) struct DispatcherRegistration {
    registration: Registration,
    state: Mutex<RegistrationState>,
    /// Notified when the dispatcher starts to drain.
    drained: Condvar,
}

#[derive(Debug)]
struct RegistrationState {
    worker: WorkerInfo,
    dispatcher: DispatcherInfo,
    written: Instant,
}

impl DispatcherRegistration {
    /// Registers the dispatcher.
    ///
    /// # Errors
    /// When the registration cannot be written.
    pub(crate) fn register(store: &Store, plan: &Plan, prefix: &TokenPrefix) -> Result<Self> {
        let dispatcher = DispatcherInfo {
            token_prefix: prefix.clone(),
            cooldown_keys: cooldown_keys(plan),
            serves: lane_services(plan),
            max_concurrent: plan.max_concurrent,
            unready: BTreeMap::new(),
            is_on_demand: plan.lifetime.idle_exit().is_some(),
            is_draining: false,
            running: BTreeMap::new(),
        };
        let worker = WorkerInfo {
            kind: WorkerKind::Dispatcher,
            owner: plan.owner.clone(),
            pid: plan.process.pid,
            lanes: plan.lanes(),
            filter: String::new(),
            since: store.now().wall,
            data: dispatcher.to_data(),
        };
        let registration = store.register(&worker)?;
        let state = RegistrationState { worker, dispatcher, written: Instant::now() };
        Ok(Self { registration, state: Mutex::new(state), drained: Condvar::new() })
    }

    /// Updates the registration after a change of the configuration.
    pub(crate) fn set_plan(&self, plan: &Plan) {
        let mut state = self.lock();
        state.worker.lanes = plan.lanes();
        state.dispatcher.cooldown_keys = cooldown_keys(plan);
        state.dispatcher.serves = lane_services(plan);
        state.dispatcher.max_concurrent = plan.max_concurrent;
        self.write(&mut state);
    }

    /// Records the unready lanes: lane → what is missing.
    pub(crate) fn set_unready(&self, lanes: BTreeMap<LaneName, String>) {
        let mut state = self.lock();
        state.dispatcher.unready = lanes;
        self.write(&mut state);
    }

    /// Adds a run.
    pub(crate) fn add_run(&self, task_id: &TaskId, run: RegisteredRun) {
        let mut state = self.lock();
        state.dispatcher.running.insert(task_id.clone(), run);
        self.write(&mut state);
    }

    /// Changes the entry of a run.
    pub(crate) fn update_run(&self, task_id: &TaskId, change: impl FnOnce(&mut RegisteredRun)) {
        let mut state = self.lock();
        if let Some(entry) = state.dispatcher.running.get_mut(task_id) {
            change(entry);
            self.write(&mut state);
        }
    }

    /// Records progress of a run. Writes the registration at most once a second.
    pub(crate) fn set_progress(&self, task_id: &TaskId, text: &str) {
        let mut state = self.lock();
        if let Some(entry) = state.dispatcher.running.get_mut(task_id) {
            entry.progress = Some(text.to_string());
            if state.written.elapsed() >= PROGRESS_INTERVAL {
                self.write(&mut state);
            }
        }
    }

    /// Removes a run that is over, unless the task has a new one already.
    pub(crate) fn remove_run(&self, task_id: &TaskId, run: &RunId) {
        let mut state = self.lock();
        if state.dispatcher.running.get(task_id).is_some_and(|entry| entry.run == *run) {
            state.dispatcher.running.remove(task_id);
            self.write(&mut state);
        }
    }

    /// Records that no further tasks are claimed.
    pub(crate) fn set_draining(&self) {
        let mut state = self.lock();
        state.dispatcher.is_draining = true;
        self.write(&mut state);
        self.drained.notify_all();
    }

    /// Records that the dispatcher is about to leave, which must be known before it looks for tasks the last time.
    ///
    /// # Errors
    /// `Io` when the registration cannot be written.
    pub(crate) fn announce_leaving(&self) -> Result<()> {
        let mut state = self.lock();
        let leaving = DispatcherInfo { is_draining: true, ..state.dispatcher.clone() };
        let worker = WorkerInfo { data: leaving.to_data(), ..state.worker.clone() };
        self.registration.update(&worker)?;
        (state.worker, state.dispatcher) = (worker, leaving);
        Ok(())
    }

    /// Records that tasks are claimed again.
    pub(crate) fn end_draining(&self) {
        let mut state = self.lock();
        state.dispatcher.is_draining = false;
        self.write(&mut state);
    }

    /// Returns whether no further tasks are claimed.
    pub(crate) fn is_draining(&self) -> bool {
        self.lock().dispatcher.is_draining
    }

    /// Sleeps for `pause`, or until the dispatcher starts to drain.
    pub(crate) fn sleep_until_drain(&self, pause: Duration) {
        // A panic in another thread leaves the flag valid.
        drop(self.drained.wait_timeout_while(self.lock(), pause, |state| !state.dispatcher.is_draining));
    }

    fn write(&self, state: &mut RegistrationState) {
        state.worker.data = state.dispatcher.to_data();
        state.written = Instant::now();
        // An error is ignored: the registration only informs, and a full disk must not stop the dispatcher.
        let _ = self.registration.update(&state.worker);
    }

    fn lock(&self) -> MutexGuard<'_, RegistrationState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns how the plan serves each of its lanes.
fn lane_services(plan: &Plan) -> Vec<LaneService> {
    let served = plan.served_lanes.iter().map(|served| LaneService {
        lane: served.route.lane.clone(),
        cooldown_key: served.cooldown_key.clone(),
        model: served.route.model.clone().or_else(|| served.vendor.model.clone()),
        model_classes: served.vendor.model_classes.clone(),
        timeout: served.route.timeout,
        silence_timeout: served.silence_timeout(),
    });
    served.collect()
}

/// Returns the keys of the cooldowns that may affect the dispatcher, sorted.
fn cooldown_keys(plan: &Plan) -> Vec<CooldownKey> {
    let mut keys: Vec<CooldownKey> =
        plan.served_lanes.iter().map(|served| served.cooldown_key.clone()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Returns the task other than `task_id` whose run uses the conversation `session_id`, in any dispatcher, and
/// since when that dispatcher has been running.
pub(crate) fn conversation_user(store: &Store, session_id: &str, task_id: &TaskId) -> Option<(TaskId, Time)> {
    let workers = store.live_workers().ok()?;
    let runs = workers.iter().flat_map(|worker| worker.runs().into_iter().map(|run| (run, worker.since)));
    runs.filter(|((id, run), _)| run.session_id.as_deref() == Some(session_id) && id != task_id)
        .map(|((id, _), since)| (id, since))
        .min_by(|a, b| a.0.cmp(&b.0))
}
