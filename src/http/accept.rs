//! Listening, and letting clients in: as many as there are descriptors for.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::net::sockopt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::connection::Connection;
use super::socket::{FIRST_CONNECTION, LISTENER, Sockets, WAKE};
use crate::error::{Error, Result};

/// The most connections at once; fewer when the system allows fewer descriptors.
const MAX_CONNECTIONS: usize = 8192;
/// Descriptors kept for files: half of all, but at least what a few requests need, and at most what
/// as many requests as are served at once need, batches among them.
const SPARE_DESCRIPTORS: (u64, u64) = (128, 512);
/// A client that says nothing is asked whether it is there after the first time, then after each of the
/// second; one that answers none of so many is gone.
const PROBES: (Duration, Duration, u32) = (Duration::from_secs(30), Duration::from_secs(10), 3);
/// How long what was sent may stay unacknowledged, in milliseconds.
const SILENCE: u32 = 60_000;

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

    pub(super) fn accept(&self) {
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
        // A client whose machine went away says no farewell, and may wait for hours by our leave.
        if notice_absence(&stream).is_err() {
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
}

/// Lets the kernel end the connection of a client that is not there any more.
fn notice_absence(stream: &TcpStream) -> rustix::io::Result<()> {
    let (idle, interval, count) = PROBES;
    sockopt::set_tcp_keepidle(stream, idle)?;
    sockopt::set_tcp_keepintvl(stream, interval)?;
    sockopt::set_tcp_keepcnt(stream, count)?;
    sockopt::set_tcp_user_timeout(stream, SILENCE)?;
    sockopt::set_socket_keepalive(stream, true)
}

/// As many connections as descriptors allow, after asking for all that may be had.
fn most_connections() -> usize {
    let hard = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard });
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let spare = (allowed / 2).clamp(SPARE_DESCRIPTORS.0, SPARE_DESCRIPTORS.1);
    usize::try_from(allowed.saturating_sub(spare)).map_or(MAX_CONNECTIONS, |n| n.clamp(1, MAX_CONNECTIONS))
}
