//! The state of a server, and one request as its handler sees it.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::access_log::{AccessLog, AccessRecord};
use super::allowed_paths::AllowedPaths;
use super::api::params::Params;
use super::auth::AuthPolicy;
use super::bulk_answers::BulkAnswers;
use super::change_replies::ChangeReplies;
use super::count_cache::CountCache;
use super::long_poll::{LongPolls, WaitingRequest};
use super::message_route::MessageRoute;
use super::metrics::Metrics;
use super::responder::{DeferredRequest, RequestTrace, Responder};
use super::submit_batcher::SubmitBatcher;
use super::submit_draft::MAX_FILES;
use super::submit_readers::SubmitReaders;
use super::task_list::TaskList;
use super::transport::memory::Reservation;
use super::transport::reactor::Reactor;
use super::transport::request::HttpRequest;
use super::transport::response::HttpResponse;
use super::transport::service::{Reply, SendResult, Ticket};
use super::wait_for::{WaitEnd, WaitFor};
use crate::error::Result;
use crate::model::json::Object;
use crate::model::spending::{BudgetScope, BudgetUnit};
use crate::model::{LaneName, TaskId, Time};
use crate::store::Store;
use crate::workspace::{Config, FileHashes};

/// What a handler returns: a reply, or a refusal.
pub(super) type HandlerResult = std::result::Result<Reply, HttpResponse>;

/// The type of [`RouteRules::agree`]: takes the configuration, the path of routes.json, and its routes before and
/// after the change.
pub(crate) type AgreeToRoutes = Box<dyn Fn(&Config, &Path, &Object, &Object) + Send + Sync>;

/// Shows and raises the budgets of dispatchers, which this interface knows nothing else about.
#[derive(Clone, Copy)]
pub(crate) struct BudgetAccess {
    /// Returns how much of each budget of a configuration is spent.
    pub show: fn(&Config, &Store) -> Result<Vec<Object>>,
    /// Raises the budgets of a scope by an amount, and returns them.
    pub raise: fn(&Config, &Store, &BudgetScope, BudgetUnit, f64) -> Result<Vec<Object>>,
}

/// Returns the statistics of the runs of the last days, or of all, as `lanes stats --json` shows them.
pub(crate) type RunStats = fn(&Config, &Store, Option<u32>) -> Result<Object>;

/// How dispatch routes may be changed.
pub(crate) struct RouteRules {
    /// Whether a route may choose what runs, with which rights and limits.
    pub programs: bool,
    /// The dispatcher's own check of a lane's route.
    pub check: fn(&Config, &LaneName, &Value) -> Result<()>,
    /// Records trust in a change of routes.json, from the routes before and after it, so that a dispatcher does
    /// not ask about a change that an authorized client has made.
    pub agree: AgreeToRoutes,
    /// Returns the reason why a change of a lane's route, from one (null for none) to another, chooses what runs;
    /// `None` if it does not.
    pub restricted_change: fn(&Config, &LaneName, &Value, &Value) -> Result<Option<String>>,
}

/// The state of a server.
pub(crate) struct App {
    /// The queue.
    pub store: Store,
    /// The workspace.
    pub config: Config,
    /// The directories that the paths of a request may lead to.
    pub allowed_paths: AllowedPaths,
    /// Whether lanes and dispatch routes may be changed.
    pub allows_management: bool,
    /// How dispatch routes may be changed.
    pub route_rules: RouteRules,
    /// The connections.
    pub reactor: Reactor,
    /// The requests that wait.
    pub long_polls: LongPolls,
    /// Writes submits to the store.
    pub submit_batcher: SubmitBatcher,
    /// Reads the files of submits that name large ones.
    pub submit_readers: SubmitReaders,
    /// The budgets of dispatchers.
    pub budgets: BudgetAccess,
    /// The statistics of runs.
    pub run_stats: RunStats,
    /// The number of tasks by lane and state.
    pub counts: CountCache,
    /// All tasks in brief.
    pub task_list: TaskList,
    /// The answers of the last changes of many tasks.
    pub bulk_answers: BulkAnswers,
    /// The replies to the last changes of remote stores.
    pub change_replies: ChangeReplies,
    /// The counters.
    pub metrics: Metrics,
    /// The time at which the server started.
    pub started: Instant,
    /// The same by the clock of the store, which tells clients one server from the next.
    pub started_at: Time,
    /// The rules by which requests are served.
    pub auth: AuthPolicy,
    /// Whether the web interface is served.
    pub has_ui: bool,
    /// Whether every request that may change something is refused.
    pub is_read_only: bool,
    /// What answers messages of the Model Context Protocol, if they are served.
    pub messages: Option<MessageRoute>,
    access_log: AccessLog,
    stopping: Arc<AtomicBool>,
}

