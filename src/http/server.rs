//! Starts, runs and stops a server.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};

use super::access_log::AccessLog;
use super::allowed_paths::AllowedPaths;
use super::auth::AuthPolicy;
use super::auth::MESSAGE_PATH;
use super::context::{App, BudgetAccess, RouteRules, RunStats};
use super::message_route::{MessageOptions, MessageRoute};
use super::session::{self, BrowserSession};
use super::submit_batcher::submit_all;
use super::submit_readers::{READER_THREADS, SubmitReaders};
use super::token;
use super::transport::memory::MemoryTrimmer;
use super::transport::reactor::Reactor;
use super::transport::request_queue::MAX_WORKING;
use super::transport::socket::ListenSocket;
use super::transport::unix_socket::SocketFile;
use super::watcher::{Watcher, forward_feed};
use crate::error::{Error, Result};
use crate::model::json::Object;
use crate::signals::not_ignored;
use crate::store::{Store, stop_waiting_for_locks};
use crate::workspace::Config;

/// The interval at which deadlines and signals are checked.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// How long requests may still wait for a lock while the server stops.
const STOP_LOCK_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a server that stops waits for clients to take their responses.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);

/// How the server runs.
pub(crate) struct ServeOptions {
    /// The workspace.
    pub config: Config,
    /// Its store.
    pub store: Store,
    /// The address to listen at, if any; port 0 takes a free one.
    pub address: Option<SocketAddr>,
    /// The absolute path of a Unix socket to listen at, for this user alone.
    pub socket: Option<PathBuf>,
    /// The rule for the token of clients.
    pub token: TokenRule,
    /// Whether a browser is offered a session.
    pub opens: bool,
    /// Directories, in addition to the workspace's own root, in which tasks may have their workspace or worktree.
    pub allow_roots: Vec<PathBuf>,
    /// Names, in addition to those of the loopback, under which clients may address the server.
    pub allow_hosts: Vec<String>,
    /// Whether lanes and dispatch routes may be changed.
    pub manage_queues: bool,
    /// How dispatch routes may be changed.
    pub routes: RouteRules,
    /// Shows how much of each budget is spent.
    pub budgets: BudgetAccess,
    /// Returns the statistics of runs.
    pub run_stats: RunStats,
    /// Whether to serve the web interface.
    pub has_ui: bool,
    /// Whether to refuse every request that may change something.
    pub is_read_only: bool,
    /// What answers messages of the Model Context Protocol, if they are to be served.
    pub messages: Option<MessageOptions>,
    /// The destination of the access log.
    pub access_log: Option<Box<dyn Write + Send>>,
}

/// The token that clients over TCP must present. Clients of the Unix socket need none.
#[derive(Clone, Debug)]
pub(crate) enum TokenRule {
    /// The token of the store, which is created when there is none; for the loopback only.
    OfStore,
    /// The token in this file.
    File(PathBuf),
    /// Nothing; for the loopback only.
    Nothing,
}

/// The addresses of a server.
pub(crate) struct ServerAddresses {
    /// The TCP address.
    pub address: Option<SocketAddr>,
    /// The path of the Unix socket.
    pub socket: Option<PathBuf>,
    /// The file with the token that clients over TCP must present.
    pub token_file: Option<PathBuf>,
    /// How messages of the Model Context Protocol are served, if they are.
    pub messages: Option<MessagePlace>,
    /// The URL that a browser may open once, within five minutes; a secret.
    pub browser: Option<String>,
    /// The maximum number of connected clients.
    pub connections: usize,
}

/// Where messages of the Model Context Protocol are served.
pub(crate) struct MessagePlace {
    /// The path of a URL.
    pub path: &'static str,
    /// The file with the token that they must present over TCP.
    pub token_file: Option<PathBuf>,
}

/// A server that listens.
struct Server {
    app: App,
    /// Removes the socket when the server ends.
    _socket: Option<SocketFile>,
    places: ServerAddresses,
    stop: Arc<AtomicBool>,
}

