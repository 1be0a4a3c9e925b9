//! The loop: a free slot, the first lane with a matching task, a claim, a run, a report.
//!
//! One thread decides; each run has a thread of its own, which listens to the run's guard; one thread
//! keeps the claims alive and one listens for new tasks.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;
use std::time::{Duration, Instant};

use super::admission::Gate;
use super::agent::StopHandle;
use super::agent::reaper::Household;
use super::config::plan::Plan;
use super::config::readiness::Unready;
use super::config::reload::Follower;
use super::config::served_lane::Service;
use super::event::Moment;
use super::heartbeat::Keeper;
use super::outcome::StopReason;
use super::registration::{Entry, Roster, TokenPrefix, session_user};
use super::report::deliver::{Over, tell};
use super::report::recover::{recover, tell_outbox};
use super::run::context::{Desk, Job, run_id};
use super::run::vendor_version::VersionCache;
use super::task_metadata::metadata_text;
use crate::error::{ErrorKind, Result};
use crate::model::{Parked, Task, Time};
use crate::store::{ClaimRequest, DISPATCHER, LaneQuery, Store};

/// How often to look for dispatchers that died.
const BURIAL_PAUSE: Duration = Duration::from_secs(5);
/// How often, and at what interval, `once` looks again for dispatchers that are dying.
const LAST_LOOKS: u32 = 100;
const LAST_LOOK_PAUSE: Duration = Duration::from_millis(20);
/// How soon the listening thread notices that its dispatcher ends.
const ATTENTION: Duration = Duration::from_secs(1);
/// How long to wait after the store refused to work.
const AFTER_TROUBLE: Duration = Duration::from_secs(2);

/// A dispatcher that is ready to run.
pub struct Dispatcher<'a> {
    store: &'a Store,
    plan: Arc<Plan>,
    follower: Follower,
    household: &'a Household,
    observe: &'a (dyn Fn(Moment) + Sync),
    sender: Sender<Wake>,
    receiver: Receiver<Wake>,
}

/// What a dispatcher did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Tasks answered.
    pub answered: u64,
    /// Runs that failed.
    pub failed: u64,
}

/// A run that the loop knows of.
struct Running {
    lane: String,
    session: Option<String>,
    stop: StopHandle,
}

/// What the loop remembers.
struct State {
    plan: Arc<Plan>,
    follower: Follower,
    unready: Unready,
    running: BTreeMap<String, Running>,
    summary: Summary,
    draining: bool,
    stop_at: Option<Instant>,
    /// Until when a retry of ours is due, for `once`.
    retry_until: Option<Time>,
    /// When to look for dispatchers that died.
    bury_at: Instant,
    /// Until when what is left alone, as far as it has been told.
    told_parked: BTreeMap<String, Time>,
    /// How often `once` has put off its end for dispatchers that are dying.
    last_looks: u32,
}

impl State {
    fn new(plan: Arc<Plan>, follower: Follower) -> Self {
        Self {
            plan,
            follower,
            unready: Unready::default(),
            running: BTreeMap::new(),
            summary: Summary::default(),
            draining: false,
            stop_at: None,
            retry_until: None,
            bury_at: Instant::now() + BURIAL_PAUSE,
            told_parked: BTreeMap::new(),
            last_looks: 0,
        }
    }
}

impl<'a> Dispatcher<'a> {
    /// A dispatcher that begins with `plan` and follows its changes; `observe` hears what happens, from
    /// several threads.
    pub fn new(
        store: &'a Store,
        plan: Plan,
        follower: Follower,
        household: &'a Household,
        observe: &'a (dyn Fn(Moment) + Sync),
    ) -> Self {
        let (sender, receiver) = mpsc::channel();
        Self { store, plan: Arc::new(plan), follower, household, observe, sender, receiver }
    }

    /// A handle that ends it.
    pub fn control(&self) -> Control {
        Control(self.sender.clone())
    }

