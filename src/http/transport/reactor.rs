//! Drives all connections: reads requests, lets an [`HttpService`] answer them, and sends the [`HttpResponse`]s.
//!
//! A few threads share one epoll instance; each takes one ready connection at a time (one-shot, so that no two have
//! the same), reads, calls the [`HttpService`], writes what the socket takes and arms the connection again. No
//! thread ever waits for a client: one that is slow or silent, or sends half a request, costs a descriptor and a
//! bounded buffer until its deadline. A request whose response takes long is *deferred*: its connection stays armed
//! only for the client's hanging up, and the thread that has the response passes it to [`Reactor::answer`].

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
use super::parser::ParseStep;
use super::request::HttpRequest;
use super::request_queue::RequestQueue;
use super::response::HttpResponse;
use super::service::{HttpService, Reply, SendResult, Ticket};
use super::socket::ListenSocket;

/// The number of the event that wakes the threads at the end.
pub(crate) const WAKE_EVENT: u64 = 0;
/// The number of the first listener's events.
pub(crate) const FIRST_LISTENER: u64 = 1;
/// The number of the first connection's events.
pub(crate) const FIRST_CONNECTION: u64 = 8;

/// A call of the service; without a request, to try again to answer a deferred one.
pub(crate) struct ServiceJob {
    connection: Arc<Connection>,
    ticket: Ticket,
    request: Option<HttpRequest>,
}

/// All connections of one server.
pub(crate) struct Reactor {
    pub(crate) epoll: OwnedFd,
    pub(crate) wake: OwnedFd,
    pub(crate) listeners: Vec<ListenSocket>,
    pub(crate) connections: Mutex<HashMap<u64, Arc<Connection>>>,
    pub(crate) next_id: AtomicU64,
    pub(crate) max_connections: usize,
    /// Whether accepting waits until descriptors are free.
    pub(crate) is_full: AtomicBool,
    pub(crate) stopping: AtomicBool,
    /// The requests that are in the service, or wait for it.
    pub(crate) requests: RequestQueue<ServiceJob>,
    /// The memory of the bodies of all requests that are arriving or being answered.
    pub(crate) bodies: Arc<MemoryBudget>,
    /// The memory of all responses that are not sent yet.
    pub(crate) responses: Arc<MemoryBudget>,
    pub(crate) ended: AtomicBool,
}

impl Reactor {
    /// Returns how many connections there are.
    pub(crate) fn connection_count(&self) -> usize {
        self.all().len()
    }

    /// Returns how many connections there may be.
    pub(crate) fn max_connections(&self) -> usize {
        self.max_connections
    }

    /// Returns the bytes of the bodies of requests that are arriving or being answered.
    pub(crate) fn body_bytes(&self) -> usize {
        self.bodies.used()
    }

    /// Returns the bytes of responses that are not sent yet.
    pub(crate) fn response_bytes(&self) -> usize {
        self.responses.used()
    }

