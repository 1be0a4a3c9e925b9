//! One connection: what was received, what is to be sent, and which event comes next.

use std::io::{ErrorKind, Read};
use std::net::Shutdown;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::parser::RequestParser;
use super::request::MAX_BODY;
use super::response::HttpResponse;
use super::send_buffer::SendBuffer;
use super::socket::ClientStream;

/// How long a client may take to send a head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long it may keep the connection between two requests.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// How long the rest of a refused request is read and discarded, so that the refusal reaches the client.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// The maximum number of its bytes that are discarded.
const MAX_DRAINED: usize = 2 * MAX_BODY;
/// The maximum number of bytes of a stream that may wait for the client.
const MAX_BACKLOG: usize = 256 * 1024;

/// The state of a connection between events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionPhase {
    /// Waiting for a request, or for the rest of one.
    Reading,
    /// A thread is in the service with its request.
    Busy,
    /// Its request is deferred, and another thread will answer it.
    Waiting,
    /// Its response is a stream that has not ended.
    Streaming,
    /// Its last response is sent; what still arrives is discarded.
    Draining,
    /// It has ended.
    Closed,
}

/// A client's connection. Epoll's one-shot mode gives it to one thread at a time; the lock is for threads that answer
/// deferred requests and for the sweep, and is never held while the service works.
pub(crate) struct Connection {
    pub(crate) id: u64,
    pub(crate) stream: ClientStream,
    state: Mutex<ConnectionState>,
}

/// The part of a connection that its lock protects.
pub(crate) struct ConnectionState {
    pub(crate) phase: ConnectionPhase,
    pub(crate) parser: RequestParser,
    /// The number of the current request on this connection.
    pub(crate) request: u64,
    /// The response to a deferred request that came before the service returned.
    pub(crate) early_response: Option<HttpResponse>,
    /// Whether the connection is to be handled again although nothing has arrived.
    pub(crate) again: bool,
    out: SendBuffer,
    /// When the connection is ended unless something happens before; `None` for never.
    deadline: Option<Instant>,
    keep_alive: bool,
    without_body: bool,
    /// Bytes discarded so far.
    drained: usize,
}