/// Serves until SIGINT or SIGTERM; calls `announce` once clients can connect.
///
/// # Errors
/// `Config` when other machines can reach the address and no token is required, when a token file has no token, or
/// when too few files may be open; `Io` when the address is taken, or a thread cannot be started.
pub(crate) fn serve(
    options: ServeOptions,
    announce: impl FnOnce(&ServerAddresses) -> Result<()>,
) -> Result<()> {
    let server = Server::listen(options)?;
    for signal in not_ignored(&[SIGINT]).into_iter().chain([SIGTERM]) {
        signal_hook::flag::register(signal, Arc::clone(&server.stop))
            .map_err(|error| Error::io("listen for", "signals", error))?;
    }
    announce(&server.places)?;
    server.run()
}

/// Serves a store to everybody on this machine, at a free port of the loopback, until the process ends: for tests of remote
/// stores, which share its clock.
///
/// # Errors
/// `Io` when it cannot listen.
pub fn serve_until_exit(store: Store, config: Config) -> Result<SocketAddr> {
    let options = ServeOptions {
        config,
        store,
        address: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        socket: None,
        token: TokenRule::Nothing,
        opens: false,
        allow_roots: Vec::new(),
        allow_hosts: Vec::new(),
        manage_queues: true,
        routes: RouteRules {
            programs: true,
            check: |_, _, _| Ok(()),
            agree: Box::new(|_, _, _, _| {}),
            restricted_change: |_, _, _, _| Ok(None),
        },
        budgets: BudgetAccess { show: |_, _| Ok(Vec::new()), raise: |_, _, _, _, _| Ok(Vec::new()) },
        run_stats: |_, _, _| Ok(Object::new()),
        has_ui: false,
        is_read_only: false,
        messages: None,
        access_log: None,
    };
    let server = Server::listen(options)?;
    let address = server.places.address;
    std::thread::spawn(move || server.run());
    address.ok_or_else(|| Error::config("it listens at no address"))
}

impl Server {
    /// Checks the options and listens.
    fn listen(options: ServeOptions) -> Result<Self> {
        let outside = options.address.map(|address| address.ip()).filter(|host| !host.is_loopback());
        if let (Some(host), TokenRule::OfStore | TokenRule::Nothing) = (outside, &options.token) {
            return Err(Error::config(format!("{host} can be reached from other machines"))
                .with_hint("serve there only with --token-file, or stay on 127.0.0.1"));
        }
        let messages_need_token = options.messages.as_ref().is_some_and(|messages| messages.needs_token);
        if let (Some(host), Some(false)) =
            (outside, options.messages.as_ref().map(|messages| messages.needs_token))
        {
            return Err(Error::config(format!("{host} can be reached from other machines"))
                .with_hint("serve there without --mcp-no-token, or stay on 127.0.0.1"));
        }
        let own_token_file = match (&options.token, options.address) {
            (TokenRule::Nothing, Some(_)) if messages_need_token => {
                Some(options.store.spool().server_token_file()?)
            }
            _ => None,
        };
        let is_own_token = matches!(options.token, TokenRule::OfStore);
        let token_file = match (options.token, options.address) {
            (TokenRule::File(path), _) => Some(path),
            (TokenRule::OfStore, Some(_)) => Some(options.store.spool().server_token_file()?),
            (TokenRule::OfStore, None) | (TokenRule::Nothing, _) => None,
        };
        let token = token_file.as_deref().map(token::read).transpose()?;
        let message_token = match options.messages {
            Some(MessageOptions { needs_token: false, .. }) => None,
            _ => own_token_file.as_deref().map(token::read).transpose()?.or(token),
        };
        let message_token_file = own_token_file.or(token_file.clone()).filter(|_| messages_need_token);
        let mut hosts: Vec<String> =
            options.allow_hosts.iter().map(|name| name.to_ascii_lowercase()).collect();
        let allowed_paths = AllowedPaths::new(&options.config, &options.allow_roots)?;
        let mut listeners = options.address.map(ListenSocket::tcp).into_iter().collect::<Result<Vec<_>>>()?;
        let (socket, listener) = options.socket.as_deref().map(SocketFile::listen).transpose()?.unzip();
        listeners.extend(listener);
        let reactor = Reactor::listen(listeners)?;
        let address = reactor.address()?;
        let (mut session, mut browser) = (None, None);
        if let (true, Some(address)) = (options.opens, address) {
            let (offered, code) = BrowserSession::offer(address.port(), Instant::now())?;
            let host = if address.ip().is_loopback() || address.ip().is_unspecified() {
                // A token that a person has chosen may be guessed with the help of a name that shows when the guess is right.
                let name = session::host_name(token.filter(|_| is_own_token))?;
                hosts.push(name.clone());
                format!("{name}:{}", address.port())
            } else {
                address.to_string()
            };
            session = Some(offered);
            browser = Some(format!("http://{host}/open?code={code}"));
        }
        let connections = reactor.max_connections();
        let message_place = MessagePlace { path: MESSAGE_PATH, token_file: message_token_file };
        let messages = options.messages.is_some().then_some(message_place);
        let places =
            ServerAddresses { address, socket: options.socket, token_file, messages, browser, connections };
        let mut app = App::new(
            options.store,
            options.config,
            allowed_paths,
            AuthPolicy { hosts, token, message_token, session },
            (options.manage_queues, options.routes),
            AccessLog::new(options.access_log)?,
            reactor,
        )?;
        app.budgets = options.budgets;
        app.run_stats = options.run_stats;
        (app.has_ui, app.is_read_only) = (options.has_ui, options.is_read_only);
        app.messages = options.messages.map(|messages| MessageRoute::new(messages.endpoint));
        Ok(Self { app, _socket: socket, places, stop: Arc::new(AtomicBool::new(false)) })
    }