impl App {
    /// Makes the state of a server whose threads are not started yet.
    ///
    /// # Errors
    /// Any error of the store.
    pub(crate) fn new(
        store: Store,
        config: Config,
        allowed_paths: AllowedPaths,
        auth: AuthPolicy,
        (allows_management, route_rules): (bool, RouteRules),
        access_log: AccessLog,
        reactor: Reactor,
    ) -> Result<Self> {
        let metrics = Metrics::new(store.feed_end()?);
        let started_at = store.now().wall;
        Ok(Self {
            store,
            config,
            allowed_paths,
            allows_management,
            route_rules,
            reactor,
            long_polls: LongPolls::default(),
            submit_batcher: SubmitBatcher::default(),
            submit_readers: SubmitReaders::default(),
            budgets: BudgetAccess { show: |_, _| Ok(Vec::new()), raise: |_, _, _, _, _| Ok(Vec::new()) },
            run_stats: |_, _, _| Ok(Object::new()),
            counts: CountCache::default(),
            task_list: TaskList::default(),
            bulk_answers: BulkAnswers::default(),
            change_replies: ChangeReplies::default(),
            metrics,
            started: Instant::now(),
            started_at,
            auth,
            has_ui: true,
            is_read_only: false,
            messages: None,
            access_log,
            stopping: Arc::default(),
        })
    }

    /// Checks that the state directory is where it was when the server started.
    ///
    /// # Errors
    /// The response to a request if not: what the server has open is another queue than that of its path.
    pub(crate) fn check_store(&self) -> std::result::Result<(), HttpResponse> {
        if self.store.is_in_place() {
            return Ok(());
        }
        let text = "the state directory was removed or moved; start the server again once it is back";
        Err(HttpResponse::error(503, "store_gone", text))
    }

    /// Begins the shutdown: new connections are refused, and requests that wait are answered.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.reactor.stop();
        self.long_polls.stop();
        if let Some(messages) = &self.messages {
            messages.stop();
        }
    }

    /// Returns how many records of the access log were dropped because they were not read in time.
    pub(crate) fn dropped_log_records(&self) -> u64 {
        self.access_log.dropped()
    }

    /// Waits up to a second until the access log is written.
    pub(crate) fn finish_log(&self) {
        self.access_log.finish(self.store.now().wall);
    }

    /// Returns an empty set of hashes for the files of one request.
    pub(crate) fn hashes(&self) -> FileHashes {
        FileHashes::bounded(MAX_FILES, Arc::clone(&self.stopping))
    }

    /// Converts the response of a handler to the one that is sent, and records it. A response that the client can
    /// request again is replaced by an error while too many responses are not read by their clients.
    pub(crate) fn finish_response(&self, trace: &RequestTrace, response: HttpResponse) -> HttpResponse {
        let is_repeatable = trace.method == "GET" && !response.is_stream;
        let is_withheld = is_repeatable && !self.reactor.has_room(response.body.len());
        let response = if is_withheld {
            let text = "too many responses are waiting for clients that do not take them; try again later";
            HttpResponse::error(503, "too_many_answers", text).with_header("Retry-After", "5")
        } else {
            response
        };
        self.record(trace, &response);
        response
    }

    /// Records a response in the metrics and in the access log.
    pub(crate) fn record(&self, trace: &RequestTrace, response: &HttpResponse) {
        let took = trace.received_at.elapsed();
        self.metrics.count_request(&trace.method, trace.pattern, response.status, took);
        self.access_log.write(&AccessRecord {
            time: self.store.now().wall,
            method: &trace.method,
            path: &trace.path,
            status: response.status,
            took,
            bytes: response.body.len(),
        });
    }
}