impl Connection {
    pub(crate) fn new(id: u64, stream: ClientStream, out: SendBuffer) -> Self {
        let state = ConnectionState {
            phase: ConnectionPhase::Reading,
            parser: RequestParser::new(stream.is_own_user()),
            request: 0,
            early_response: None,
            again: false,
            out,
            deadline: Some(Instant::now() + HEAD_TIMEOUT),
            keep_alive: true,
            without_body: false,
            drained: 0,
        };
        Self { id, stream, state: Mutex::new(state) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, ConnectionState> {
        // The state is consistent between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Receives the bytes that have arrived, as many as the parser takes. Returns `false` when the client has
    /// gone.
    pub(crate) fn read(&self, state: &mut ConnectionState) -> bool {
        let mut buffer = [0; 16 * 1024];
        let was_idle = state.parser.is_idle();
        let most = state.parser.room();
        let mut received = 0;
        while received < most {
            let wanted = buffer.len().min(most - received);
            match (&self.stream).read(&mut buffer[..wanted]) {
                // What was received before is handled first; the next read sees the end again.
                Ok(0) if received == 0 => return false,
                Ok(0) => break,
                Ok(length) => {
                    state.parser.push(&buffer[..length]);
                    received += length;
                    if length < wanted {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        if was_idle && received > 0 {
            state.deadline = Some(Instant::now() + HEAD_TIMEOUT);
        }
        true
    }

    /// Returns whether the client has closed its side, or gone.
    pub(crate) fn has_ended(&self) -> bool {
        let mut ends = [PollFd::new(&self.stream, PollFlags::RDHUP)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut ends, Some(&at_once)).is_ok_and(|ready| ready > 0)
    }

    /// Discards what arrives after the last response. Returns `false` when the client has disconnected, or sends
    /// too much.
    pub(crate) fn drain(&self, state: &mut ConnectionState) -> bool {
        let mut buffer = [0; 16 * 1024];
        while state.drained < MAX_DRAINED {
            match (&self.stream).read(&mut buffer) {
                Ok(0) => return false,
                Ok(length) => state.drained += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        false
    }

    /// Sends as many bytes as the socket takes. Returns `false` when the client has disconnected.
    pub(crate) fn flush(&self, state: &mut ConnectionState) -> bool {
        if state.out.is_empty() {
            return true;
        }
        match state.out.send(&self.stream, state.phase == ConnectionPhase::Streaming) {
            Ok(true) => {}
            Ok(false) => {
                // From here on the pace of the client decides.
                state.deadline = None;
                return true;
            }
            Err(_) => return false,
        }
        state.deadline = match state.phase {
            ConnectionPhase::Reading if state.parser.is_idle() => Some(Instant::now() + IDLE_TIMEOUT),
            ConnectionPhase::Reading if state.parser.has_head() => Some(Instant::now() + BODY_TIMEOUT),
            ConnectionPhase::Reading => Some(Instant::now() + HEAD_TIMEOUT),
            ConnectionPhase::Busy
            | ConnectionPhase::Waiting
            | ConnectionPhase::Streaming
            | ConnectionPhase::Draining
            | ConnectionPhase::Closed => None,
        };
        true
    }

    /// Sends as many bytes as the socket takes, and closes the sending side after the last response. Returns
    /// `false` when the client has disconnected.
    pub(crate) fn flush_and_close(&self, state: &mut ConnectionState) -> bool {
        if !self.flush(state) {
            return false;
        }
        if state.out.is_empty() && state.phase == ConnectionPhase::Reading && !state.keep_alive {
            // Closing both sides while more arrives would make the kernel discard the response.
            self.stream.shutdown(Shutdown::Write);
            state.phase = ConnectionPhase::Draining;
            state.deadline = Some(Instant::now() + DRAIN_TIMEOUT);
        }
        true
    }
}

impl ConnectionState {
    /// Records that a request goes to the service.
    pub(crate) fn begin(&mut self, keep_alive: bool, without_body: bool) {
        self.phase = ConnectionPhase::Busy;
        self.request += 1;
        self.deadline = None;
        self.keep_alive = keep_alive;
        self.without_body = without_body;
    }

    /// Adds a response to the bytes to send. Unless `stays_open`, it is the last one.
    pub(crate) fn put(&mut self, response: HttpResponse, stays_open: bool) {
        self.keep_alive = self.keep_alive && stays_open && !response.is_stream;
        self.out.push(&response.head(self.keep_alive));
        let is_stream = response.is_stream && !self.without_body;
        if !self.without_body {
            self.out.push_body(response.body);
        }
        self.phase = if is_stream { ConnectionPhase::Streaming } else { ConnectionPhase::Reading };
    }

    /// Refuses bytes that are not a request, or a request whose body is not wanted; what has arrived is dropped.
    pub(crate) fn refuse(&mut self, refusal: HttpResponse) {
        self.without_body = self.parser.head().is_some_and(|head| head.method == "HEAD");
        self.parser.clear();
        self.put(refusal, false);
    }

    /// Adds bytes to send as they are.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.out.push(bytes);
    }

    /// Gives the client time to send the body that its head announced.
    pub(crate) fn expect_body(&mut self) {
        self.deadline = Some(Instant::now() + BODY_TIMEOUT);
    }

    /// Returns the beginning of a stream that came before the service returned.
    pub(crate) fn early_stream(&mut self) -> Option<&mut HttpResponse> {
        self.early_response.as_mut().filter(|response| response.is_stream)
    }

    /// Returns whether everything so far has been sent.
    pub(crate) fn is_sent(&self) -> bool {
        self.out.is_empty()
    }

    /// Returns whether the client of a stream is so far behind that no more is accepted.
    pub(crate) fn is_behind(&self) -> bool {
        self.out.len() > MAX_BACKLOG
    }

    /// Returns whether the connection can be closed without losing anything.
    pub(crate) fn is_idle(&self) -> bool {
        self.phase == ConnectionPhase::Reading && self.parser.is_idle() && self.out.is_empty()
    }

    /// Returns whether part of a request has arrived.
    pub(crate) fn has_partial_request(&self) -> bool {
        self.phase == ConnectionPhase::Reading && !self.parser.is_idle() && self.out.is_empty()
    }

    /// Returns whether the connection is to be ended because its client is too slow.
    pub(crate) fn is_overdue(&mut self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now) || self.out.is_too_slow(now)
    }

    /// Returns the events to wait for; `None` while a thread has the connection, and at its end.
    pub(crate) fn wanted_events(&self) -> Option<EventFlags> {
        let hang_up = EventFlags::RDHUP;
        let flags = match self.phase {
            ConnectionPhase::Busy | ConnectionPhase::Closed => return None,
            // A client that has closed its side still reads ours.
            ConnectionPhase::Reading if self.again || !self.out.is_empty() => EventFlags::OUT,
            ConnectionPhase::Reading | ConnectionPhase::Draining => EventFlags::IN | hang_up,
            ConnectionPhase::Waiting | ConnectionPhase::Streaming if self.again || !self.out.is_empty() => {
                EventFlags::OUT | hang_up
            }
            ConnectionPhase::Waiting | ConnectionPhase::Streaming => hang_up,
        };
        Some(flags | EventFlags::ONESHOT)
    }
}
