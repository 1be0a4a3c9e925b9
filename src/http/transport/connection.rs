//! One connection: what was received, what is to be sent, and what it waits for.

use std::io::{ErrorKind, Read};
use std::net::Shutdown;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::parser::{MAX_BODY, RequestParser};
use super::send_buffer::SendBuffer;
use super::socket::ClientStream;
use crate::http::response::HttpResponse;

/// How long a client may take for a head, for a body, and between requests.
const HEAD_TIME: Duration = Duration::from_secs(10);
const BODY_TIME: Duration = Duration::from_secs(60);
const IDLE_TIME: Duration = Duration::from_secs(75);
/// How long, and how many bytes of it, the rest of a refused request is read away, so that the refusal
/// reaches its client.
const DRAIN_TIME: Duration = Duration::from_secs(2);
const DRAIN_BYTES: usize = 2 * MAX_BODY;
/// What a stream may be behind before it gets nothing more for now, in bytes.
const STREAM_BACKLOG: usize = 256 * 1024;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionPhase {
    /// Waiting for a request, or for the rest of one.
    Reading,
    /// A thread has gone to the service with its request.
    Busy,
    /// Its request is answered later.
    Waiting,
    /// Its answer goes on.
    Streaming,
    /// Its last answer is sent; what still comes is read away.
    Draining,
    /// Over.
    Closed,
}

/// A client's connection. Which thread may use it follows from epoll's one-shot mode; the lock is
/// for those who answer from outside and for the sweep, and is never held while the service works.
pub(crate) struct Connection {
    pub(crate) id: u64,
    pub(crate) stream: ClientStream,
    state: Mutex<ConnectionState>,
}

pub(crate) struct ConnectionState {
    pub(crate) phase: ConnectionPhase,
    pub(crate) parser: RequestParser,
    /// How many requests have come.
    pub(crate) request: u64,
    /// The answer that came before its request was parked.
    pub(crate) early: Option<HttpResponse>,
    /// Whether the connection is to be looked at again though nothing has come.
    pub(crate) again: bool,
    out: SendBuffer,
    /// When the connection ends unless something happens; `None` for never.
    deadline: Option<Instant>,
    keep_alive: bool,
    without_body: bool,
    /// Bytes read away so far.
    drained: usize,
}