impl Responder for App {
    fn respond(&self, ticket: Ticket, trace: &RequestTrace, response: HttpResponse) {
        let response = self.finish_response(trace, response);
        self.reactor.answer(ticket, response);
    }

    fn is_connected(&self, ticket: Ticket) -> bool {
        self.reactor.is_connected(ticket)
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    fn resume(&self, ticket: Ticket) {
        self.reactor.resume(ticket);
    }

    fn send(&self, ticket: Ticket, piece: &[u8]) -> SendResult {
        self.reactor.send(ticket, piece)
    }

    fn finish(&self, ticket: Ticket, last: &[u8]) {
        self.reactor.finish(ticket, last);
    }
}

/// One request as its handler sees it.
pub(crate) struct Call<'a> {
    /// The server.
    pub app: &'a App,
    /// The request as it was received.
    pub request: &'a HttpRequest,
    /// The fields of its query.
    pub query: Params,
    /// The fields of its body.
    pub body: Params,
    /// The decoded part of the path for which the route has a name in braces.
    pub parameter: String,
    /// The memory that its body takes.
    pub memory: Cell<Reservation>,
    /// The ticket under which it is answered.
    pub ticket: Ticket,
    /// The data that the log and the metrics record of it.
    pub trace: &'a RequestTrace,
}

impl Call<'_> {
    /// Returns the task that the path names.
    ///
    /// # Errors
    /// `Invalid` when it is not a valid id.
    pub(crate) fn id(&self) -> Result<TaskId> {
        TaskId::parse(&self.parameter)
    }

    /// Returns the data that another thread needs to answer the request; the handler then returns
    /// [`Reply::Deferred`].
    pub(crate) fn defer(&self) -> DeferredRequest {
        DeferredRequest::new(self.ticket, self.trace.clone(), self.memory.take())
    }

    /// Returns whether this is a HEAD request, which never waits.
    pub(crate) fn is_head(&self) -> bool {
        self.request.method == "HEAD"
    }

    /// Responds once `wait` has a response: immediately if it has one already, and after `longest` at the latest.
    ///
    /// # Errors
    /// The response to an error of the store, or when too many requests wait.
    pub(crate) fn wait(&self, wait: WaitFor, longest: Duration) -> HandlerResult {
        if let Some(response) = wait.check(&self.app.store, self.app, self.ticket)? {
            return Ok(response.into());
        }
        if self.app.is_stopping() {
            return Ok(wait.response_without_result(WaitEnd::Stopping).into());
        }
        if longest.is_zero() || self.is_head() {
            return Ok(wait.response_without_result(WaitEnd::TimedOut).into());
        }
        let until = Instant::now().checked_add(longest);
        self.add_long_poll(wait, until)
    }

    /// Begins a stream that lasts until the client or the server ends it.
    ///
    /// # Errors
    /// The response when too many requests wait.
    pub(crate) fn stream(&self, wait: WaitFor, begin: HttpResponse) -> HandlerResult {
        if !self.is_head() {
            self.add_long_poll(wait, None)?;
        }
        Ok(begin.into())
    }

    fn add_long_poll(&self, wait: WaitFor, until: Option<Instant>) -> HandlerResult {
        let request = WaitingRequest::new(self.ticket, wait, until, self.trace.clone());
        if self.app.long_polls.add(request) {
            return Ok(Reply::Deferred);
        }
        let text = "too many requests are waiting";
        Err(HttpResponse::error(503, "too_many_waits", text).with_header("Retry-After", "5"))
    }
}
