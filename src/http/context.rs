//! What all handlers work with, and the way of a request to its handler and back.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::access_log::{Access, Line};
use super::api::params::{Input, decode};
use super::api::route::{self, Found, Route};
use super::auth::Guard;
use super::count_cache::Census;
use super::handlers::large_submit::Errands;
use super::handlers::metrics::Metrics;
use super::handlers::routes::RouteRules;
use super::long_poll::{Entry, Parked, Wish};
use super::response::Answer;
use super::submit_batcher::Gather;
use super::transport::catch_panic::{contain, internal};
use super::transport::memory_budget::Hold;
use super::transport::parser::{MAX_BODY, Request};
use super::transport::reactor::Sockets;
use super::transport::service::{Reply, Service, Ticket};
use crate::error::{Error, ErrorKind, Result};
use crate::model::TaskId;
use crate::store::Store;
use crate::workspace::{Config, Fingerprints};

/// What the files that one request names may have together, in bytes.
pub const MAX_FILES: u64 = 1024 * 1024 * 1024;

/// What a handler comes to: an answer, a request that waits, or a refusal.
pub type Outcome = std::result::Result<Reply, Answer>;

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

/// A server's parts.
pub struct App {
    /// The queue.
    pub store: Store,
    /// The workspace.
    pub config: Config,
    /// Directories that a task's workspace and worktree may be in, without links.
    pub roots: Vec<PathBuf>,
    /// Whether lanes and dispatch routes may be changed.
    pub manages: bool,
    /// How dispatch routes may be changed.
    pub routes: RouteRules,
    /// The network.
    pub sockets: Sockets,
    /// Requests that wait.
    pub parked: Parked,
    /// The way of submits into the store.
    pub submits: Gather,
    /// The way of those that name large files to who reads these.
    pub errands: Errands,
    /// How many tasks there are.
    pub census: Census,
    /// What was counted.
    pub metrics: Metrics,
    /// When the server started.
    pub started: Instant,
    /// Who may ask.
    pub guard: Guard,
    access: Access,
    stopping: Arc<AtomicBool>,
}

/// A request on its way: for the log, and for what is counted.
#[derive(Clone, Debug)]
pub struct Trace {
    at: Instant,
    method: String,
    path: String,
    /// The pattern of the route it took.
    route: &'static str,
}

impl Trace {
    /// A request that comes in now.
    fn of(request: &Request, route: &'static str) -> Self {
        Self { at: Instant::now(), method: request.method.clone(), path: request.path.clone(), route }
    }
}

/// A request that is answered by another thread than its handler's.
pub struct Later {
    ticket: Ticket,
    trace: Trace,
    /// Its body counts until it is answered.
    _hold: Hold,
}

/// One request as its handler sees it.
pub struct Call<'a> {
    /// The server.
    pub app: &'a App,
    /// The request as it came.
    pub request: &'a Request,
    /// The fields of its query.
    pub query: Input,
    /// The fields of its body.
    pub body: Input,
    /// What stands in the path where the route has a name in braces, in clear.
    pub parameter: String,
    /// What its body counts for.
    hold: Cell<Hold>,
    ticket: Ticket,
    trace: &'a Trace,
}

impl App {
    /// Puts the parts together.
    pub fn new(
        store: Store,
        config: Config,
        roots: Vec<PathBuf>,
        guard: Guard,
        (manages, routes): (bool, RouteRules),
        access: Access,
        sockets: Sockets,
    ) -> Result<Self> {
        let metrics = Metrics::new(store.feed_end()?);
        Ok(Self {
            store,
            config,
            roots,
            manages,
            routes,
            sockets,
            parked: Parked::default(),
            submits: Gather::default(),
            errands: Errands::default(),
            census: Census::default(),
            metrics,
            started: Instant::now(),
            guard,
            access,
            stopping: Arc::default(),
        })
    }

