//! `lanes mcp`: the queue as the tools of a chat, over the Model Context Protocol.
//!
//! The SDK handles the protocol in all of its versions (`server.rs`); this interface contains the tools, their
//! texts and their waits. Calls run on one thread and use the store on others, so that a slow disk delays no
//! other call, and a waiting call holds no thread.

mod agent_dispatch;
mod agents;
mod aggregation;
mod answer_cache;
mod arguments;
mod cache_state;
mod call;
mod call_log;
mod catalog;
mod changes;
mod client;
mod compat;
mod coordination;
mod coordinator;
mod dialogue;
mod driven_tasks;
mod failure;
mod given_results;
mod instructions;
mod job_search;
mod message;
mod open_queue;
mod permission;
mod post_server;
mod post_transport;
mod progress;
mod protocol_task;
pub(crate) mod registration;
mod report_text;
mod request_text;
mod server;
mod session_budget;
mod single_flight;
mod summary;
mod task_draft;
mod tools;
mod transport;
mod waiting;
mod watched_tasks;
mod worker_prompt;

use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub(crate) use self::agent_dispatch::{AgentDispatch, DispatcherStarter};
pub(crate) use self::agents::AgentRegistry;
pub(crate) use self::catalog::{MAX_LIST_BYTES, ToolSet, tools_to_approve};
pub(crate) use self::open_queue::{QueueOpener, QueueSource, RecursionLimitsSource, SettingsReader};
pub(crate) use self::permission::PermissionAsker;
pub(crate) use self::post_server::{McpPost, McpPostReply, PostServer};
pub(crate) use self::session_budget::SessionBudget;

use self::call_log::CallLog;
use self::catalog::Catalog;
use self::client::Channel;
use self::open_queue::LazyQueue;
use self::server::{McpServer, ServerState};
use self::transport::PipeTransport;
use crate::error::{Error, Result};
use crate::model::AgentChain;
use crate::signals::not_ignored;
use crate::store::{Clock, Store, StoreOptions, stop_waiting_for_locks};
use crate::workspace::{Config, agents, describe_directory};

/// The maximum number of concurrent calls.
const MAX_CALLS: usize = 64;
/// The maximum number of threads that use the store at the same time.
const MAX_STORE_THREADS: usize = 64;
/// How long calls that are running when the server ends may still wait for locks.
const STOP_LOCK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a server that ends waits for threads that are using the store.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// What an agent is told that is offered no tools.
const WITHHELD: &str = "No tools are offered here: you work on a task of the queue yourself, and only agents whose route \
     says `mcp: inherit` delegate to others.";

/// What an agent is told whose program asks a person here; the model has nothing to call.
const FOR_THE_PROGRAM: &str =
    "Your program asks a person here whether you may call a tool. There is nothing for you to call.";

/// How the queue is offered.
pub(crate) struct McpOptions {
    /// The sets of tools. None are offered to an agent that is not meant to have any.
    pub tools: Vec<ToolSet>,
    /// Whether prompts are offered. Clients ask for them when they are, which takes time.
    pub has_prompts: bool,
    /// Where the queue comes from.
    pub queue: QueueSource,
    /// How its agents get a dispatcher.
    pub dispatch: AgentDispatch,
    /// Reads the configuration, if there is a workspace: its agents and lanes are named in the instructions.
    pub config: Box<dyn Fn() -> Option<Config> + Send + Sync>,
    /// The agents.
    pub agents: Arc<dyn AgentRegistry>,
    /// The session of the client, if the environment names one.
    pub session: Option<String>,
    /// A random number, which names the session if the environment does not.
    pub random: u128,
    /// The agents above this process, if a dispatcher started one.
    pub chain: Option<AgentChain>,
    /// Reads what is allowed to agents that delegate to agents.
    pub limits: RecursionLimitsSource,
    /// The run whose agent asks for permissions, with that set of tools.
    pub permission: Option<PermissionAsker>,
    /// What each session may spend, if that is limited.
    pub budget: Option<SessionBudget>,
    /// The longest wait of a call, in seconds, in place of what the client is known to allow.
    pub max_wait: Option<u64>,
    /// Where messages come from.
    pub input: Box<dyn Read + Send>,
    /// Where messages go.
    pub output: Box<dyn Write + Send>,
    /// Where calls are logged, if they are.
    pub log: Option<Box<dyn Write + Send>>,
    /// The clock of the log.
    pub clock: Clock,
}

