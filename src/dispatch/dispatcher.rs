//! The event loop of a dispatcher: claims a task whenever a slot is free, starts its run and reports its result.
//!
//! One thread runs the loop and decides what to do. Each run has its own thread, which supervises the agent
//! through its guard. One thread renews the leases, and one waits for changes in the lanes.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;
use std::time::{Duration, Instant};

use super::admission::Admission;
use super::agent::StopHandle;
use super::agent::reaper::GuardPool;
use super::budget_gate::BudgetGate;
use super::config::options::Lifetime;
use super::config::plan::Plan;
use super::config::reload::PlanReloader;
use super::config::served_lane::ServedLane;
use super::config::unready_lanes::UnreadyLanes;
use super::event::DispatchEvent;
use super::lease_renewer::LeaseRenewer;
use super::on_demand::IdleTimer;
use super::outcome::StopReason;
use super::registration::{DispatcherRegistration, conversation_user};
use super::report::deliver::{ReportedRun, TaskDisposition, deliver};
use super::report::recover::{deliver_outbox, recover};
use super::run::context::{ClaimedTask, RunContext, run_id};
use super::run::message_hook::message_time;
use super::run::route_keys::route_keys;
use super::run::vendor_version::VersionCache;
use super::task_metadata::metadata_text;
use crate::error::{ErrorKind, Result};
use crate::model::spending::LaneOverBudget;
use crate::model::{ClaimToken, Cooldown, CooldownKey, LaneName, Task, Time, TokenPrefix};
use crate::store::{ClaimRequest, LaneQuery, RegisteredRun, Store, WorkerInfo, WorkerKind};

/// Time between two searches for dead dispatchers.
const RECOVERY_INTERVAL: Duration = Duration::from_secs(5);
/// Maximum number of searches, and time between them, for dispatchers that are exiting when `once` is about to end.
const MAX_FINAL_RECOVERIES: u32 = 100;
const FINAL_RECOVERY_PAUSE: Duration = Duration::from_millis(20);
/// Maximum time until the thread that watches the lanes notices the end of the dispatcher.
const END_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Time to wait after an error of the store.
const STORE_RETRY_PAUSE: Duration = Duration::from_secs(2);

/// A dispatcher that is ready to run.
pub(crate) struct Dispatcher<'a> {
    store: &'a Store,
    plan: Arc<Plan>,
    reloader: PlanReloader,
    guard_pool: &'a GuardPool,
    observe: &'a (dyn Fn(DispatchEvent) + Sync),
    sender: Sender<Wakeup>,
    receiver: Receiver<Wakeup>,
}

/// The totals of a dispatcher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DispatchSummary {
    /// Number of tasks answered.
    pub answered: u64,
    /// Number of runs that failed.
    pub failed: u64,
    /// Number of tasks that failed.
    pub failed_tasks: u64,
    /// Number of runs that asked a question.
    pub asked: u64,
}

/// A run in progress.
struct ActiveRun {
    lane: LaneName,
    session_id: Option<String>,
    stop: StopHandle,
}

/// The state of the event loop.
struct LoopState {
    plan: Arc<Plan>,
    reloader: PlanReloader,
    unready_lanes: UnreadyLanes,
    /// The runs by the tokens of their claims: a task that is retried at once has a new run before the end of the last one has
    /// been handled.
    running: HashMap<ClaimToken, ActiveRun>,
    summary: DispatchSummary,
    draining: bool,
    stop_at: Option<Instant>,
    /// When the last retry of this dispatcher is due; `once` waits for it.
    retry_until: Option<Time>,
    /// When to search for dead dispatchers next.
    recover_at: Instant,
    /// End of each cooldown that has been reported, by the key of the cooldown.
    reported_cooldowns: BTreeMap<CooldownKey, Time>,
    /// End of the day or week of each budget that has been reported, by lane.
    reported_budgets: BTreeMap<LaneName, Time>,
    /// Number of times that `once` has deferred its end for dispatchers that are exiting.
    final_recoveries: u32,
    /// How long a dispatcher that was started on demand has been idle.
    idle: Option<IdleTimer>,
    /// The lanes that a dispatcher which was started on demand leaves to others.
    left_to_others: BTreeSet<LaneName>,
    /// Whether the last look for tasks passed over one that can be claimed later, by this dispatcher.
    has_passed_over: Cell<bool>,
}

