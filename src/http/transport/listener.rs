//! Listens and accepts clients, as many as the limit on file descriptors allows.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::connection::Connection;
use super::memory::{MemoryBudget, Reservation};
use super::reactor::{FIRST_CONNECTION, FIRST_LISTENER, Reactor, WAKE_EVENT};
use super::request_queue::{MAX_WORKING, RequestQueue};
use super::send_buffer::SendBuffer;
use super::socket::{ClientStream, ListenSocket};
use crate::error::{Error, Result};

/// The maximum number of connections; fewer when the system allows fewer descriptors.
const MAX_CONNECTIONS: usize = 8192;
/// The minimum number of connections; with fewer, the server does not start.
const MIN_CONNECTIONS: u64 = 32;
/// The maximum size of the bodies of all requests that are arriving or being answered, in bytes.
const MAX_BODIES: usize = 256 * 1024 * 1024;
/// The size of all responses that are not sent yet above which large ones are refused, in bytes.
const MAX_RESPONSES: usize = 128 * 1024 * 1024;
/// The least and the most descriptors that are kept for files: half of all between what a few requests need, and
/// what all requests need that are served at the same time, batches among them.
const SPARE_DESCRIPTORS: (u64, u64) = (128, 512);

impl Reactor {
    /// Listens at each of these sockets.
    ///
    /// # Errors
    /// `Io` when the system has no resources for it, `Config` when it allows too few open files.
    pub(crate) fn listen(listeners: Vec<ListenSocket>) -> Result<Self> {
        let prepare = || -> std::io::Result<(OwnedFd, OwnedFd)> {
            let epoll = epoll::create(CreateFlags::CLOEXEC)?;
            let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            for (number, listener) in (FIRST_LISTENER..).zip(&listeners) {
                let flags = EventFlags::IN | EventFlags::ONESHOT;
                epoll::add(&epoll, listener, EventData::new_u64(number), flags)?;
            }
            epoll::add(&epoll, &wake, EventData::new_u64(WAKE_EVENT), EventFlags::IN)?;
            Ok((epoll, wake))
        };
        let (epoll, wake) = prepare().map_err(|error| Error::io("listen for", "clients", error))?;
        Ok(Self {
            epoll,
            wake,
            listeners,
            connections: Mutex::new(HashMap::new()),
            next_id: AtomicU64::new(FIRST_CONNECTION),
            max_connections: max_connections()?,
            is_full: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            requests: RequestQueue::new(MAX_WORKING),
            bodies: MemoryBudget::new(MAX_BODIES),
            responses: MemoryBudget::new(MAX_RESPONSES),
            ended: AtomicBool::new(false),
        })
    }

    /// Returns the address that clients connect to; `None` when there is only a Unix socket.
    ///
    /// # Errors
    /// `Io` when the system cannot report it.
    pub(crate) fn address(&self) -> Result<Option<SocketAddr>> {
        let addresses = self.listeners.iter().map(ListenSocket::address).collect::<Result<Vec<_>>>()?;
        Ok(addresses.into_iter().flatten().next())
    }

    /// Accepts the clients that wait at any socket.
    pub(crate) fn accept_all(&self) {
        for (number, listener) in (FIRST_LISTENER..).zip(&self.listeners) {
            self.accept(number, listener);
        }
    }

    /// Accepts the clients that wait at one socket.
    pub(crate) fn accept(&self, number: u64, listener: &ListenSocket) {
        while self.stays_open() {
            let has_room = self.all().len() < self.max_connections || self.close_oldest_idle();
            match if has_room { listener.accept() } else { Err(ErrorKind::OutOfMemory.into()) } {
                Ok(stream) => self.admit(stream),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => {
                        let flags = EventFlags::IN | EventFlags::ONESHOT;
                        let _ = epoll::modify(&self.epoll, listener, EventData::new_u64(number), flags);
                        return;
                    }
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    // No descriptors, or no memory: new clients wait in the kernel until the next sweep.
                    _ => return self.is_full.store(true, Ordering::SeqCst),
                },
            }
        }
    }

    /// Closes the oldest idle connection. Returns `false` when there is none.
    fn close_oldest_idle(&self) -> bool {
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

    fn admit(&self, stream: ClientStream) {
        if stream.prepare().is_err() {
            return;
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let connection =
            Arc::new(Connection::new(id, stream, SendBuffer::new(Reservation::on(&self.responses))));
        let mut state = connection.lock();
        self.all().insert(id, Arc::clone(&connection));
        let flags = state.wanted_events().unwrap_or(EventFlags::empty());
        if epoll::add(&self.epoll, &connection.stream, EventData::new_u64(id), flags).is_err() {
            self.forget(&connection, &mut state);
        }
    }
}

/// Returns how many connections the descriptors allow, after raising the limit as far as possible.
///
/// # Errors
/// `Config` when there are too few.
fn max_connections() -> Result<usize> {
    let hard = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard });
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let spare = (allowed / 2).clamp(SPARE_DESCRIPTORS.0, SPARE_DESCRIPTORS.1);
    let most = allowed.saturating_sub(spare);
    if most < MIN_CONNECTIONS {
        let least = SPARE_DESCRIPTORS.0 + MIN_CONNECTIONS;
        return Err(Error::config(format!(
            "a server needs {least} open files, and only {allowed} are allowed"
        ))
        .with_hint("raise the limit: `ulimit -n`, or LimitNOFILE= of a service"));
    }
    Ok(usize::try_from(most).map_or(MAX_CONNECTIONS, |most| most.min(MAX_CONNECTIONS)))
}