    /// Lets the server end: nothing new is accepted, and whoever waits is answered.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.sockets.stop();
        self.parked.stop();
    }

    /// Lines of the access log that nobody read in time.
    pub fn dropped_lines(&self) -> u64 {
        self.access.dropped()
    }

    /// Waits a moment for the access log.
    pub fn finish_log(&self) {
        self.access.finish(self.store.now().wall);
    }

    /// Fingerprints for the files of one request.
    pub fn fingerprints(&self) -> Fingerprints {
        Fingerprints::bounded(MAX_FILES, Arc::clone(&self.stopping))
    }

    /// Whether somebody still waits for the answer to a request.
    pub fn is_wanted(&self, later: &Later) -> bool {
        self.sockets.is_here(later.ticket)
    }

    /// Whether the server is about to end.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Answers a request that waited.
    pub fn answer(&self, entry: &Entry, answer: Answer) {
        if !entry.wish.is_stream() {
            let answer = self.conclude(&entry.trace, answer);
            self.sockets.answer(entry.ticket, answer);
        }
    }

    /// Answers a request that another thread saw to.
    pub fn answer_later(&self, later: &Later, answer: Answer) {
        let answer = self.conclude(&later.trace, answer);
        self.sockets.answer(later.ticket, answer);
    }

    /// The answer as it is given. One that can be asked for again gives way while too many are not taken.
    fn conclude(&self, trace: &Trace, answer: Answer) -> Answer {
        let is_repeatable = trace.method == "GET" && !answer.is_stream;
        let is_postponed = is_repeatable && !self.sockets.has_room(answer.body.len());
        let answer = if is_postponed {
            let text = "too many answers are on their way to clients that do not take them; try again later";
            Answer::refusal(503, "too_many_answers", text).with("Retry-After", "5")
        } else {
            answer
        };
        self.note(trace, &answer);
        answer
    }

    fn note(&self, trace: &Trace, answer: &Answer) {
        let took = trace.at.elapsed();
        self.metrics.count_request(&trace.method, trace.route, answer.status, took);
        self.access.write(&Line {
            time: self.store.now().wall,
            method: &trace.method,
            path: &trace.path,
            status: answer.status,
            took,
            bytes: answer.body.len(),
        });
    }

    /// Everything about a request that its head decides: how large its body may be, or why it is not served.
    fn judge(&self, head: &Request, pattern: &mut &'static str) -> std::result::Result<usize, Answer> {
        self.guard.check(head)?;
        let route = match route::find(&head.method, &head.path) {
            Found::Route(route, _) => route,
            Found::Options(_) => return Ok(0),
            Found::Method(allow) => return Err(other_methods(allow)),
            Found::Nothing => return Err(unknown_route()),
        };
        *pattern = route.path;
        if route.is_managing && !self.manages {
            let text = "changing lanes and routes is switched off; start with --enable-queue-management";
            return Err(Answer::refusal(403, "management_disabled", text));
        }
        if route.body.is_none() {
            return Ok(0);
        }
        self.guard.check_body(head)?;
        Ok(MAX_BODY)
    }

    fn handle(&self, mut request: Request, ticket: Ticket, trace: &mut Trace) -> Outcome {
        let (route, parameter): (&Route, _) = match route::find(&request.method, &request.path) {
            Found::Route(route, parameter) => (route, parameter),
            Found::Options(allow) => return Ok(Answer::empty().with("Allow", allow).into()),
            Found::Method(allow) => return Err(other_methods(allow)),
            Found::Nothing => return Err(unknown_route()),
        };
        trace.route = route.path;
        let parameter = decode(parameter.unwrap_or_default(), false)?;
        let query = Input::from_query(route.query, &request.query)?;
        // What is used of a body is copied out of it.
        let bytes = std::mem::take(&mut request.body);
        let body = route.body.map_or(Ok(Input::default()), |fields| Input::from_body(fields, &bytes))?;
        drop(bytes);
        let call = Call {
            app: self,
            query,
            hold: Cell::new(std::mem::take(&mut request.hold)),
            request: &request,
            body,
            parameter,
            ticket,
            trace,
        };
        (route.run)(&call)
    }
}