impl LoopState {
    fn new(plan: Arc<Plan>, reloader: PlanReloader) -> Self {
        Self {
            idle: plan.lifetime.idle_exit().map(IdleTimer::new),
            left_to_others: BTreeSet::new(),
            has_passed_over: Cell::new(false),
            plan,
            reloader,
            unready_lanes: UnreadyLanes::default(),
            running: HashMap::new(),
            summary: DispatchSummary::default(),
            draining: false,
            stop_at: None,
            retry_until: None,
            recover_at: Instant::now() + RECOVERY_INTERVAL,
            reported_cooldowns: BTreeMap::new(),
            reported_budgets: BTreeMap::new(),
            final_recoveries: 0,
        }
    }
}

impl<'a> Dispatcher<'a> {
    /// Creates a dispatcher that starts with `plan` and reloads it with `reloader`. Several threads call `observe`
    /// with its events.
    pub(crate) fn new(
        store: &'a Store,
        plan: Plan,
        reloader: PlanReloader,
        guard_pool: &'a GuardPool,
        observe: &'a (dyn Fn(DispatchEvent) + Sync),
    ) -> Self {
        let (sender, receiver) = mpsc::channel();
        Self { store, plan: Arc::new(plan), reloader, guard_pool, observe, sender, receiver }
    }

    /// Returns a handle with which another thread ends the dispatcher.
    pub(crate) fn shutdown_handle(&self) -> ShutdownHandle {
        ShutdownHandle(self.sender.clone())
    }

    /// Runs until it is asked to end, or as long as its plan says.
    ///
    /// # Errors
    /// When the store cannot be used at all. Temporary errors are retried.
    pub(crate) fn run(self) -> Result<DispatchSummary> {
        let Self { store, plan, reloader, guard_pool, observe, sender, receiver } = self;
        store.check_writable()?;
        recover(store, &plan.prices, observe)?;
        deliver_outbox(store, observe)?;
        store.spool().remove_stale_conversation_locks()?;
        let prefix = TokenPrefix::from_random(store.random());
        let registration = DispatcherRegistration::register(store, &plan, &prefix)?;
        let lease_renewer = LeaseRenewer::new(plan.lease);
        let versions = VersionCache::default();
        let lane_watcher = LaneWatcher::new(plan.lanes());
        observe(DispatchEvent::Ready { owner: plan.owner.clone(), lanes: plan.lanes() });
        let state = LoopState::new(plan, reloader);
        let ended = AtomicBool::new(false);
        let summary = std::thread::scope(|scope| {
            scope.spawn(|| lease_renewer.watch(store));
            let wakeups = sender.clone();
            scope.spawn(|| lane_watcher.watch(store, wakeups, &ended));
            let work = EventLoop {
                store,
                observe,
                guard_pool,
                receiver,
                sender,
                lease_renewer: &lease_renewer,
                registration: &registration,
                versions: &versions,
                lane_watcher: &lane_watcher,
                prefix: &prefix,
            };
            let summary = work.run(state, scope);
            lease_renewer.end();
            ended.store(true, Ordering::SeqCst);
            store.wake_waiters(&lane_watcher.lanes());
            summary
        })?;
        let DispatchSummary { answered, failed, failed_tasks, asked } = summary;
        observe(DispatchEvent::Done { answered, failed, failed_tasks, asked });
        Ok(summary)
    }
}

/// A message that wakes the event loop.
enum Wakeup {
    /// A lane has changed: a task may be claimable.
    LanesChanged,
    /// A run is over and reported.
    RunReported(ReportedRun),
    /// The end of the dispatcher was requested.
    EndRequested,
}

/// Ends a dispatcher from another thread. The first call lets agents finish, the second stops them.
#[derive(Clone, Debug)]
pub(crate) struct ShutdownHandle(Sender<Wakeup>);

impl ShutdownHandle {
    /// Requests the end: draining at the first call, immediately at the second.
    pub(crate) fn end(&self) {
        // Fails only if the dispatcher has already ended.
        let _ = self.0.send(Wakeup::EndRequested);
    }
}

/// Wakes the event loop when one of its lanes changes.
struct LaneWatcher(Mutex<Vec<LaneName>>);

impl LaneWatcher {
    fn new(lanes: Vec<LaneName>) -> Self {
        Self(Mutex::new(lanes))
    }