    /// Serves until it is stopped; then answers the requests that wait, and returns within five seconds.
    fn run(&self) -> Result<()> {
        let app = &self.app;
        let (signals, inbox) = app.long_polls.open();
        let submits = app.submit_batcher.open();
        let large_submits = app.submit_readers.open();
        let mut memory = MemoryTrimmer::prepare();
        // From here on no change is missed, however early the first request waits for one.
        let watch = app.store.watch_feed();
        let mut watcher = Watcher::new(&app.store, &app.long_polls, app, inbox)?;
        std::thread::scope(|scope| {
            let thread = |name: &str| std::thread::Builder::new().name(name.to_string());
            let start = || -> std::io::Result<()> {
                // One more than may use the store at the same time.
                for _ in 0..=MAX_WORKING {
                    thread("worker").spawn_scoped(scope, || app.reactor.work(app))?;
                }
                for _ in 0..READER_THREADS {
                    let run = || SubmitReaders::run(&large_submits, &app.store, &app.submit_batcher, app);
                    thread("files").spawn_scoped(scope, run)?;
                }
                let submit_all = |tasks| submit_all(&app.store, tasks);
                let run = move || app.submit_batcher.run(&submits, app, submit_all);
                thread("submits").spawn_scoped(scope, run)?;
                thread("tasks").spawn_scoped(scope, || app.task_list.run(&app.store, app))?;
                thread("watcher").spawn_scoped(scope, move || watcher.run())?;
                thread("feed").spawn_scoped(scope, move || forward_feed(watch, app, &signals))?;
                if let Some(messages) = &app.messages {
                    thread("mcp").spawn_scoped(scope, || {
                        if messages.run(app).is_err() {
                            self.stop.store(true, Ordering::SeqCst);
                        }
                    })?;
                }
                Ok(())
            };
            let started = start().map_err(|error| Error::io("start", "a thread", error));
            while started.is_ok() && !self.stop.load(Ordering::SeqCst) {
                std::thread::sleep(CHECK_INTERVAL);
                app.reactor.close_overdue(app);
                memory.trim_after_burst(app.reactor.body_bytes() + app.reactor.response_bytes());
            }
            app.stop();
            app.task_list.close();
            let stopped = Instant::now();
            while !app.reactor.is_quiet() && stopped.elapsed() < STOP_TIMEOUT {
                if stopped.elapsed() > STOP_LOCK_TIMEOUT {
                    app.submit_batcher.close();
                    stop_waiting_for_locks();
                }
                std::thread::sleep(CHECK_INTERVAL / 10);
            }
            app.reactor.end();
            if let Some(messages) = &app.messages {
                messages.close();
            }
            app.submit_readers.close();
            app.submit_batcher.close();
            stop_waiting_for_locks();
            started
        })
        .inspect(|()| app.finish_log())
    }
}