    /// Works until it is told to end, or, if the plan says so, until the lanes are empty.
    ///
    /// # Errors
    /// When the store cannot be used at all; a store that is in trouble for a while is waited for.
    pub fn run(self) -> Result<Summary> {
        let Self { store, plan, follower, household, observe, sender, receiver } = self;
        store.check_writable()?;
        recover(store, &plan.prices, observe)?;
        tell_outbox(store, observe)?;
        store.remove_stale_conversation_locks()?;
        let prefix = TokenPrefix::from_random(store.random());
        let roster = Roster::register(store, &plan, &prefix)?;
        let keeper = Keeper::new(plan.lease_seconds);
        let versions = VersionCache::default();
        let listened = Listened::new(plan.lanes());
        observe(Moment::Ready { owner: plan.owner.clone(), lanes: plan.lanes() });
        let state = State::new(plan, follower);
        let ended = AtomicBool::new(false);
        let summary = std::thread::scope(|scope| {
            scope.spawn(|| keeper.watch(store));
            let ears = sender.clone();
            scope.spawn(|| listened.listen(store, ears, &ended));
            let work = Work {
                store,
                observe,
                household,
                receiver,
                sender,
                keeper: &keeper,
                roster: &roster,
                versions: &versions,
                listened: &listened,
                prefix: &prefix,
            };
            let summary = work.run(state, scope);
            keeper.end();
            ended.store(true, Ordering::SeqCst);
            store.wake_waiters(&listened.lanes());
            summary
        })?;
        observe(Moment::Done { answered: summary.answered, failed: summary.failed });
        Ok(summary)
    }
}

/// What wakes the loop.
enum Wake {
    /// Something in a lane may have become claimable.
    Lanes,
    /// A run is over.
    Over(Over),
    /// Somebody wants the dispatcher to end.
    End,
}

/// Ends a dispatcher from another thread. The first call lets agents finish, the second stops them.
#[derive(Clone, Debug)]
pub struct Control(Sender<Wake>);

impl Control {
    /// Asks once.
    pub fn end(&self) {
        // Nobody listens any more: it has ended already.
        let _ = self.0.send(Wake::End);
    }
}

/// The lanes whose changes wake the loop.
struct Listened(Mutex<Vec<String>>);

impl Listened {
    fn new(lanes: Vec<String>) -> Self {
        Self(Mutex::new(lanes))
    }

    fn lanes(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Other lanes from now on.
    fn change(&self, store: &Store, lanes: Vec<String>) {
        let before = std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), lanes);
        store.wake_waiters(&before);
    }

    /// Wakes the loop when a lane changes.
    fn listen(&self, store: &Store, sender: Sender<Wake>, ended: &AtomicBool) {
        let mut lanes = self.lanes();
        let mut watch = store.watch_lanes(&lanes);
        while !ended.load(Ordering::SeqCst) {
            let has_changed = watch.wait(Instant::now() + ATTENTION);
            let present = self.lanes();
            if present != lanes {
                lanes = present;
                watch = store.watch_lanes(&lanes);
            }
            if has_changed && sender.send(Wake::Lanes).is_err() {
                return;
            }
        }
    }
}

/// The loop with everything it uses.
struct Work<'env> {
    store: &'env Store,
    observe: &'env (dyn Fn(Moment) + Sync),
    household: &'env Household,
    receiver: Receiver<Wake>,
    sender: Sender<Wake>,
    keeper: &'env Keeper,
    roster: &'env Roster,
    versions: &'env VersionCache,
    listened: &'env Listened,
    prefix: &'env TokenPrefix,
}

