//! The queue of a server. The first call that needs it opens it, because a client may connect where there is no
//! workspace.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::watch;

use super::agent_dispatch::AgentDispatch;
use super::cache_state::CacheState;
use super::changes::ChangeCounter;
use super::driven_tasks::DrivenTasks;
use super::failure::ToolFailure;
use super::session_budget::SessionBudget;
use super::single_flight::SingleFlight;
use crate::error::Result;
use crate::model::answer_cache::AgentSettings;
use crate::model::task::object;
use crate::model::{AgentChain, LaneName, Owner, RecursionLimits, Task};
use crate::store::{Registration, Store, WorkerInfo, WorkerKind};
use crate::workspace::Config;

/// Finds the configuration of the workspace, and opens its store.
pub(crate) type QueueOpener = Box<dyn Fn() -> Result<(Config, Store)> + Send + Sync>;

/// Reads the settings of the agent that serves a lane; `None` if the configuration names none.
pub(crate) type SettingsReader =
    Arc<dyn Fn(&Config, &Store, &LaneName) -> Result<Option<AgentSettings>> + Send + Sync>;

/// Where a server has its queue from, and what it needs to know of those who serve it.
pub(crate) struct QueueSource {
    /// Finds and opens the queue.
    pub open: QueueOpener,
    /// Reads the settings of agents.
    pub agent_settings: SettingsReader,
}

/// Reads what the settings of a workspace and its store allow to agents that submit tasks to a lane.
pub(crate) type RecursionLimitsSource = fn(&Config, &Store, &LaneName) -> Result<RecursionLimits>;

/// The open queue of a server.
pub(super) struct OpenQueue {
    /// The workspace.
    pub config: Config,
    /// The store.
    pub store: Store,
    /// How its agents get a dispatcher.
    pub dispatch: Arc<AgentDispatch>,
    /// The requests of this process.
    pub single_flight: SingleFlight,
    recursion_limits: RecursionLimitsSource,
    /// What each session may spend, if that is limited.
    pub budget: Option<Arc<SessionBudget>>,
    /// What this process knows of the cache of answers.
    pub cache: CacheState,
    /// The coordinated work that this process goes on with.
    pub driven: DrivenTasks,
    agent_settings: SettingsReader,
    changes: OnceLock<ChangeCounter>,
    /// The registration by which `lanes doctor` finds servers of older versions.
    _registration: Option<Registration>,
}

impl OpenQueue {
    /// Returns a receiver that is woken when something changes.
    ///
    /// # Errors
    /// `Io` when the thread that watches cannot be started.
    pub(super) fn changes(&self) -> Result<watch::Receiver<u64>> {
        if let Some(changes) = self.changes.get() {
            return Ok(changes.subscribe());
        }
        let started = ChangeCounter::start(&self.store)?;
        // Of two that are started at the same time, one ends at once.
        Ok(self.changes.get_or_init(|| started).subscribe())
    }

    /// Starts a dispatcher if one of the tasks needs it, as [`AgentDispatch::attend`] does.
    ///
    /// # Errors
    /// Whatever the store reports.
    pub(super) fn attend(&self, tasks: &[Task]) -> Result<BTreeMap<LaneName, String>> {
        self.dispatch.attend(&|| self.config_now(), &self.store, tasks)
    }

    /// Returns the configuration as it is now, since agents are added while a server runs.
    ///
    /// # Errors
    /// As [`Config::reload`].
    pub(super) fn config_now(&self) -> Result<Config> {
        let named = self.config.store_is_named().then_some(self.config.store_root.as_path());
        self.config.reload(named)
    }

    /// Checks that an agent may work on a task of `lane` that the last agent of `chain` submits. Other lanes are served
    /// by people too, at any depth; the dispatcher of such a lane, if there is one, checks its tasks.
    ///
    /// # Errors
    /// `recursion`, and whatever the settings report.
    pub(super) fn check_recursion(
        &self,
        config: &Config,
        chain: &AgentChain,
        lane: &LaneName,
    ) -> std::result::Result<(), ToolFailure> {
        if lane.agent().is_none() {
            return Ok(());
        }
        let limits = (self.recursion_limits)(config, &self.store, lane)?;
        Ok(chain.check(lane, limits)?)
    }

    /// Returns the settings of the agent that serves a lane; `None` if the configuration names none.
    ///
    /// # Errors
    /// `Config` when the settings cannot be used; `Corrupt` or `Io` for routes in the store.
    pub(super) fn agent_settings(&self, config: &Config, lane: &LaneName) -> Result<Option<AgentSettings>> {
        (self.agent_settings)(config, &self.store, lane)
    }
}

/// A queue that is opened when it is needed.
pub(super) struct LazyQueue {
    source: QueueSource,
    dispatch: Arc<AgentDispatch>,
    recursion_limits: RecursionLimitsSource,
    budget: Option<Arc<SessionBudget>>,
    opened: Mutex<Option<Arc<OpenQueue>>>,
}

impl LazyQueue {
    /// Makes a queue that is not open yet.
    pub(super) fn new(
        source: QueueSource,
        dispatch: Arc<AgentDispatch>,
        recursion_limits: RecursionLimitsSource,
        budget: Option<SessionBudget>,
    ) -> Self {
        Self { source, dispatch, recursion_limits, budget: budget.map(Arc::new), opened: Mutex::new(None) }
    }

    /// Opens the queue, or returns the open one. A failure is tried again by the next call.
    ///
    /// # Errors
    /// `Config` when there is no workspace; otherwise whatever the store reports.
    pub(super) fn get(&self) -> Result<Arc<OpenQueue>> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        // A store that has been moved or removed is looked for again.
        if let Some(queue) = opened.as_ref().filter(|queue| queue.store.is_in_place()) {
            return Ok(Arc::clone(queue));
        }
        let (config, store) = (self.source.open)()?;
        let registration = register(&store);
        let queue = Arc::new(OpenQueue {
            config,
            store,
            dispatch: Arc::clone(&self.dispatch),
            single_flight: SingleFlight::default(),
            recursion_limits: self.recursion_limits,
            budget: self.budget.clone(),
            cache: CacheState::default(),
            driven: DrivenTasks::default(),
            agent_settings: Arc::clone(&self.source.agent_settings),
            changes: OnceLock::new(),
            _registration: registration,
        });
        *opened = Some(Arc::clone(&queue));
        Ok(queue)
    }
}

/// Registers this server until the queue is closed. A store that cannot be written to is served too.
fn register(store: &Store) -> Option<Registration> {
    let server = WorkerInfo {
        kind: WorkerKind::ChatServer,
        owner: Owner::new(WorkerKind::ChatServer.as_str()).ok()?,
        pid: std::process::id(),
        lanes: Vec::new(),
        filter: String::new(),
        since: store.now().wall,
        data: object([("version", env!("CARGO_PKG_VERSION").into())]),
    };
    store.register(&server).ok()
}
