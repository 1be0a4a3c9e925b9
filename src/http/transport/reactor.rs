//! The seam between the network and everything else: connections in, [`HttpResponse`]s out.
//!
//! A few threads share one epoll instance; each takes one ready connection at a time (one-shot, so
//! that no two have the same), reads, lets the [`HttpService`] answer, writes what the socket takes and
//! arms it again. No thread ever waits for a client: one that is slow, silent or only half there
//! costs a descriptor and a bounded buffer until its deadline. A request whose answer takes long is
//! *parked*: its connection stays armed for the client's hanging up alone, and whoever has the
//! answer gives it through [`Reactor::answer`].

use std::collections::HashMap;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};

use super::catch_panic::catch_panic;
use super::connection::{Connection, ConnectionPhase, ConnectionState};
use super::memory::{MemoryBudget, Reservation};
use super::parser::{HttpRequest, ParseStep};
use super::request_queue::RequestQueue;
use super::service::{HttpService, Reply, SendResult, Ticket};
use super::socket::ListenSocket;
use crate::http::response::HttpResponse;

// What an event is about; listeners are numbered from one on, connections from the other.
pub(crate) const WAKE: u64 = 0;
pub(crate) const LISTENERS: u64 = 1;
pub(crate) const FIRST_CONNECTION: u64 = 8;

/// Something for the service to do; without a request, to look again at a parked one.
pub(crate) struct ServiceJob {
    connection: Arc<Connection>,
    ticket: Ticket,
    request: Option<HttpRequest>,
}

/// All connections of one server.
pub struct Reactor {
    pub(crate) epoll: OwnedFd,
    pub(crate) wake: OwnedFd,
    pub(crate) listeners: Vec<ListenSocket>,
    pub(crate) connections: Mutex<HashMap<u64, Arc<Connection>>>,
    pub(crate) next_id: AtomicU64,
    pub(crate) max_connections: usize,
    /// Whether accepting has to wait for descriptors.
    pub(crate) is_full: AtomicBool,
    pub(crate) stopping: AtomicBool,
    /// Whose requests the service has.
    pub(crate) requests: RequestQueue<ServiceJob>,
    /// What the bodies of all requests take that are on their way or being answered.
    pub(crate) bodies: Arc<MemoryBudget>,
    /// What all answers take that are not sent yet.
    pub(crate) answers: Arc<MemoryBudget>,
    pub(crate) ended: AtomicBool,
}

impl Reactor {
    /// How many connections there are.
    pub fn connection_count(&self) -> usize {
        self.all().len()
    }

    /// How many connections there may be.
    pub fn max_connections(&self) -> usize {
        self.max_connections
    }

    /// What the bodies take that are on their way or being answered, in bytes.
    pub fn body_bytes(&self) -> usize {
        self.bodies.used()
    }

    /// What answers take that are not sent yet, in bytes.
    pub fn answer_bytes(&self) -> usize {
        self.answers.used()
    }

