//! The registration of a dispatcher among the workers. It is read by `status` and `workers`, and, if the
//! dispatcher dies, by the one that recovers its tasks.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::agent::process_tree::RunId;
use super::config::plan::Plan;
use crate::Result;
use crate::model::json::Object;
use crate::model::task::object;
use crate::model::{ClaimToken, LaneName, Time};
use crate::store::{DISPATCHER, Registration, Store, WorkerInfo};

/// Minimum time between two updates of the registration that only change progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// A run in the registration.
#[derive(Clone, Debug)]
pub(crate) struct RunEntry {
    /// Lane of the task.
    pub lane: LaneName,
    /// Name of the vendor.
    pub vendor: String,
    /// Id of the run.
    pub run: RunId,
    /// Name that boards show for the state of the run.
    pub in_progress: Option<String>,
    /// Start of the run.
    pub started_at: Time,
    /// When the run times out.
    pub deadline: Option<Time>,
    /// Maximum time without output.
    pub silence_timeout: Option<Duration>,
    /// Process id of the agent.
    pub pid: Option<u32>,
    /// Session id of the conversation.
    pub session_id: Option<String>,
    /// Latest line of progress.
    pub progress: Option<String>,
}

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
    info: WorkerInfo,
    running: BTreeMap<String, RunEntry>,
    draining: bool,
    written: Instant,
}

/// The common prefix of all claim tokens of a dispatcher, which identifies its claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenPrefix(String);

impl TokenPrefix {
    /// Creates a prefix from random bits.
    pub(crate) fn from_random(random: u128) -> Self {
        Self(format!("{:016x}", random as u64))
    }

    /// Returns a new token with this prefix.
    pub(crate) fn token(&self, random: u128) -> ClaimToken {
        ClaimToken::from_text(format!("{}{:016x}", self.0, random as u64))
    }
}

impl DispatcherRegistration {
    /// Registers the dispatcher.
    ///
    /// # Errors
    /// When the registration cannot be written.
    pub(crate) fn register(store: &Store, plan: &Plan, prefix: &TokenPrefix) -> Result<Self> {
        let data = object([
            ("claims", prefix.0.clone().into()),
            ("vendors", cooldown_keys(plan)),
            ("serves", served_lanes(plan)),
            ("max_concurrent", plan.max_concurrent.into()),
            ("unready", Value::Object(Object::new())),
            ("version", env!("CARGO_PKG_VERSION").into()),
            ("on_demand", plan.lifetime.idle_exit().is_some().into()),
            ("running", Value::Array(Vec::new())),
        ]);
        let info = WorkerInfo {
            kind: DISPATCHER.to_string(),
            owner: plan.owner.clone(),
            pid: plan.process.pid,
            lanes: plan.lanes(),
            filter: String::new(),
            since: store.now().wall,
            data,
        };
        let registration = store.register(&info)?;
        let state =
            RegistrationState { info, running: BTreeMap::new(), draining: false, written: Instant::now() };
        Ok(Self { registration, state: Mutex::new(state), drained: Condvar::new() })
    }

    /// Updates the registration after a change of the configuration.
    pub(crate) fn set_plan(&self, plan: &Plan) {
        let mut state = self.lock();
        state.info.lanes = plan.lanes();
        state.info.data.insert("vendors".to_string(), cooldown_keys(plan));
        state.info.data.insert("serves".to_string(), served_lanes(plan));
        state.info.data.insert("max_concurrent".to_string(), plan.max_concurrent.into());
        self.write(&mut state);
    }

    /// Records the unready lanes: lane → what is missing.
    pub(crate) fn set_unready(&self, lanes: Object) {
        let mut state = self.lock();
        state.info.data.insert("unready".to_string(), lanes.into());
        self.write(&mut state);
    }

    /// Adds a run.
    pub(crate) fn add_run(&self, task_id: &str, entry: RunEntry) {
        let mut state = self.lock();
        state.running.insert(task_id.to_string(), entry);
        self.write(&mut state);
    }

    /// Changes the entry of a run.
    pub(crate) fn update_run(&self, task_id: &str, change: impl FnOnce(&mut RunEntry)) {
        let mut state = self.lock();
        if let Some(entry) = state.running.get_mut(task_id) {
            change(entry);
            self.write(&mut state);
        }
    }

    /// Records progress of a run. Writes the registration at most once a second.
    pub(crate) fn set_progress(&self, task_id: &str, text: &str) {
        let mut state = self.lock();
        if let Some(entry) = state.running.get_mut(task_id) {
            entry.progress = Some(text.to_string());
            if state.written.elapsed() >= PROGRESS_INTERVAL {
                self.write(&mut state);
            }
        }
    }

    /// Removes a run that is over.
    pub(crate) fn remove_run(&self, task_id: &str) {
        let mut state = self.lock();
        state.running.remove(task_id);
        self.write(&mut state);
    }

    /// Records that no further tasks are claimed.
    pub(crate) fn set_draining(&self) {
        let mut state = self.lock();
        state.draining = true;
        self.write(&mut state);
        self.drained.notify_all();
    }

