//! The seam between the network and everything else: connections in, [`Answer`]s out.
//!
//! A few threads share one epoll instance; each takes one ready connection at a time (one-shot, so
//! that no two have the same), reads, lets the [`Service`] answer, writes what the socket takes and
//! arms it again. No thread ever waits for a client: one that is slow, silent or only half there
//! costs a descriptor and a bounded buffer until its deadline. A request whose answer takes long is
//! *parked*: its connection stays armed for the client's hanging up alone, and whoever has the
//! answer gives it through [`Sockets::answer`].

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::answer::Answer;
use super::connection::{Connection, Phase, State};
use super::service::{Reply, Sent, Service, Ticket};
use super::wire::Progress;
use crate::error::{Error, Result};

/// The most connections at once; fewer when the system allows fewer descriptors.
const MAX_CONNECTIONS: usize = 8192;
/// Descriptors kept for files.
const SPARE_DESCRIPTORS: u64 = 128;

// What an event is about; connections are numbered from there on.
const LISTENER: u64 = 0;
const WAKE: u64 = 1;
const FIRST_CONNECTION: u64 = 2;

/// All connections of one server.
pub struct Sockets {
    epoll: OwnedFd,
    wake: OwnedFd,
    listener: TcpListener,
    connections: Mutex<HashMap<u64, Arc<Connection>>>,
    next_id: AtomicU64,
    most: usize,
    /// Whether accepting has to wait for descriptors.
    is_full: AtomicBool,
    stopping: AtomicBool,
    ended: AtomicBool,
}

impl Sockets {
    /// Listens at `address`.
    ///
    /// # Errors
    /// `Io` when the address is taken or cannot be used.
    pub fn listen(address: SocketAddr) -> Result<Self> {
        let fail = |error: std::io::Error| {
            let taken = error.kind() == ErrorKind::AddrInUse;
            let error = Error::io("listen at", address.to_string(), error);
            if taken {
                error.with_hint("another program has this port; choose one with --port")
            } else {
                error
            }
        };
        let listener = TcpListener::bind(address).map_err(fail)?;
        let prepare = || -> std::io::Result<(OwnedFd, OwnedFd)> {
            listener.set_nonblocking(true)?;
            let epoll = epoll::create(CreateFlags::CLOEXEC)?;
            let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            epoll::add(
                &epoll,
                &listener,
                EventData::new_u64(LISTENER),
                EventFlags::IN | EventFlags::ONESHOT,
            )?;
            epoll::add(&epoll, &wake, EventData::new_u64(WAKE), EventFlags::IN)?;
            Ok((epoll, wake))
        };
        let (epoll, wake) = prepare().map_err(fail)?;
        Ok(Self {
            epoll,
            wake,
            listener,
            connections: Mutex::new(HashMap::new()),
            next_id: AtomicU64::new(FIRST_CONNECTION),
            most: most_connections(),
            is_full: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        })
    }