    fn lanes(&self) -> Vec<LaneName> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the lanes that are watched.
    fn set_lanes(&self, store: &Store, lanes: Vec<LaneName>) {
        let before = std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), lanes);
        store.wake_waiters(&before);
    }

    /// Sends a wakeup at each change, until `ended` is set.
    fn watch(&self, store: &Store, sender: Sender<Wakeup>, ended: &AtomicBool) {
        let mut lanes = self.lanes();
        let mut watch = store.watch_lanes(&lanes);
        while !ended.load(Ordering::SeqCst) {
            let has_changed = watch.wait(Instant::now() + END_CHECK_INTERVAL);
            let present = self.lanes();
            if present != lanes {
                lanes = present;
                watch = store.watch_lanes(&lanes);
            }
            if has_changed && sender.send(Wakeup::LanesChanged).is_err() {
                return;
            }
        }
    }
}

/// What the event loop uses.
struct EventLoop<'env> {
    store: &'env Store,
    observe: &'env (dyn Fn(DispatchEvent) + Sync),
    guard_pool: &'env GuardPool,
    receiver: Receiver<Wakeup>,
    sender: Sender<Wakeup>,
    lease_renewer: &'env LeaseRenewer,
    registration: &'env DispatcherRegistration,
    versions: &'env VersionCache,
    lane_watcher: &'env LaneWatcher,
    prefix: &'env TokenPrefix,
}