    /// Whether an answer with so large a body may be given now.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.answers.has_room(bytes)
    }

    /// Serves until [`Reactor::end`]; to be called by one thread more than requests may be in the service at
    /// once.
    pub fn work(&self, service: &dyn HttpService) {
        let mut events = [Event { flags: EventFlags::empty(), data: EventData::new_u64(WAKE) }; 1];
        while !self.ended.load(Ordering::SeqCst) {
            let timeout = Timespec { tv_sec: 60, tv_nsec: 0 };
            if !matches!(epoll::wait(&self.epoll, &mut events, Some(&timeout)), Ok(1)) {
                continue;
            }
            let [Event { flags, data }] = events;
            match data.u64() {
                WAKE => {}
                number if number < FIRST_CONNECTION => {
                    let listener = usize::try_from(number - LISTENERS).ok();
                    if let Some(listener) = listener.and_then(|n| self.listeners.get(n)) {
                        self.accept(number, listener);
                    }
                }
                id => {
                    let connection = self.all().get(&id).cloned();
                    if let Some(connection) = connection
                        && catch_panic(|| self.ready(&connection, flags, service)).is_none()
                    {
                        self.lose(&connection, &mut connection.lock(), service);
                    }
                    self.catch_up(service);
                }
            }
        }
    }

    /// Does what has waited for a thread.
    fn catch_up(&self, service: &dyn HttpService) {
        while !self.ended.load(Ordering::SeqCst)
            && let Some((leave, ServiceJob { connection, ticket, request })) = self.requests.next()
        {
            let done = catch_panic(|| {
                let state = self.ask(&connection, leave, ticket, request, service);
                self.advance(&connection, state, service);
            });
            if done.is_none() {
                self.lose(&connection, &mut connection.lock(), service);
            }
        }
    }

    /// Takes a job to the service, or leaves it to the next thread that is done. The service may take long, and
    /// others must be able to look at the connection meanwhile.
    fn ask_or_wait<'c>(
        &self,
        connection: &'c Arc<Connection>,
        state: MutexGuard<'c, ConnectionState>,
        request: Option<HttpRequest>,
        service: &dyn HttpService,
    ) -> Option<MutexGuard<'c, ConnectionState>> {
        let ticket = Ticket { connection: connection.id, request: state.request };
        drop(state);
        if request.as_ref().is_some_and(|request| service.is_quick(request)) {
            return Some(self.ask(connection, (), ticket, request, service));
        }
        let job = ServiceJob { connection: Arc::clone(connection), ticket, request };
        let (leave, job) = self.requests.begin(job)?;
        Some(self.ask(connection, leave, ticket, job.request, service))
    }

    /// Asks the service, and takes note of what it says; `leave` ends with that.
    fn ask<'c, L>(
        &self,
        connection: &'c Connection,
        leave: L,
        ticket: Ticket,
        request: Option<HttpRequest>,
        service: &dyn HttpService,
    ) -> MutexGuard<'c, ConnectionState> {
        let reply = match request {
            Some(request) => service.call(request, ticket),
            None => service.resume(ticket),
        };
        drop(leave);
        let mut state = connection.lock();
        self.take(&mut state, reply);
        state
    }

    /// Ends connections whose time is up; to be called every now and then.
    pub fn sweep(&self, service: &dyn HttpService) {
        let now = Instant::now();
        for connection in self.list() {
            let mut state = connection.lock();
            if !state.is_overdue(now) {
                continue;
            }
            if state.is_half_there() {
                let refusal =
                    HttpResponse::error(408, "request_timeout", "the request did not arrive in time");
                service.refused(&refusal);
                state.refuse(refusal);
                let _ = connection.flush(&mut state);
            }
            self.lose(&connection, &mut state, service);
        }
        if self.is_full.swap(false, Ordering::SeqCst) {
            self.accept_all();
        }
    }

    /// Accepts nothing more and ends connections as soon as they have their answers.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        for listener in &self.listeners {
            let _ = epoll::delete(&self.epoll, listener);
        }
    }

    /// Whether every request has its answer.
    pub fn is_quiet(&self) -> bool {
        self.list().iter().all(|connection| {
            let state = connection.lock();
            state.is_sent() && !matches!(state.phase, ConnectionPhase::Busy | ConnectionPhase::Waiting)
        })
    }

    /// Closes every connection and lets the threads in [`Reactor::work`] return.
    pub fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        for (_, connection) in self.all().drain() {
            connection.stream.shutdown(Shutdown::Both);
        }
    }

    /// Whether the client of a request is there to take the answer: one that has ended its side of the
    /// connection looks no different from one that has closed it.
    pub fn is_connected(&self, ticket: Ticket) -> bool {
        self.with_connection(ticket, |connection, state| {
            state.phase != ConnectionPhase::Closed && !connection.has_ended()
        })
        .unwrap_or(false)
    }

    /// Answers a parked request. Does nothing when its client has gone.
    pub fn answer(&self, ticket: Ticket, answer: HttpResponse) {
        self.with_connection(ticket, |connection, state| match state.phase {
            ConnectionPhase::Busy => state.early = Some(answer),
            ConnectionPhase::Waiting => {
                state.put(answer, self.stays());
                // A request that came behind this one is already here, and no event tells of it.
                state.again = !state.parser.is_idle();
                self.settle(connection, state);
            }
            ConnectionPhase::Reading
            | ConnectionPhase::Streaming
            | ConnectionPhase::Draining
            | ConnectionPhase::Closed => {}
        });
    }

    /// Sends a piece of a stream that an answer began.
    pub fn send(&self, ticket: Ticket, piece: &[u8]) -> SendResult {
        self.with_connection(ticket, |connection, state| match state.phase {
            ConnectionPhase::Busy | ConnectionPhase::Waiting => SendResult::Behind,
            ConnectionPhase::Streaming if state.is_behind() => SendResult::Behind,
            ConnectionPhase::Streaming => {
                state.push(piece);
                if self.settle(connection, state) { SendResult::Sent } else { SendResult::Gone }
            }
            ConnectionPhase::Reading | ConnectionPhase::Draining | ConnectionPhase::Closed => {
                SendResult::Gone
            }
        })
        .unwrap_or(SendResult::Gone)
    }

    /// Ends a stream once its client has all of it.
    pub fn finish(&self, ticket: Ticket) {
        self.with_connection(ticket, |connection, state| {
            if state.phase == ConnectionPhase::Streaming {
                state.phase = ConnectionPhase::Reading;
                self.settle(connection, state);
            }
        });
    }

    /// Lets one of the threads take a parked request to [`HttpService::resume`].
    pub fn resume(&self, ticket: Ticket) {
        self.with_connection(ticket, |connection, state| {
            state.again = true;
            if state.phase == ConnectionPhase::Waiting {
                self.arm(connection, state);
            }
        });
    }

    fn with_connection<T>(
        &self,
        ticket: Ticket,
        act: impl FnOnce(&Connection, &mut ConnectionState) -> T,
    ) -> Option<T> {
        let connection = self.all().get(&ticket.connection).cloned()?;
        let mut state = connection.lock();
        (state.request == ticket.request).then(|| act(&connection, &mut state))
    }

    pub(crate) fn all(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn list(&self) -> Vec<Arc<Connection>> {
        self.all().values().cloned().collect()
    }

    pub(crate) fn stays(&self) -> bool {
        !self.stopping.load(Ordering::SeqCst)
    }

    /// Something happened on a connection that this thread now has for itself.
    fn ready(&self, connection: &Arc<Connection>, flags: EventFlags, service: &dyn HttpService) {
        let mut state = connection.lock();
        let has_hung_up = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        let again = std::mem::take(&mut state.again);
        let is_here = match state.phase {
            ConnectionPhase::Closed | ConnectionPhase::Busy => return,
            ConnectionPhase::Waiting | ConnectionPhase::Streaming if has_hung_up => false,
            ConnectionPhase::Waiting if again => {
                state.phase = ConnectionPhase::Busy;
                let Some(after) = self.ask_or_wait(connection, state, None, service) else { return };
                state = after;
                true
            }
            ConnectionPhase::Waiting | ConnectionPhase::Streaming => true,
            ConnectionPhase::Draining => connection.drain(&mut state),
            ConnectionPhase::Reading => {
                let has_input = flags.contains(EventFlags::IN) || has_hung_up;
                connection.flush(&mut state) && (!has_input || connection.read(&mut state))
            }
        };
        if is_here {
            self.advance(connection, state, service);
        } else {
            self.lose(connection, &mut state, service);
        }
    }

    /// Sends what there is, answers the requests that have come whole, one after the other, and arms what is
    /// next.
    fn advance<'c>(
        &self,
        connection: &'c Arc<Connection>,
        mut state: MutexGuard<'c, ConnectionState>,
        service: &dyn HttpService,
    ) {
        loop {
            if !connection.settle(&mut state) {
                return self.lose(connection, &mut state, service);
            }
            if state.phase != ConnectionPhase::Reading || !state.is_sent() {
                break;
            }
            match state.parser.next() {
                Ok(ParseStep::Request(request)) => {
                    state.begin(request.keep_alive, request.method == "HEAD");
                    let after = self.ask_or_wait(connection, state, Some(request), service);
                    let Some(after) = after else { return };
                    state = after;
                }
                Ok(ParseStep::Head) => self.judge(&mut state, service),
                Ok(ParseStep::More) => break,
                Err(refusal) => {
                    service.refused(&refusal);
                    state.refuse(refusal);
                }
            }
        }
        self.arm(connection, &state);
    }

    /// Lets the service say whether it wants the request whose head has come, before anything of its body
    /// is kept.
    fn judge(&self, state: &mut ConnectionState, service: &dyn HttpService) {
        let Some(head) = state.parser.head() else { return };
        let (keep_alive, is_head, has_body) = (head.keep_alive, head.method == "HEAD", head.has_body);
        match service.admit(head) {
            Ok(most) => match state.parser.admit(most, Reservation::on(&self.bodies)) {
                Ok(waits) => {
                    if has_body {
                        state.expect_body();
                    }
                    if waits {
                        state.push(b"HTTP/1.1 100 Continue\r\n\r\n");
                    }
                }
                Err(refusal) => {
                    service.refused(&refusal);
                    state.refuse(refusal);
                }
            },
            Err(refusal) if has_body => state.refuse(refusal),
            Err(refusal) => {
                state.parser.skip();
                state.begin(keep_alive, is_head);
                state.put(refusal, self.stays());
            }
        }
    }

    /// Does what the service decided about the request of a connection.
    fn take(&self, state: &mut ConnectionState, reply: Reply) {
        if state.phase != ConnectionPhase::Busy {
            return;
        }
        match (reply, state.early.take()) {
            (Reply::Response(answer), _) | (Reply::Deferred, Some(answer)) => state.put(answer, self.stays()),
            (Reply::Deferred, None) => state.phase = ConnectionPhase::Waiting,
        }
    }

    /// Sends what can be sent, from outside. `false`: the client is gone.
    fn settle(&self, connection: &Connection, state: &mut ConnectionState) -> bool {
        let is_here = connection.settle(state);
        if is_here {
            self.arm(connection, state);
        } else {
            self.forget(connection, state);
        }
        is_here
    }

    fn arm(&self, connection: &Connection, state: &ConnectionState) {
        if let Some(flags) = state.wanted() {
            let _ = epoll::modify(&self.epoll, &connection.stream, EventData::new_u64(connection.id), flags);
        }
    }

    /// Ends a connection, and tells who still works for it.
    fn lose(&self, connection: &Connection, state: &mut ConnectionState, service: &dyn HttpService) {
        if matches!(state.phase, ConnectionPhase::Waiting | ConnectionPhase::Streaming) {
            service.gone(Ticket { connection: connection.id, request: state.request });
        }
        self.forget(connection, state);
    }

    pub(crate) fn forget(&self, connection: &Connection, state: &mut ConnectionState) {
        state.phase = ConnectionPhase::Closed;
        let _ = epoll::delete(&self.epoll, &connection.stream);
        connection.stream.shutdown(Shutdown::Both);
        self.all().remove(&connection.id);
    }
}

#[cfg(test)]
mod tests;