    /// The address that clients connect to.
    ///
    /// # Errors
    /// `Io`, hardly ever.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr().map_err(|error| Error::io("look at", "the listening socket", error))
    }

    /// How many connections there are.
    pub fn count(&self) -> usize {
        self.all().len()
    }

    /// Serves until [`Sockets::end`]; to be called by as many threads as requests may be in the
    /// service at once.
    pub fn work(&self, service: &dyn Service) {
        let mut events = [Event { flags: EventFlags::empty(), data: EventData::new_u64(WAKE) }; 1];
        while !self.ended.load(Ordering::SeqCst) {
            let timeout = Timespec { tv_sec: 60, tv_nsec: 0 };
            if !matches!(epoll::wait(&self.epoll, &mut events, Some(&timeout)), Ok(1)) {
                continue;
            }
            let [Event { flags, data }] = events;
            match data.u64() {
                LISTENER => self.accept(),
                WAKE => {}
                id => {
                    let connection = self.all().get(&id).cloned();
                    if let Some(connection) = connection {
                        self.ready(&connection, flags, service);
                    }
                }
            }
        }
    }

    /// Ends connections whose time is up; to be called every now and then.
    pub fn sweep(&self, service: &dyn Service) {
        let now = Instant::now();
        for connection in self.list() {
            let mut state = connection.lock();
            if !state.is_overdue(now) {
                continue;
            }
            if state.is_half_there() {
                let refusal = Answer::refusal(408, "request_timeout", "the request did not arrive in time");
                service.refused(&refusal);
                state.refuse(&refusal);
                let _ = connection.flush(&mut state);
            }
            self.lose(&connection, &mut state, service);
        }
        if self.is_full.swap(false, Ordering::SeqCst) {
            self.accept();
        }
    }

    /// Accepts nothing more and ends connections as soon as they have their answers.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        let _ = epoll::delete(&self.epoll, &self.listener);
    }

    /// Whether every request has its answer.
    pub fn is_quiet(&self) -> bool {
        self.list().iter().all(|connection| {
            let state = connection.lock();
            state.is_sent() && !matches!(state.phase, Phase::Busy | Phase::Parked)
        })
    }

    /// Closes every connection and lets the threads in [`Sockets::work`] return.
    pub fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        for (_, connection) in self.all().drain() {
            let _ = connection.stream.shutdown(Shutdown::Both);
        }
    }

    /// Answers a parked request. Does nothing when its client has gone.
    pub fn answer(&self, ticket: Ticket, answer: Answer) {
        self.with(ticket, |connection, state| match state.phase {
            Phase::Busy => state.early = Some(answer),
            Phase::Parked => {
                state.put(&answer, self.stays());
                // A request that came behind this one is already here, and no event tells of it.
                state.again = !state.parser.is_idle();
                self.settle(connection, state);
            }
            Phase::Reading | Phase::Streaming | Phase::Draining | Phase::Closed => {}
        });
    }

    /// Sends a piece of a stream that an answer began.
    pub fn send(&self, ticket: Ticket, piece: &[u8]) -> Sent {
        self.with(ticket, |connection, state| match state.phase {
            Phase::Busy | Phase::Parked => Sent::Behind,
            Phase::Streaming if state.is_behind() => Sent::Behind,
            Phase::Streaming => {
                state.push(piece);
                if self.settle(connection, state) { Sent::Taken } else { Sent::Gone }
            }
            Phase::Reading | Phase::Draining | Phase::Closed => Sent::Gone,
        })
        .unwrap_or(Sent::Gone)
    }

    /// Ends a stream once its client has all of it.
    pub fn finish(&self, ticket: Ticket) {
        self.with(ticket, |connection, state| {
            if state.phase == Phase::Streaming {
                state.phase = Phase::Reading;
                self.settle(connection, state);
            }
        });
    }

    /// Lets one of the threads take a parked request to [`Service::resume`].
    pub fn resume(&self, ticket: Ticket) {
        self.with(ticket, |connection, state| {
            state.again = true;
            if state.phase == Phase::Parked {
                self.arm(connection, state);
            }
        });
    }

    fn with<T>(&self, ticket: Ticket, act: impl FnOnce(&Connection, &mut State) -> T) -> Option<T> {
        let connection = self.all().get(&ticket.connection).cloned()?;
        let mut state = connection.lock();
        (state.request == ticket.request).then(|| act(&connection, &mut state))
    }

    fn all(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn list(&self) -> Vec<Arc<Connection>> {
        self.all().values().cloned().collect()
    }

    fn stays(&self) -> bool {
        !self.stopping.load(Ordering::SeqCst)
    }

    fn accept(&self) {
        while self.stays() {
            let has_room = self.all().len() < self.most || self.evict();
            match if has_room { self.listener.accept() } else { Err(ErrorKind::OutOfMemory.into()) } {
                Ok((stream, _)) => self.admit(stream),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => {
                        let flags = EventFlags::IN | EventFlags::ONESHOT;
                        let _ =
                            epoll::modify(&self.epoll, &self.listener, EventData::new_u64(LISTENER), flags);
                        return;
                    }
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    // No descriptors, or no room: the kernel keeps new clients until the next sweep.
                    _ => return self.is_full.store(true, Ordering::SeqCst),
                },
            }
        }
    }

    /// Closes the connection that has been waiting for nothing the longest. `false`: there is none.
    fn evict(&self) -> bool {
        let mut all = self.list();
        all.sort_unstable_by_key(|connection| connection.id);
        all.iter().any(|connection| {
            let mut state = connection.lock();
            let is_idle = state.is_idle();
            if is_idle {
                self.forget(connection, &mut state);
            }
            is_idle
        })
    }

    fn admit(&self, stream: TcpStream) {
        // Without it, small answers would wait for the acknowledgement of those before them.
        if stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)).is_err() {
            return;
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection::new(id, stream));
        let mut state = connection.lock();
        self.all().insert(id, Arc::clone(&connection));
        let flags = state.wanted().unwrap_or(EventFlags::empty());
        if epoll::add(&self.epoll, &connection.stream, EventData::new_u64(id), flags).is_err() {
            self.forget(&connection, &mut state);
        }
    }

    /// Something happened on a connection that this thread now has for itself.
    fn ready(&self, connection: &Connection, flags: EventFlags, service: &dyn Service) {
        let mut state = connection.lock();
        let has_hung_up = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        let again = std::mem::take(&mut state.again);
        let is_here = match state.phase {
            Phase::Closed | Phase::Busy => return,
            Phase::Parked | Phase::Streaming if has_hung_up => false,
            Phase::Parked if again => {
                state.phase = Phase::Busy;
                let ticket = Ticket { connection: connection.id, request: state.request };
                drop(state);
                let reply = service.resume(ticket);
                state = connection.lock();
                self.take(&mut state, reply);
                true
            }
            Phase::Parked | Phase::Streaming => true,
            Phase::Draining => connection.drain(),
            Phase::Reading => {
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

    /// Answers the requests that have come whole, one after the other, and arms what is next.
    fn advance<'c>(
        &self,
        connection: &'c Connection,
        mut state: MutexGuard<'c, State>,
        service: &dyn Service,
    ) {
        while state.phase == Phase::Reading && state.is_sent() {
            let had_head = state.parser.has_head();
            match state.parser.next() {
                Ok(Progress::Request(request)) => {
                    state.begin(request.keep_alive, request.method == "HEAD");
                    let ticket = Ticket { connection: connection.id, request: state.request };
                    // The service may take long, and others must be able to look at this connection.
                    drop(state);
                    let reply = service.call(request, ticket);
                    state = connection.lock();
                    self.take(&mut state, reply);
                }
                Ok(Progress::Continue) => {
                    state.expect_body();
                    state.push(b"HTTP/1.1 100 Continue\r\n\r\n");
                }
                Ok(Progress::More) => {
                    if !had_head && state.parser.has_head() {
                        state.expect_body();
                    }
                    break;
                }
                Err(refusal) => {
                    service.refused(&refusal);
                    state.refuse(&refusal);
                }
            }
            if !connection.settle(&mut state) {
                return self.lose(connection, &mut state, service);
            }
        }
        if connection.settle(&mut state) {
            self.arm(connection, &state);
        } else {
            self.lose(connection, &mut state, service);
        }
    }

    /// Does what the service decided about the request of a connection.
    fn take(&self, state: &mut State, reply: Reply) {
        if state.phase != Phase::Busy {
            return;
        }
        match (reply, state.early.take()) {
            (Reply::Answer(answer), _) | (Reply::Parked, Some(answer)) => state.put(&answer, self.stays()),
            (Reply::Parked, None) => state.phase = Phase::Parked,
        }
    }

    /// Sends what can be sent, from outside. `false`: the client is gone.
    fn settle(&self, connection: &Connection, state: &mut State) -> bool {
        let is_here = connection.settle(state);
        if is_here {
            self.arm(connection, state);
        } else {
            self.forget(connection, state);
        }
        is_here
    }

    fn arm(&self, connection: &Connection, state: &State) {
        if let Some(flags) = state.wanted() {
            let _ = epoll::modify(&self.epoll, &connection.stream, EventData::new_u64(connection.id), flags);
        }
    }

    /// Ends a connection, and tells who still works for it.
    fn lose(&self, connection: &Connection, state: &mut State, service: &dyn Service) {
        if matches!(state.phase, Phase::Parked | Phase::Streaming) {
            service.gone(Ticket { connection: connection.id, request: state.request });
        }
        self.forget(connection, state);
    }

    fn forget(&self, connection: &Connection, state: &mut State) {
        state.phase = Phase::Closed;
        let _ = epoll::delete(&self.epoll, &connection.stream);
        let _ = connection.stream.shutdown(Shutdown::Both);
        self.all().remove(&connection.id);
    }
}

/// As many connections as descriptors allow, after asking for all that may be had.
fn most_connections() -> usize {
    let hard = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard });
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(allowed.saturating_sub(SPARE_DESCRIPTORS))
        .map_or(MAX_CONNECTIONS, |n| n.clamp(1, MAX_CONNECTIONS))
}