impl<'env> EventLoop<'env> {
    fn run<'scope>(&self, mut state: LoopState, scope: &'scope Scope<'scope, 'env>) -> Result<DispatchSummary>
    where
        'env: 'scope,
    {
        loop {
            self.reload_config(&mut state);
            let mut timeout = state.plan.max_sleep(RECOVERY_INTERVAL);
            if !state.draining {
                let filled = self.fill_slots(&mut state, scope);
                let may_stay = self.idle_time_left(&mut state, &filled);
                timeout = timeout.min(may_stay);
                match filled {
                    Ok(idle) if idle && self.is_done(&state) => match self.final_recovery(&mut state) {
                        Some(pause) => timeout = pause,
                        None => return Ok(state.summary),
                    },
                    Ok(_) if may_stay.is_zero() => match self.leave(&mut state, scope) {
                        Ok(true) => return Ok(state.summary),
                        Ok(false) => {}
                        Err(error) => {
                            self.warn(error.to_string());
                            timeout = STORE_RETRY_PAUSE;
                        }
                    },
                    Ok(_) => {}
                    // A person must repair the store; `once` does not wait for that.
                    Err(error) if error.kind() == ErrorKind::Corrupt && self.is_done(&state) => {
                        return Err(error);
                    }
                    Err(error) if may_stay.is_zero() => return Err(error),
                    Err(error) => {
                        self.warn(error.to_string());
                        timeout = STORE_RETRY_PAUSE;
                    }
                }
            } else if state.running.is_empty() {
                return Ok(state.summary);
            }
            if state.stop_at.is_some_and(|at| Instant::now() >= at) {
                stop_all(&mut state);
            }
            self.sleep(&mut state, timeout);
        }
    }

    /// Reloads the configuration if it has changed, and checks which lanes are ready.
    fn reload_config(&self, state: &mut LoopState) {
        match state.reloader.reload_if_changed(self.store, &state.plan) {
            None => {}
            Some(Ok(plan)) => {
                state.plan = Arc::new(plan);
                self.lane_watcher.set_lanes(self.store, state.plan.lanes());
                self.registration.set_plan(&state.plan);
                (self.observe)(DispatchEvent::Reloaded { lanes: state.plan.lanes() });
                state.plan.warnings.iter().for_each(|warning| self.warn(warning.clone()));
            }
            Some(Err(error)) => self.warn(format!("{error}; the settings stay as they were")),
        }
        let changes = state.unready_lanes.check(&state.plan);
        if !changes.is_empty() {
            self.registration.set_unready(state.unready_lanes.missing().clone());
            changes.into_iter().for_each(|event| (self.observe)(event));
        }
    }

    fn warn(&self, message: String) {
        (self.observe)(DispatchEvent::Warning { message });
    }

    /// Sleeps until there is a wakeup or something is due, and handles the wakeups.
    fn sleep(&self, state: &mut LoopState, timeout: Duration) {
        let mut timeout =
            state.stop_at.map_or(timeout, |at| at.saturating_duration_since(Instant::now()).min(timeout));
        let store = self.store;
        let due = store.next_due(&state.plan.lanes());
        if let Some(due) = due {
            let seconds = due.seconds_since(store.now().wall).max(0.01);
            timeout = timeout.min(Duration::try_from_secs_f64(seconds).unwrap_or(timeout));
        }
        match self.receiver.recv_timeout(timeout) {
            Ok(wake) => self.handle_wakeup(state, wake),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
        // One pass of the loop handles all wakeups that have arrived.
        while let Ok(wake) = self.receiver.try_recv() {
            self.handle_wakeup(state, wake);
        }
    }

    fn handle_wakeup(&self, state: &mut LoopState, wake: Wakeup) {
        match wake {
            Wakeup::LanesChanged => {}
            Wakeup::RunReported(reported) => self.handle_reported_run(state, reported),
            Wakeup::EndRequested if state.draining => stop_all(state),
            Wakeup::EndRequested => {
                state.draining = true;
                state.stop_at = state.plan.drain.and_then(|drain| Instant::now().checked_add(drain));
                self.registration.set_draining();
                (self.observe)(DispatchEvent::Draining { running: state.running.len() });
            }
        }
    }

    fn handle_reported_run(&self, state: &mut LoopState, reported: ReportedRun) {
        state.running.remove(&reported.token);
        if let Some(cooldown) = reported.cooldown {
            self.report_cooldown(state, &cooldown);
        }
        match reported.disposition {
            TaskDisposition::Answered => state.summary.answered += 1,
            TaskDisposition::Asked => state.summary.asked += 1,
            TaskDisposition::Failed { retry_at, has_ended } => {
                state.summary.failed += 1;
                state.summary.failed_tasks += u64::from(has_ended);
                state.retry_until = state.retry_until.max(retry_at);
            }
            TaskDisposition::LaneUnready { lane, missing } => {
                state.unready_lanes.record_start_failure(lane, missing)
            }
            TaskDisposition::Returned => {}
        }
    }

    /// Reports a cooldown, once for each of its ends.
    fn report_cooldown(&self, state: &mut LoopState, cooldown: &Cooldown) {
        if state.reported_cooldowns.insert(cooldown.scope.key(), cooldown.until) != Some(cooldown.until) {
            (self.observe)(DispatchEvent::CooldownStarted(cooldown.clone()));
        }
    }

    /// Reports a budget that keeps a lane from starting runs, once for each day or week.
    fn report_budget(&self, state: &mut LoopState, lane: &LaneName, over: &LaneOverBudget) {
        if over.is_spent && state.reported_budgets.insert(lane.clone(), over.until) != Some(over.until) {
            (self.observe)(DispatchEvent::OverBudget { lane: lane.clone(), over: over.clone() });
        }
    }

    /// Claims tasks and starts their runs while slots are free. Returns true if there was nothing left to claim.
    fn fill_slots<'scope>(&self, state: &mut LoopState, scope: &'scope Scope<'scope, 'env>) -> Result<bool>
    where
        'env: 'scope,
    {
        let (store, plan) = (self.store, state.plan.clone());
        if Instant::now() >= state.recover_at {
            state.recover_at = Instant::now() + RECOVERY_INTERVAL;
            recover(store, &plan.prices, self.observe)?;
        }
        if plan.lifetime.idle_exit().is_some() {
            let others = store.live_workers()?;
            let is_other =
                |worker: &WorkerInfo| worker.kind == WorkerKind::Dispatcher && !worker.is_on_demand();
            let is_left =
                |lane: &LaneName| others.iter().any(|worker| is_other(worker) && worker.attends(lane));
            state.left_to_others = plan.lanes().into_iter().filter(is_left).collect();
        }
        state.has_passed_over.set(false);
        while state.running.len() < plan.max_concurrent as usize {
            // Created before the claim: once a task is claimed, nothing may prevent the start of its run.
            let stop = StopHandle::new()?;
            let Some((served, task)) = self.claim_from_first_lane(state)? else {
                return Ok(true);
            };
            self.start_run(state, served, task, stop, scope)?;
        }
        Ok(false)
    }

    /// Claims a task from the first lane, in the order of the plan, that has a matching one.
    fn claim_from_first_lane(&self, state: &mut LoopState) -> Result<Option<(Arc<ServedLane>, Task)>> {
        let (store, plan) = (self.store, state.plan.clone());
        let admission = Admission::load(store)?;
        let gate = BudgetGate::load(store, &plan)?;
        for served in &plan.served_lanes {
            let lane = &served.route.lane;
            if state.left_to_others.contains(lane) {
                continue;
            }
            let running = state.running.values().filter(|run| run.lane == *lane).count();
            let is_full = served.route.concurrency.is_some_and(|limit| running >= limit as usize);
            if let Some(cooldown) = admission.blocking_cooldown(&served.cooldown_key) {
                self.report_cooldown(state, cooldown);
                if state.idle.is_some() && store.queue_depth(lane)? > 0 {
                    state.has_passed_over.set(true);
                }
                continue;
            }
            if is_full || state.unready_lanes.is_blocked(lane) {
                continue;
            }
            let over = gate.over_budget(served);
            let waits = over.is_some() && store.queue_depth(lane)? > 0;
            if waits || over.is_none() {
                gate.note(served, over.as_ref())?;
            }
            if let Some(over) = over {
                if waits {
                    self.report_budget(state, lane, &over);
                    state.has_passed_over.set(true);
                }
                continue;
            }
            let cooldowns = RefCell::new(Vec::new());
            let admit = |task: &Task| {
                let collect = |cooldown| cooldowns.borrow_mut().push(cooldown);
                admission.admit(served, task).map_err(collect).unwrap_or(false)
            };
            let token = self.prefix.token(store.random());
            let reservation = RefCell::new(Ok(None));
            let current = &*state;
            let query = LaneQuery { lanes: vec![lane.clone()], filter: served.filter.clone() };
            let request = ClaimRequest {
                owner: &plan.owner,
                lease: plan.lease,
                token: Some(token.clone()),
                accepts: &|task| {
                    // A budget that does not allow one task allows none that is behind it.
                    let may_reserve = reservation.borrow().as_ref().is_ok_and(Option::is_none);
                    let is_accepted =
                        may_reserve && self.is_conversation_free(current, task) && admit(task) && {
                            let reserved = gate.reserve(served, task, &token);
                            let is_allowed = matches!(reserved, Ok(None));
                            *reservation.borrow_mut() = reserved;
                            is_allowed
                        };
                    current.has_passed_over.set(current.has_passed_over.get() || !is_accepted);
                    is_accepted
                },
                keys: &|task| route_keys(&plan, &served.route, task),
            };
            let claimed = store.claim_next_as(&query, &request)?;
            cooldowns.into_inner().iter().for_each(|cooldown| self.report_cooldown(state, cooldown));
            if let Some(over) = reservation.into_inner()? {
                self.report_budget(state, lane, &over);
            }
            if let Some(task) = claimed {
                return Ok(Some((served.clone(), task)));
            }
        }
        Ok(None)
    }

    /// Returns whether no other run uses the task's conversation, which the vendors' programs do not check.
    fn is_conversation_free(&self, state: &LoopState, task: &Task) -> bool {
        let Some(session_id) = metadata_text(task, "session_id") else {
            return true;
        };
        let is_used_here = state.running.values().any(|run| run.session_id.as_deref() == Some(session_id));
        !is_used_here && conversation_user(self.store, session_id, &task.id).is_none()
    }

    /// Starts the run of a claimed task on a thread of its own.
    fn start_run<'scope>(
        &self,
        state: &mut LoopState,
        served: Arc<ServedLane>,
        task: Task,
        stop: StopHandle,
        scope: &'scope Scope<'scope, 'env>,
    ) -> Result<()>
    where
        'env: 'scope,
    {
        let Some(claim) = task.status.claim() else { return Ok(()) };
        let token = claim.token.clone();
        let id = task.id.clone();
        let session_id = metadata_text(&task, "session_id").map(str::to_string);
        self.registration.add_run(
            &id,
            RegisteredRun {
                lane: task.spec.lane.clone(),
                vendor: served.vendor.name.clone(),
                run: run_id(&token),
                in_progress: served.route.in_progress.clone(),
                started_at: claim.claimed_at,
                deadline: None,
                silence_timeout: None,
                pid: None,
                session_id: session_id.clone(),
                progress: None,
                messages: message_time(&served),
            },
        );
        (self.observe)(DispatchEvent::Claimed {
            task_id: id.clone(),
            lane: task.spec.lane.clone(),
            vendor: served.vendor.name.clone(),
            attempt: task.attempt,
        });
        self.lease_renewer.add(&task.id, &token, &stop);
        let running = ActiveRun { lane: task.spec.lane.clone(), session_id, stop: stop.clone() };
        state.running.insert(token.clone(), running);
        let claimed_task = ClaimedTask { task, token, served, stop };
        let context = RunContext {
            store: self.store,
            plan: state.plan.clone(),
            registration: self.registration,
            guard_pool: self.guard_pool,
            versions: self.versions,
            observe: self.observe,
        };
        let (lease_renewer, sender) = (self.lease_renewer, self.sender.clone());
        scope.spawn(move || {
            let reported = run_and_report(&context, lease_renewer, &claimed_task);
            let _ = sender.send(Wakeup::RunReported(reported));
        });
        Ok(())
    }

    /// Recovers the tasks of dead dispatchers before `once` ends, so that they do not stay claimed until their
    /// leases end. Returns how long to wait before the next pass of the loop, or `None` if there is nothing to
    /// wait for.
    ///
    /// The registration of a dispatcher that was killed while it started an agent stays locked until the agent's
    /// program has replaced the forked process.
    fn final_recovery(&self, state: &mut LoopState) -> Option<Duration> {
        let store = self.store;
        let is_any_dead = store.abandoned_workers(&WorkerKind::Dispatcher).is_ok_and(|dead| !dead.is_empty());
        let is_needed = is_any_dead || store.has_exiting_worker(&WorkerKind::Dispatcher);
        if state.final_recoveries >= MAX_FINAL_RECOVERIES || !is_needed {
            return None;
        }
        state.final_recoveries += 1;
        if let Err(error) = recover(store, &state.plan.prices, self.observe) {
            self.warn(error.to_string());
        }
        Some(FINAL_RECOVERY_PAUSE)
    }

    /// Returns whether `once` may end: nothing is running, and no retry of this dispatcher is pending.
    fn is_done(&self, state: &LoopState) -> bool {
        let is_retry_pending = state.retry_until.is_some_and(|until| self.store.now().wall < until);
        state.plan.lifetime == Lifetime::Once && state.running.is_empty() && !is_retry_pending
    }

    /// Returns how long a dispatcher that was started on demand may stay without work; zero when it is to leave.
    fn idle_time_left(&self, state: &mut LoopState, filled: &Result<bool>) -> Duration {
        let is_idle = self.is_idle(state, filled);
        state.idle.as_mut().map_or(Duration::MAX, |idle| idle.record(is_idle, Instant::now()))
    }

    /// Returns whether nothing is running, and no task in its lanes waits for a time, a vendor or a conversation. A
    /// store that cannot be used gives no work.
    fn is_idle(&self, state: &LoopState, filled: &Result<bool>) -> bool {
        let lanes = || -> Vec<LaneName> {
            let own = state.plan.lanes().into_iter();
            own.filter(|lane| !state.left_to_others.contains(lane)).collect()
        };
        state.running.is_empty()
            && (filled.is_err() || (!state.has_passed_over.get() && self.store.next_due(&lanes()).is_none()))
    }

    /// Leaves, unless there is work after all. Returns whether the dispatcher is to end.
    ///
    /// The order matters, as [`super::on_demand`] explains: first the announcement, then the last look for tasks.
    fn leave<'scope>(&self, state: &mut LoopState, scope: &'scope Scope<'scope, 'env>) -> Result<bool>
    where
        'env: 'scope,
    {
        self.registration.announce_leaving()?;
        let filled = self.fill_slots(state, scope);
        if filled.is_ok() && self.is_idle(state, &filled) {
            return Ok(true);
        }
        self.registration.end_draining();
        filled.map(|_| false)
    }
}

/// Runs the agent for a claimed task and reports the result. Called on a thread of its own.
fn run_and_report(
    context: &RunContext<'_>,
    lease_renewer: &LeaseRenewer,
    claimed_task: &ClaimedTask,
) -> ReportedRun {
    let finished = context.run(claimed_task);
    let reported = deliver(context, claimed_task, &finished);
    lease_renewer.remove(&claimed_task.token);
    context.registration.remove_run(&claimed_task.task.id, &run_id(&claimed_task.token));
    reported
}

/// Stops all runs.
fn stop_all(state: &mut LoopState) {
    state.stop_at = None;
    for run in state.running.values() {
        run.stop.stop(StopReason::Shutdown);
    }
}
