//! Runs the bridges of a configuration next to each other, and follows its changes.
//!
//! Each bridge has a thread and a flag of its own that stops it. A bridge whose settings have changed is stopped, and
//! started with the new ones once it has ended: two bridges of one name never run at the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use super::adapter::AdapterLog;
use super::engine::BridgeContext;
use super::event::{BridgeEvent, BridgeEventKind};
use super::runner::{BridgeLifetime, run_bridge};
use super::settings::BridgeSettings;
use super::stop::StopFlag;
use crate::error::{Error, Result};
use crate::store::Store;
use crate::workspace::Config;

/// How often the configuration is looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How long bridges may take to stop until this process ends in spite of them.
const STOP_LIMIT: Duration = Duration::from_millis(1500);

/// Which bridges run, by a configuration.
#[derive(Clone, Debug)]
pub(crate) struct BridgePlan {
    /// The configuration.
    pub config: Arc<Config>,
    /// Their settings.
    pub bridges: Vec<BridgeSettings>,
}

/// Returns a new plan if the configuration has changed since the last call, or why there is none.
pub(crate) type ReloadPlan<'a> = &'a mut dyn FnMut() -> Option<Result<BridgePlan>>;

/// Why the supervisor of bridges wakes up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BridgeWakeup {
    /// The bridge that was started with this number has ended.
    Ended(u64),
    /// All are to be stopped.
    Stop,
}

/// How the bridges of a process have ended.
#[derive(Debug, Default)]
pub(crate) struct SupervisorEnd {
    /// How many have failed while others went on; these failures were reported.
    pub reported: usize,
    /// The failures that were not reported, because no bridge was left.
    pub errors: Vec<Error>,
}

/// What the bridges of a process have in common.
pub(crate) struct BridgeSupervisor<'a> {
    /// The store of their tasks.
    pub store: &'a Store,
    /// The environment, which may have secrets of boards.
    pub environment: &'a [(OsString, OsString)],
    /// Stops all of them.
    pub stop: &'a StopFlag,
    /// Wakes the supervisor.
    pub wakeups: Sender<BridgeWakeup>,
    /// Gets to know why a bridge has failed while others go on.
    pub report: &'a (dyn Fn(&Error) + Sync),
    /// Gets to know what the bridge of a name does.
    pub observe: &'a (dyn Fn(&str, BridgeEvent) + Sync),
    /// Makes the log of the program that serves the bridge of a name as adapter.
    pub adapter_log: &'a (dyn Fn(&str) -> AdapterLog + Sync),
    /// Ends this process, when bridges do not stop in time.
    pub abandon: &'a (dyn Fn() + Sync),
    /// Whether they only report what they would do.
    pub dry_run: bool,
}

/// A bridge that is running.
struct RunningBridge<'scope> {
    number: u64,
    config: Arc<Config>,
    settings: Arc<BridgeSettings>,
    stop: Arc<StopFlag>,
    thread: ScopedJoinHandle<'scope, Result<()>>,
}

/// What runs, and what should.
struct SupervisorState<'scope> {
    plan: BridgePlan,
    running: BTreeMap<String, RunningBridge<'scope>>,
    /// The bridges that have ended by themselves, and are not started again before their settings change.
    ended: BTreeSet<String>,
    /// The number of bridges that were started.
    started: u64,
    end: SupervisorEnd,
}

impl<'a> BridgeSupervisor<'a> {
    /// Runs the bridges of `plan` until they have ended or are stopped. Unless each makes one round only, `reload` is
    /// asked for changes.
    pub(crate) fn run(
        &self,
        plan: BridgePlan,
        lifetime: BridgeLifetime,
        wakeups: &Receiver<BridgeWakeup>,
        reload: ReloadPlan<'_>,
    ) -> SupervisorEnd {
        std::thread::scope(|scope| {
            let mut state = SupervisorState {
                plan,
                running: BTreeMap::new(),
                ended: BTreeSet::new(),
                started: 0,
                end: SupervisorEnd::default(),
            };
            self.start_missing(scope, &mut state, lifetime);
            while !self.stop.is_set() {
                state.reap(wakeups.recv_timeout(CHECK_INTERVAL).ok());
                let has_none_left = state.running.is_empty() && state.ended.len() >= state.plan.bridges.len();
                if has_none_left && (lifetime == BridgeLifetime::Once || !state.end.errors.is_empty()) {
                    break;
                }
                for error in state.end.errors.drain(..) {
                    (self.report)(&error);
                    state.end.reported += 1;
                }
                if lifetime != BridgeLifetime::Once {
                    self.follow(reload, &mut state);
                    // From now on there may be nobody at the terminal who sees that the settings are wrong.
                    self.start_missing(scope, &mut state, BridgeLifetime::Persistent);
                }
            }
            self.stop_all(&mut state, wakeups);
            state.end
        })
    }