    /// Records that the dispatcher is about to leave, which must be known before it looks for tasks the last time.
    ///
    /// # Errors
    /// `Io` when the registration cannot be written.
    pub(crate) fn announce_leaving(&self) -> Result<()> {
        let mut state = self.lock();
        state.info.data.insert("draining".to_string(), true.into());
        self.registration.update(&state.info)?;
        state.draining = true;
        Ok(())
    }

    /// Records that tasks are claimed again.
    pub(crate) fn end_draining(&self) {
        let mut state = self.lock();
        state.draining = false;
        self.write(&mut state);
    }

    /// Returns whether no further tasks are claimed.
    pub(crate) fn is_draining(&self) -> bool {
        self.lock().draining
    }

    /// Sleeps for `pause`, or until the dispatcher starts to drain.
    pub(crate) fn sleep_until_drain(&self, pause: Duration) {
        // A panic in another thread leaves the flag valid.
        drop(self.drained.wait_timeout_while(self.lock(), pause, |state| !state.draining));
    }

    fn write(&self, state: &mut RegistrationState) {
        let running = state.running.iter().map(|(task_id, entry)| {
            Value::Object(object([
                ("task_id", task_id.clone().into()),
                ("lane", (&entry.lane).into()),
                ("vendor", entry.vendor.clone().into()),
                ("run", entry.run.as_str().into()),
                ("in_progress", entry.in_progress.clone().into()),
                ("started_at", entry.started_at.to_string().into()),
                ("deadline", entry.deadline.map(|deadline| deadline.to_string()).into()),
                ("silence_timeout_seconds", entry.silence_timeout.map(|limit| limit.as_secs_f64()).into()),
                ("pid", entry.pid.into()),
                ("session_id", entry.session_id.clone().into()),
                ("progress", entry.progress.clone().into()),
            ]))
        });
        let running = Value::Array(running.collect());
        state.info.data.insert("running".to_string(), running);
        state.info.data.insert("draining".to_string(), state.draining.into());
        state.written = Instant::now();
        // An error is ignored: the registration only informs, and a full disk must not stop the dispatcher.
        let _ = self.registration.update(&state.info);
    }

    fn lock(&self) -> MutexGuard<'_, RegistrationState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns each served lane with its cooldown key, models and limits, as JSON.
fn served_lanes(plan: &Plan) -> Value {
    let serves = plan.served_lanes.iter().map(|served| {
        let seconds = |limit: Option<Duration>| limit.map(|limit| limit.as_secs_f64());
        let classes = served.vendor.model_classes.iter();
        let classes: Object = classes.map(|(class, model)| (class.clone(), model.clone().into())).collect();
        Value::Object(object([
            ("lane", served.route.lane.clone().into()),
            ("vendor", served.cooldown_key.as_str().into()),
            ("model", served.route.model.clone().or_else(|| served.vendor.model.clone()).into()),
            ("model_classes", classes.into()),
            ("timeout_seconds", seconds(served.route.timeout).into()),
            ("silence_timeout_seconds", seconds(served.silence_timeout()).into()),
        ]))
    });
    serves.collect::<Vec<_>>().into()
}

/// Returns the keys of the cooldowns that may affect the dispatcher, sorted, as JSON.
fn cooldown_keys(plan: &Plan) -> Value {
    let mut vendors: Vec<&str> =
        plan.served_lanes.iter().map(|served| served.cooldown_key.as_str()).collect();
    vendors.sort_unstable();
    vendors.dedup();
    vendors.into()
}

/// A run as another dispatcher has registered it.
#[derive(Clone, Debug)]
pub(crate) struct RegisteredRun {
    /// Id of the task.
    pub task_id: String,
    /// Id of the run.
    pub run_id: String,
    /// Session id of its conversation.
    pub session_id: Option<String>,
}

impl RegisteredRun {
    fn from_json(entry: &Value) -> Option<Self> {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).map(str::to_string);
        Some(Self { task_id: text("task_id")?, run_id: text("run")?, session_id: text("session_id") })
    }
}

/// Returns the runs in the registration of a dispatcher.
pub(crate) fn registered_runs(info: &WorkerInfo) -> Vec<RegisteredRun> {
    let running = info.data.get("running").and_then(Value::as_array);
    running.into_iter().flatten().filter_map(RegisteredRun::from_json).collect()
}

/// Returns the task other than `task_id` whose run uses the conversation `session_id`, in any dispatcher, and
/// since when that dispatcher has been running.
pub(crate) fn conversation_user(store: &Store, session_id: &str, task_id: &str) -> Option<(String, Time)> {
    let workers = store.live_workers().ok()?;
    let runs = workers.iter().flat_map(|info| registered_runs(info).into_iter().map(|run| (run, info.since)));
    runs.filter(|(run, _)| run.session_id.as_deref() == Some(session_id) && run.task_id != task_id)
        .map(|(run, since)| (run.task_id, since))
        .min_by(|a, b| a.0.cmp(&b.0))
}