/// Serves a client until it closes its end or a signal arrives. The tasks that it has delegated continue.
///
/// # Errors
/// `Io` when a thread or the runtime cannot be started.
pub(crate) fn serve(options: McpOptions) -> Result<()> {
    let closing = CancellationToken::new();
    close_on_signals(closing.clone())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .max_blocking_threads(MAX_STORE_THREADS)
        .build()
        .map_err(|error| Error::io("start", "the runtime", error))?;
    let config = options.config;
    let (log, log_end) = options.log.map(|writer| CallLog::start(writer, options.clock)).transpose()?.unzip();
    let is_old = speaks_old(&options.tools);
    let dispatch = Arc::new(options.dispatch);
    let state = ServerState {
        catalog: Catalog::of(&options.tools)?,
        has_prompts: options.has_prompts,
        instructions: match options.tools[..] {
            [] => Box::new(|| WITHHELD.to_string()),
            [ToolSet::Permission] => Box::new(|| FOR_THE_PROGRAM.to_string()),
            _ => Box::new(move || instructions_for(is_old, config().as_ref())),
        },
        config: OnceLock::new(),
        queue: Arc::new(LazyQueue::new(options.queue, Arc::clone(&dispatch), options.limits, options.budget)),
        agents: options.agents,
        chain: options.chain,
        permission: options.permission.map(Arc::new),
        max_wait: options.max_wait,
        calls: Semaphore::new(MAX_CALLS),
        log: log.unwrap_or_default(),
    };
    let server = McpServer {
        state: Arc::new(state),
        session: options.session.unwrap_or_else(|| format!("{:032x}", options.random)),
        channel: Channel::Pipes,
        given_results: None,
        closing: closing.clone(),
    };
    let transport = PipeTransport::start(options.input, options.output, closing.clone())?;
    runtime.block_on(async {
        let end = closing.clone();
        tokio::spawn(async move {
            end.cancelled().await;
            tokio::time::sleep(STOP_LOCK_TIMEOUT).await;
            stop_waiting_for_locks();
        });
        // Whether a client begins with a handshake or without one is decided by each of its requests.
        let running = rmcp::service::serve_directly(server, transport, None);
        let _ = running.waiting().await;
    });
    closing.cancel();
    stop_waiting_for_locks();
    runtime.shutdown_timeout(STOP_TIMEOUT);
    if let Some(end) = log_end {
        end.wait();
    }
    dispatch.end();
    Ok(())
}

/// Ends the connection at the first signal.
fn close_on_signals(closing: CancellationToken) -> Result<()> {
    let fail = |error| Error::io("handle", "signals", error);
    let mut signals =
        Signals::new(not_ignored(&[SIGHUP, SIGINT]).into_iter().chain([SIGTERM])).map_err(fail)?;
    let run = move || {
        for _ in signals.forever() {
            closing.cancel();
        }
    };
    std::thread::Builder::new().name("signals".to_string()).spawn(run).map(drop).map_err(fail)
}

/// Returns whether a client sees only the tools of agent-dispatch.
fn speaks_old(tools: &[ToolSet]) -> bool {
    tools.contains(&ToolSet::Compat) && !tools.contains(&ToolSet::Caller)
}

fn instructions_for(is_old: bool, config: Option<&Config>) -> String {
    let Some(config) = config else { return instructions::instructions(is_old, &[], &[]) };
    let store = Some(&config.store_root).filter(|root| root.is_dir());
    let store = store.and_then(|root| Store::open_to_read(root, StoreOptions::default()).ok());
    let agents = agents(config, store.as_ref()).unwrap_or_default().into_values();
    let agents = agents.map(|agent| {
        let made = || agent.directory(config).map(|directory| describe_directory(&directory));
        let own = Some(&agent.description).filter(|text| !text.trim().is_empty()).cloned();
        (agent.name.as_str().to_string(), own.or_else(made).unwrap_or_default())
    });
    let lanes = config.lanes.iter().filter(|(lane, _)| lane.agent().is_none());
    let lanes: Vec<(String, String)> = lanes.map(|(name, text)| (name.to_string(), text.clone())).collect();
    instructions::instructions(is_old, &agents.collect::<Vec<_>>(), &lanes)
}