    /// Returns whether there is memory for a response with a body of `bytes`.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.responses.has_room(bytes)
    }

    /// Serves until [`Reactor::end`]; to be called by one thread more than requests may be in the service at the same
    /// time.
    pub(crate) fn work(&self, service: &dyn HttpService) {
        let mut events = [Event { flags: EventFlags::empty(), data: EventData::new_u64(WAKE_EVENT) }; 1];
        while !self.ended.load(Ordering::SeqCst) {
            let timeout = Timespec { tv_sec: 60, tv_nsec: 0 };
            if !matches!(epoll::wait(&self.epoll, &mut events, Some(&timeout)), Ok(1)) {
                continue;
            }
            let [Event { flags, data }] = events;
            match data.u64() {
                WAKE_EVENT => {}
                number if number < FIRST_CONNECTION => {
                    let listener = usize::try_from(number - FIRST_LISTENER).ok();
                    if let Some(listener) = listener.and_then(|n| self.listeners.get(n)) {
                        self.accept(number, listener);
                    }
                }
                id => {
                    let connection = self.all().get(&id).cloned();
                    if let Some(connection) = connection
                        && catch_panic(|| self.handle_event(&connection, flags, service)).is_none()
                    {
                        self.drop_connection(&connection, &mut connection.lock(), service);
                    }
                    self.serve_queue(service);
                }
            }
        }
    }

    /// Takes requests that wait for a thread to the service.
    fn serve_queue(&self, service: &dyn HttpService) {
        while !self.ended.load(Ordering::SeqCst)
            && let Some((slot, ServiceJob { connection, ticket, request })) = self.requests.next_waiting()
        {
            let done = catch_panic(|| {
                let state = self.call(&connection, slot, ticket, request, service);
                self.advance(&connection, state, service);
            });
            if done.is_none() {
                self.drop_connection(&connection, &mut connection.lock(), service);
            }
        }
    }

    /// Calls the service if a slot is free, and otherwise leaves the job to the next thread that is free and
    /// returns `None`. The connection is unlocked meanwhile, since the service may take long.
    fn call_or_queue<'c>(
        &self,
        connection: &'c Arc<Connection>,
        state: MutexGuard<'c, ConnectionState>,
        request: Option<HttpRequest>,
        service: &dyn HttpService,
    ) -> Option<MutexGuard<'c, ConnectionState>> {
        let ticket = Ticket { connection: connection.id, request: state.request };
        drop(state);
        if request.as_ref().is_some_and(|request| service.is_quick(request)) {
            return Some(self.call(connection, (), ticket, request, service));
        }
        let job = ServiceJob { connection: Arc::clone(connection), ticket, request };
        let (slot, job) = self.requests.start_or_queue(job)?;
        Some(self.call(connection, slot, ticket, job.request, service))
    }

    /// Calls the service and records its reply; `slot` is returned before that.
    fn call<'c, L>(
        &self,
        connection: &'c Connection,
        slot: L,
        ticket: Ticket,
        request: Option<HttpRequest>,
        service: &dyn HttpService,
    ) -> MutexGuard<'c, ConnectionState> {
        let reply = match request {
            Some(request) => service.call(request, ticket),
            None => service.resume(ticket),
        };
        drop(slot);
        let mut state = connection.lock();
        self.apply_reply(&mut state, reply);
        state
    }

    /// Ends connections whose time is up; to be called regularly.
    pub(crate) fn close_overdue(&self, service: &dyn HttpService) {
        let now = Instant::now();
        for connection in self.list() {
            let mut state = connection.lock();
            if !state.is_overdue(now) {
                continue;
            }
            if state.has_partial_request() {
                let refusal =
                    HttpResponse::error(408, "request_timeout", "the request did not arrive in time");
                service.refused(&refusal);
                state.refuse(refusal);
                let _ = connection.flush(&mut state);
            }
            self.drop_connection(&connection, &mut state, service);
        }
        if self.is_full.swap(false, Ordering::SeqCst) {
            self.accept_all();
        }
    }

    /// Accepts no more connections, and ends each as soon as its response is sent.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        for listener in &self.listeners {
            let _ = epoll::delete(&self.epoll, listener);
        }
    }

    /// Returns whether every request has its response.
    pub(crate) fn is_quiet(&self) -> bool {
        self.list().iter().all(|connection| {
            let state = connection.lock();
            state.is_sent() && !matches!(state.phase, ConnectionPhase::Busy | ConnectionPhase::Waiting)
        })
    }

    /// Closes every connection and lets the threads in [`Reactor::work`] return.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        for (_, connection) in self.all().drain() {
            connection.stream.shutdown(Shutdown::Both);
        }
    }

    /// Returns whether the client of a request is still connected. A client that has closed its sending side looks
    /// the same as one that has closed the connection.
    pub(crate) fn is_connected(&self, ticket: Ticket) -> bool {
        self.with_connection(ticket, |connection, state| {
            state.phase != ConnectionPhase::Closed && !connection.has_ended()
        })
        .unwrap_or(false)
    }

    /// Sends the response to a deferred request. Does nothing when its client has disconnected.
    pub(crate) fn answer(&self, ticket: Ticket, response: HttpResponse) {
        self.with_connection(ticket, |connection, state| match state.phase {
            ConnectionPhase::Busy => state.early_response = Some(response),
            ConnectionPhase::Waiting => {
                state.put(response, self.stays_open());
                // The next request may have arrived already, and no event would announce it.
                state.again = !state.parser.is_idle();
                self.flush_and_arm(connection, state);
            }
            ConnectionPhase::Reading
            | ConnectionPhase::Streaming
            | ConnectionPhase::Draining
            | ConnectionPhase::Closed => {}
        });
    }

    /// Sends a piece of a stream that a response began.
    pub(crate) fn send(&self, ticket: Ticket, piece: &[u8]) -> SendResult {
        self.with_connection(ticket, |connection, state| match state.phase {
            ConnectionPhase::Busy => match state.early_stream() {
                Some(begin) => {
                    begin.body.extend_from_slice(piece);
                    SendResult::Sent
                }
                None => SendResult::Behind,
            },
            ConnectionPhase::Waiting => SendResult::Behind,
            ConnectionPhase::Streaming if state.is_behind() => SendResult::Behind,
            ConnectionPhase::Streaming => {
                state.push(piece);
                if self.flush_and_arm(connection, state) { SendResult::Sent } else { SendResult::Gone }
            }
            ConnectionPhase::Reading | ConnectionPhase::Draining | ConnectionPhase::Closed => {
                SendResult::Gone
            }
        })
        .unwrap_or(SendResult::Gone)
    }

    /// Ends a stream once its client has received all of it, and this last piece, which is accepted however far the
    /// client is behind.
    pub(crate) fn finish(&self, ticket: Ticket, last: &[u8]) {
        self.with_connection(ticket, |connection, state| match state.phase {
            ConnectionPhase::Busy => {
                if let Some(begin) = state.early_stream() {
                    // What came before the service returned is the whole.
                    begin.body.extend_from_slice(last);
                    begin.is_stream = false;
                }
            }
            ConnectionPhase::Streaming => {
                state.push(last);
                state.phase = ConnectionPhase::Reading;
                self.flush_and_arm(connection, state);
            }
            ConnectionPhase::Waiting
            | ConnectionPhase::Reading
            | ConnectionPhase::Draining
            | ConnectionPhase::Closed => {}
        });
    }

    /// Lets one of the threads call [`HttpService::resume`] for a deferred request.
    pub(crate) fn resume(&self, ticket: Ticket) {
        self.with_connection(ticket, |connection, state| {
            state.again = true;
            if state.phase == ConnectionPhase::Waiting {
                self.watch_events(connection, state);
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

    pub(crate) fn stays_open(&self) -> bool {
        !self.stopping.load(Ordering::SeqCst)
    }

    /// Handles an event of a connection that this thread now has for itself.
    fn handle_event(&self, connection: &Arc<Connection>, flags: EventFlags, service: &dyn HttpService) {
        let mut state = connection.lock();
        let has_hung_up = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        let again = std::mem::take(&mut state.again);
        let is_here = match state.phase {
            ConnectionPhase::Closed | ConnectionPhase::Busy => return,
            ConnectionPhase::Waiting | ConnectionPhase::Streaming if has_hung_up => false,
            ConnectionPhase::Waiting if again => {
                state.phase = ConnectionPhase::Busy;
                let Some(after) = self.call_or_queue(connection, state, None, service) else { return };
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
            self.drop_connection(connection, &mut state, service);
        }
    }

    /// Sends what there is, answers the requests that are complete, one after the other, and arms the connection for
    /// what comes next.
    fn advance<'c>(
        &self,
        connection: &'c Arc<Connection>,
        mut state: MutexGuard<'c, ConnectionState>,
        service: &dyn HttpService,
    ) {
        loop {
            if !connection.flush_and_close(&mut state) {
                return self.drop_connection(connection, &mut state, service);
            }
            if state.phase != ConnectionPhase::Reading || !state.is_sent() {
                break;
            }
            match state.parser.next() {
                Ok(ParseStep::Request(request)) => {
                    state.begin(request.keep_alive, request.method == "HEAD");
                    let after = self.call_or_queue(connection, state, Some(request), service);
                    let Some(after) = after else { return };
                    state = after;
                }
                Ok(ParseStep::Head) => self.admit_head(&mut state, service),
                Ok(ParseStep::NeedMore) => break,
                Err(refusal) => {
                    service.refused(&refusal);
                    state.refuse(refusal);
                }
            }
        }
        self.watch_events(connection, &state);
    }

    /// Lets the service decide whether it serves the request whose head has arrived, before any of its body is
    /// kept.
    fn admit_head(&self, state: &mut ConnectionState, service: &dyn HttpService) {
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
                state.put(refusal, self.stays_open());
            }
        }
    }

    /// Applies the service's reply to the request of a connection.
    fn apply_reply(&self, state: &mut ConnectionState, reply: Reply) {
        if state.phase != ConnectionPhase::Busy {
            return;
        }
        match (reply, state.early_response.take()) {
            (Reply::Response(response), _) | (Reply::Deferred, Some(response)) => {
                state.put(response, self.stays_open())
            }
            (Reply::Deferred, None) => state.phase = ConnectionPhase::Waiting,
        }
    }

    /// Sends what the socket takes, from a thread that does not have the connection. Returns `false` when the
    /// client has disconnected.
    fn flush_and_arm(&self, connection: &Connection, state: &mut ConnectionState) -> bool {
        let is_here = connection.flush_and_close(state);
        if is_here {
            self.watch_events(connection, state);
        } else {
            self.forget(connection, state);
        }
        is_here
    }

    /// Waits for the events that the connection wants next.
    fn watch_events(&self, connection: &Connection, state: &ConnectionState) {
        if let Some(flags) = state.wanted_events() {
            let _ = epoll::modify(&self.epoll, &connection.stream, EventData::new_u64(connection.id), flags);
        }
    }

    /// Ends a connection whose client has disconnected, and notifies the service.
    fn drop_connection(
        &self,
        connection: &Connection,
        state: &mut ConnectionState,
        service: &dyn HttpService,
    ) {
        if matches!(state.phase, ConnectionPhase::Waiting | ConnectionPhase::Streaming) {
            service.gone(Ticket { connection: connection.id, request: state.request });
        }
        self.forget(connection, state);
    }

    /// Closes a connection and removes it.
    pub(crate) fn forget(&self, connection: &Connection, state: &mut ConnectionState) {
        state.phase = ConnectionPhase::Closed;
        let _ = epoll::delete(&self.epoll, &connection.stream);
        connection.stream.shutdown(Shutdown::Both);
        self.all().remove(&connection.id);
    }
}

#[cfg(test)]
mod tests;