impl<'env> Work<'env> {
    fn run<'scope>(&self, mut state: State, scope: &'scope Scope<'scope, 'env>) -> Result<Summary>
    where
        'env: 'scope,
    {
        loop {
            self.follow(&mut state);
            let mut nap = state.plan.longest_nap(BURIAL_PAUSE);
            if !state.draining {
                match self.fill_slots(&mut state, scope) {
                    Ok(idle) if idle && self.is_done(&state) => match self.last_look(&mut state) {
                        Some(pause) => nap = pause,
                        None => return Ok(state.summary),
                    },
                    Ok(_) => {}
                    // Somebody has to repair the store first, and `once` does not wait for people.
                    Err(error) if error.kind() == ErrorKind::Corrupt && self.is_done(&state) => {
                        return Err(error);
                    }
                    Err(error) => {
                        self.warn(error.to_string());
                        nap = AFTER_TROUBLE;
                    }
                }
            } else if state.running.is_empty() {
                return Ok(state.summary);
            }
            if state.stop_at.is_some_and(|at| Instant::now() >= at) {
                stop_all(&mut state);
            }
            self.sleep(&mut state, nap);
        }
    }

    /// Takes over changed settings, and looks which lanes can be served.
    fn follow(&self, state: &mut State) {
        match state.follower.look(self.store, &state.plan) {
            None => {}
            Some(Ok(plan)) => {
                state.plan = Arc::new(plan);
                self.listened.change(self.store, state.plan.lanes());
                self.roster.replan(&state.plan);
                (self.observe)(Moment::Reloaded { lanes: state.plan.lanes() });
                state.plan.warnings.iter().for_each(|warning| self.warn(warning.clone()));
            }
            Some(Err(error)) => self.warn(format!("{error}; the settings stay as they were")),
        }
        let changes = state.unready.look(&state.plan);
        if !changes.is_empty() {
            self.roster.unready(state.unready.to_object());
            changes.into_iter().for_each(|moment| (self.observe)(moment));
        }
    }

    fn warn(&self, message: String) {
        (self.observe)(Moment::Warning { message });
    }

    /// Sleeps until something happens or is due, and takes note of it.
    fn sleep(&self, state: &mut State, nap: Duration) {
        let mut nap = state.stop_at.map_or(nap, |at| at.saturating_duration_since(Instant::now()).min(nap));
        let store = self.store;
        let due = store.next_due(&state.plan.lanes());
        if let Some(due) = due {
            let seconds = due.seconds_since(store.now().wall).max(0.01);
            nap = nap.min(Duration::try_from_secs_f64(seconds).unwrap_or(nap));
        }
        match self.receiver.recv_timeout(nap) {
            Ok(wake) => self.woken(state, wake),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
        // All that came at the same time leads to one look.
        while let Ok(wake) = self.receiver.try_recv() {
            self.woken(state, wake);
        }
    }

    fn woken(&self, state: &mut State, wake: Wake) {
        match wake {
            Wake::Lanes => {}
            Wake::Over(over) => self.over(state, over),
            Wake::End if state.draining => stop_all(state),
            Wake::End => {
                state.draining = true;
                state.stop_at = state.plan.drain.and_then(|drain| Instant::now().checked_add(drain));
                self.roster.drain();
                (self.observe)(Moment::Draining { running: state.running.len() });
            }
        }
    }

    fn over(&self, state: &mut State, over: Over) {
        state.running.remove(&over.task_id);
        state.summary.answered += u64::from(over.answered);
        state.summary.failed += u64::from(over.failed);
        state.retry_until = state.retry_until.max(over.retry_at);
        if let Some(parked) = over.parked {
            self.tell_parked(state, &parked);
        }
        if let Some((lane, missing)) = over.unready {
            state.unready.could_not_start(lane, missing);
        }
    }

    /// Says once for each pause that a vendor is left alone.
    fn tell_parked(&self, state: &mut State, parked: &Parked) {
        if state.told_parked.insert(parked.key(), parked.until) != Some(parked.until) {
            (self.observe)(Moment::Parked(parked.clone()));
        }
    }

    /// Claims and starts as much as fits. True if there was nothing to claim.
    fn fill_slots<'scope>(&self, state: &mut State, scope: &'scope Scope<'scope, 'env>) -> Result<bool>
    where
        'env: 'scope,
    {
        let (store, plan) = (self.store, state.plan.clone());
        if Instant::now() >= state.bury_at {
            state.bury_at = Instant::now() + BURIAL_PAUSE;
            recover(store, &plan.prices, self.observe)?;
        }
        while state.running.len() < plan.max_concurrent as usize {
            // Made first: once a task is claimed nothing may keep its run from starting.
            let stop = StopHandle::new()?;
            let Some((service, task)) = self.claim_first(state)? else {
                return Ok(true);
            };
            self.start(state, service, task, stop, scope)?;
        }
        Ok(false)
    }

    /// Claims from the first lane that has something for us.
    fn claim_first(&self, state: &mut State) -> Result<Option<(Arc<Service>, Task)>> {
        let (store, plan) = (self.store, state.plan.clone());
        let gate = Gate::look(store)?;
        for service in &plan.services {
            let lane = &service.route.lane;
            let at_work = state.running.values().filter(|run| run.lane == *lane).count();
            let is_full = service.route.concurrency.is_some_and(|most| at_work >= most as usize);
            if let Some(parked) = gate.closed(&service.account) {
                self.tell_parked(state, parked);
                continue;
            }
            if is_full || state.unready.contains(lane) {
                continue;
            }
            let stopped = RefCell::new(Vec::new());
            let admit = |task: &Task| {
                let note = |parked| stopped.borrow_mut().push(parked);
                gate.admit(service, task).map_err(note).unwrap_or(false)
            };
            let known = &*state;
            let want = LaneQuery { lanes: vec![lane.clone()], filter: service.filter.clone() };
            let taker = ClaimRequest {
                owner: &plan.owner,
                lease_seconds: plan.lease_seconds,
                token: Some(self.prefix.token(store.random())),
                accepts: &|task| self.conversation_is_free(known, task) && admit(task),
            };
            let claimed = store.claim_next_as(&want, &taker)?;
            stopped.into_inner().iter().for_each(|parked| self.tell_parked(state, parked));
            if let Some(task) = claimed {
                return Ok(Some((service.clone(), task)));
            }
        }
        Ok(None)
    }

    /// One run at a time for each conversation: the programs themselves do not take care of it.
    fn conversation_is_free(&self, state: &State, task: &Task) -> bool {
        let Some(session) = metadata_text(task, "session_id") else {
            return true;
        };
        let here = state.running.values().any(|run| run.session.as_deref() == Some(session));
        !here && session_user(self.store, session, task.id.as_str()).is_none()
    }

    fn start<'scope>(
        &self,
        state: &mut State,
        service: Arc<Service>,
        task: Task,
        stop: StopHandle,
        scope: &'scope Scope<'scope, 'env>,
    ) -> Result<()>
    where
        'env: 'scope,
    {
        let Some(claim) = task.status.claim() else { return Ok(()) };
        let token = claim.token.clone();
        let id = task.id.to_string();
        let session = metadata_text(&task, "session_id").map(str::to_string);
        self.roster.add(
            &id,
            Entry {
                lane: task.spec.lane.clone(),
                vendor: service.vendor.name.clone(),
                run: run_id(&token).as_str().to_string(),
                in_progress: service.route.in_progress.clone(),
                started_at: claim.claimed_at.to_string(),
                session_id: session.clone(),
                ..Entry::default()
            },
        );
        (self.observe)(Moment::Claimed {
            task_id: id.clone(),
            lane: task.spec.lane.clone(),
            vendor: service.vendor.name.clone(),
            attempt: task.attempt,
        });
        self.keeper.add(&task.id, &token, &stop);
        let running = Running { lane: task.spec.lane.clone(), session, stop: stop.clone() };
        state.running.insert(id, running);
        let job = Job { task, token, service, stop };
        let desk = Desk {
            store: self.store,
            plan: state.plan.clone(),
            roster: self.roster,
            household: self.household,
            versions: self.versions,
            observe: self.observe,
        };
        let (keeper, sender) = (self.keeper, self.sender.clone());
        scope.spawn(move || {
            let over = finish(&desk, keeper, &job);
            let _ = sender.send(Wake::Over(over));
        });
        Ok(())
    }

    /// The last look of `once`: what dead dispatchers left must not stay claimed until a lease ends.
    /// `None` when there is nothing; else how long to wait before going on.
    ///
    /// A dispatcher that was killed while it started an agent dies a moment later than its process
    /// seems to: until the agent's program runs, its card is still held.
    fn last_look(&self, state: &mut State) -> Option<Duration> {
        let store = self.store;
        let left = store.abandoned_workers(DISPATCHER).is_ok_and(|dead| !dead.is_empty());
        if state.last_looks >= LAST_LOOKS || !(left || store.has_exiting_worker(DISPATCHER)) {
            return None;
        }
        state.last_looks += 1;
        if let Err(error) = recover(store, &state.plan.prices, self.observe) {
            self.warn(error.to_string());
        }
        Some(LAST_LOOK_PAUSE)
    }

    /// Whether `once` is satisfied: nothing runs, and no retry of ours is still to come.
    fn is_done(&self, state: &State) -> bool {
        let waits = state.retry_until.is_some_and(|until| self.store.now().wall < until);
        state.plan.once && state.running.is_empty() && !waits
    }
}

/// Runs one task and reports it. For a thread of its own.
fn finish(desk: &Desk<'_>, keeper: &Keeper, job: &Job) -> Over {
    let ended = desk.run(job);
    let over = tell(desk, job, &ended);
    keeper.remove(&job.token);
    desk.roster.remove(job.task.id.as_str());
    over
}

fn stop_all(state: &mut State) {
    state.stop_at = None;
    for run in state.running.values() {
        run.stop.stop(StopReason::Shutdown);
    }
}