impl Connection {
    pub(crate) fn new(id: u64, stream: ClientStream, out: SendBuffer) -> Self {
        let state = ConnectionState {
            phase: ConnectionPhase::Reading,
            parser: RequestParser::new(stream.is_own()),
            request: 0,
            early: None,
            again: false,
            out,
            deadline: Some(Instant::now() + HEAD_TIME),
            keep_alive: true,
            without_body: false,
            drained: 0,
        };
        Self { id, stream, state: Mutex::new(state) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, ConnectionState> {
        // What the lock protects is whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Receives what is there, up to what the parser takes. `false`: the client has ended or gone.
    pub(crate) fn read(&self, state: &mut ConnectionState) -> bool {
        let mut buffer = [0; 16 * 1024];
        let was_idle = state.parser.is_idle();
        let most = state.parser.room();
        let mut received = 0;
        while received < most {
            let wanted = buffer.len().min(most - received);
            match (&self.stream).read(&mut buffer[..wanted]) {
                // Once more when there is something to answer first.
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
            state.deadline = Some(Instant::now() + HEAD_TIME);
        }
        true
    }

    /// Whether the client has ended its side, or gone.
    pub(crate) fn has_ended(&self) -> bool {
        let mut ends = [PollFd::new(&self.stream, PollFlags::RDHUP)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut ends, Some(&at_once)).is_ok_and(|ready| ready > 0)
    }

    /// Reads away what nobody wants any more. `false`: the client has ended, or goes on for too long.
    pub(crate) fn drain(&self, state: &mut ConnectionState) -> bool {
        let mut buffer = [0; 16 * 1024];
        while state.drained < DRAIN_BYTES {
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

    /// Sends what the socket takes. `false`: the client is gone.
    pub(crate) fn flush(&self, state: &mut ConnectionState) -> bool {
        if state.out.is_empty() {
            return true;
        }
        match state.out.send(&self.stream, state.phase == ConnectionPhase::Streaming) {
            Ok(true) => {}
            Ok(false) => {
                // From here on the pace counts.
                state.deadline = None;
                return true;
            }
            Err(_) => return false,
        }
        state.deadline = match state.phase {
            ConnectionPhase::Reading if state.parser.is_idle() => Some(Instant::now() + IDLE_TIME),
            ConnectionPhase::Reading if state.parser.has_head() => Some(Instant::now() + BODY_TIME),
            ConnectionPhase::Reading => Some(Instant::now() + HEAD_TIME),
            ConnectionPhase::Busy
            | ConnectionPhase::Waiting
            | ConnectionPhase::Streaming
            | ConnectionPhase::Draining
            | ConnectionPhase::Closed => None,
        };
        true
    }

    /// Sends, and after the last answer tells the client that nothing follows. `false`: it is gone.
    pub(crate) fn settle(&self, state: &mut ConnectionState) -> bool {
        if !self.flush(state) {
            return false;
        }
        if state.out.is_empty() && state.phase == ConnectionPhase::Reading && !state.keep_alive {
            // Closing at once while more is coming would make the kernel throw our answer away.
            self.stream.shutdown(Shutdown::Write);
            state.phase = ConnectionPhase::Draining;
            state.deadline = Some(Instant::now() + DRAIN_TIME);
        }
        true
    }
}

impl ConnectionState {
    /// Takes note of a request that goes to the service.
    pub(crate) fn begin(&mut self, keep_alive: bool, without_body: bool) {
        self.phase = ConnectionPhase::Busy;
        self.request += 1;
        self.deadline = None;
        self.keep_alive = keep_alive;
        self.without_body = without_body;
    }

    /// Turns an answer into bytes to send. Unless `stays`, it is the last one.
    pub(crate) fn put(&mut self, answer: HttpResponse, stays: bool) {
        self.keep_alive = self.keep_alive && stays && !answer.is_stream;
        self.out.push(&answer.head(self.keep_alive));
        let goes_on = answer.is_stream && !self.without_body;
        if !self.without_body {
            self.out.push_body(answer.body);
        }
        self.phase = if goes_on { ConnectionPhase::Streaming } else { ConnectionPhase::Reading };
    }

    /// Refuses what is no request, or one whose body nobody wants; whatever came of it is dropped.
    pub(crate) fn refuse(&mut self, refusal: HttpResponse) {
        self.without_body = self.parser.head().is_some_and(|head| head.method == "HEAD");
        self.parser.clear();
        self.put(refusal, false);
    }

    /// Adds bytes as they are.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.out.push(bytes);
    }

    /// Gives the client time to send the body that its head announced.
    pub(crate) fn expect_body(&mut self) {
        self.deadline = Some(Instant::now() + BODY_TIME);
    }

    /// Whether everything so far has been sent.
    pub(crate) fn is_sent(&self) -> bool {
        self.out.is_empty()
    }

    /// Whether a stream has enough to send already.
    pub(crate) fn is_behind(&self) -> bool {
        self.out.len() > STREAM_BACKLOG
    }

    /// Whether the client may be told to come again later without losing anything.
    pub(crate) fn is_idle(&self) -> bool {
        self.phase == ConnectionPhase::Reading && self.parser.is_idle() && self.out.is_empty()
    }

    /// Whether a request has begun to arrive and should have been here by now.
    pub(crate) fn is_half_there(&self) -> bool {
        self.phase == ConnectionPhase::Reading && !self.parser.is_idle() && self.out.is_empty()
    }

    pub(crate) fn is_overdue(&mut self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now) || self.out.is_too_slow(now)
    }

    /// What to be woken for; `None` while a thread has the connection, and at its end.
    pub(crate) fn wanted(&self) -> Option<EventFlags> {
        let hang_up = EventFlags::RDHUP;
        let flags = match self.phase {
            ConnectionPhase::Busy | ConnectionPhase::Closed => return None,
            // A client that has ended its side still reads ours.
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