    /// Takes over a changed configuration.
    fn follow(&self, reload: ReloadPlan<'_>, state: &mut SupervisorState<'_>) {
        match reload() {
            None => {}
            Some(Ok(plan)) => {
                for (name, running) in &state.running {
                    if let Some(change) = change_of(running, &plan) {
                        (self.observe)(name, BridgeEvent::new(BridgeEventKind::Reloaded, change));
                        running.stop.set();
                    }
                }
                self.store.wake_waiters(&[]);
                state.ended.clear();
                state.plan = plan;
            }
            Some(Err(error)) => {
                let message = format!("{error}; the bridges stay as they were");
                for name in state.running.keys() {
                    (self.observe)(name, BridgeEvent::new(BridgeEventKind::Warning, message.clone()));
                }
            }
        }
    }

    /// Starts the bridges that should run and do not.
    fn start_missing<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        state: &mut SupervisorState<'scope>,
        lifetime: BridgeLifetime,
    ) {
        for settings in &state.plan.bridges {
            let name = &settings.name;
            if state.running.contains_key(name) || state.ended.contains(name) {
                continue;
            }
            state.started += 1;
            let number = state.started;
            let (config, settings) = (Arc::clone(&state.plan.config), Arc::new(settings.clone()));
            let stop = Arc::new(StopFlag::default());
            let thread = {
                let (config, settings, stop) =
                    (Arc::clone(&config), Arc::clone(&settings), Arc::clone(&stop));
                let wakeups = self.wakeups.clone();
                scope.spawn(move || {
                    let result = self.run_one(&config, &settings, &stop, lifetime);
                    // The supervisor outlives its bridges.
                    let _ = wakeups.send(BridgeWakeup::Ended(number));
                    result
                })
            };
            state
                .running
                .insert(settings.name.clone(), RunningBridge { number, config, settings, stop, thread });
        }
    }

    fn run_one(
        &self,
        config: &Config,
        settings: &BridgeSettings,
        stop: &Arc<StopFlag>,
        lifetime: BridgeLifetime,
    ) -> Result<()> {
        let context = BridgeContext {
            settings,
            store: self.store,
            config,
            environment: self.environment,
            adapter_log: &(self.adapter_log)(&settings.name),
            stop,
            observe: &|event| (self.observe)(&settings.name, event),
            dry_run: self.dry_run,
        };
        run_bridge(&context, lifetime)
    }

    /// Stops all bridges and waits for their ends; abandons those that wait for something that cannot be interrupted.
    fn stop_all(&self, state: &mut SupervisorState<'_>, wakeups: &Receiver<BridgeWakeup>) {
        state.running.values().for_each(|running| running.stop.set());
        self.store.wake_waiters(&[]);
        let deadline = Instant::now() + STOP_LIMIT;
        while !state.running.is_empty() && Instant::now() < deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            state.reap(wakeups.recv_timeout(left).ok());
        }
        if !state.running.is_empty() {
            (self.abandon)();
        }
    }
}

impl SupervisorState<'_> {
    /// Joins the thread that has said that it ends, and those that have ended without a word.
    fn reap(&mut self, wakeup: Option<BridgeWakeup>) {
        let is_over = |(_, running): &(&String, &RunningBridge<'_>)| {
            running.thread.is_finished() || wakeup == Some(BridgeWakeup::Ended(running.number))
        };
        let over: Vec<String> = self.running.iter().filter(is_over).map(|(name, _)| name.clone()).collect();
        for name in over {
            let Some(running) = self.running.remove(&name) else { continue };
            let was_stopped = running.stop.is_set();
            let result = running.thread.join();
            let result =
                result.unwrap_or_else(|_| Err(Error::corrupt(format!("bridge {name} ended with a panic"))));
            self.end.errors.extend(result.err());
            if !was_stopped {
                self.ended.insert(name);
            }
        }
    }
}

/// Returns what a new plan means for a running bridge; `None` if it goes on as it is.
fn change_of(running: &RunningBridge<'_>, plan: &BridgePlan) -> Option<String> {
    let Some(settings) = plan.bridges.iter().find(|settings| settings.name == running.settings.name) else {
        return Some("is no longer in the configuration; stopping it".to_string());
    };
    let same_workspace = is_same_workspace(&running.config, &plan.config);
    let is_same = *settings == *running.settings && same_workspace;
    (!is_same).then(|| "its settings have changed; restarting it".to_string())
}

/// Returns whether two configurations make the same tasks of cards.
fn is_same_workspace(a: &Config, b: &Config) -> bool {
    let parts = |config: &Config| {
        let Config { workspace_id, workspace_root, worktree_path, expected_branch, .. } = config.clone();
        (workspace_id, workspace_root, worktree_path, expected_branch)
    };
    parts(a) == parts(b)
}