impl Service for App {
    fn admit(&self, head: &Request) -> std::result::Result<usize, Answer> {
        let mut route = "";
        self.judge(head, &mut route).inspect_err(|refusal| self.note(&Trace::of(head, route), refusal))
    }

    fn is_quick(&self, request: &Request) -> bool {
        request.path == "/healthz"
    }

    fn call(&self, request: Request, ticket: Ticket) -> Reply {
        let mut trace = Trace::of(&request, "");
        let handled = contain(|| self.handle(request, ticket, &mut trace));
        let reply = match handled.unwrap_or_else(|| Err(internal())) {
            Ok(reply) => reply,
            Err(refusal) => Reply::Answer(refusal),
        };
        match reply {
            Reply::Answer(answer) => Reply::Answer(self.conclude(&trace, answer)),
            Reply::Parked => Reply::Parked,
        }
    }

    fn resume(&self, ticket: Ticket) -> Reply {
        let Some(tried) = contain(|| self.parked.try_claim(self, ticket)) else {
            self.parked.forget(ticket);
            return Reply::Answer(internal());
        };
        let Some((entry, answer)) = tried else {
            return Reply::Parked;
        };
        Reply::Answer(self.conclude(&entry.trace, answer))
    }

    fn gone(&self, ticket: Ticket) {
        self.parked.forget(ticket);
    }

    fn refused(&self, refusal: &Answer) {
        let trace = Trace { at: Instant::now(), method: String::new(), path: String::new(), route: "" };
        self.note(&trace, refusal);
    }
}

impl Call<'_> {
    /// The task that the path names.
    pub fn id(&self) -> Result<TaskId> {
        TaskId::parse(&self.parameter)
    }

    /// What it takes to answer the request from elsewhere.
    pub fn later(&self) -> Later {
        Later { ticket: self.ticket, trace: self.trace.clone(), _hold: self.hold.take() }
    }

    /// Whether only the head of the answer is wanted, for which nobody should have to wait.
    pub fn is_head(&self) -> bool {
        self.request.method == "HEAD"
    }

    /// Answers when the wish is fulfilled, at once if it is already, at the latest after `seconds`.
    pub fn wait(&self, wish: Wish, seconds: f64) -> Outcome {
        if let Some(answer) = wish.look(self.app, self.ticket)? {
            return Ok(answer.into());
        }
        if seconds <= 0.0 || self.is_head() || self.app.is_stopping() {
            return Ok(wish.in_vain(self.app.is_stopping()).into());
        }
        let until = Instant::now().checked_add(std::time::Duration::from_secs_f64(seconds));
        self.park(wish, until)
    }

    /// Begins a stream that goes on until the client or the server ends.
    pub fn stream(&self, wish: Wish, begin: Answer) -> Outcome {
        if !self.is_head() {
            self.park(wish, None)?;
        }
        Ok(begin.into())
    }

    fn park(&self, wish: Wish, until: Option<Instant>) -> Outcome {
        let entry = Entry::new(self.ticket, wish, until, self.trace.clone());
        if self.app.parked.add(entry) {
            return Ok(Reply::Parked);
        }
        Err(Answer::refusal(503, "too_many_waits", "too many requests are waiting").with("Retry-After", "5"))
    }
}

fn other_methods(allow: String) -> Answer {
    Answer::refusal(405, "method_not_allowed", "this route has other methods").with("Allow", allow)
}

fn unknown_route() -> Answer {
    Answer::refusal(404, "unknown_route", "no such route")
}

/// The refusal of what a stopping server cannot bring to its end.
pub fn stopping() -> Answer {
    Answer::refusal(503, "stopping", "the server is stopping").with("Retry-After", "1")
}

/// An operating system's refusal that a client's own words have caused is the client's to mend.
pub fn blame_client(error: Error) -> Error {
    if error.kind() == ErrorKind::Io { Error::invalid(error.to_string()) } else { error }
}
