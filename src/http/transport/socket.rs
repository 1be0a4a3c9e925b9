//! The sockets that connections use, over TCP and Unix sockets: listening, accepting, reading and writing.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use rustix::net::sockopt;

use crate::error::{Error, Result};

/// TCP keep-alive: a silent client is probed after the first duration and then at intervals of the second; one that
/// answers none of this many probes has disconnected.
const KEEP_ALIVE_PROBES: (Duration, Duration, u32) = (Duration::from_secs(30), Duration::from_secs(10), 3);
/// The size of the kernel's send buffer, in bytes. The kernel reports progress when a third of it is free; with the
/// default size a slow client would look like one that has stopped.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// How long sent data may stay unacknowledged, in milliseconds.
const UNACKNOWLEDGED_TIMEOUT_MILLIS: u32 = 60_000;

/// A listening socket.
#[derive(Debug)]
pub(crate) enum ListenSocket {
    /// An address and a port.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

/// The connection to a client.
#[derive(Debug)]
pub(crate) enum ClientStream {
    /// From any process that can reach the address.
    Tcp(TcpStream),
    /// From a process of this user, or of root.
    Unix(UnixStream),
}

impl ListenSocket {
    /// Listens at `address`.
    ///
    /// # Errors
    /// `Io` when the address is taken or cannot be used.
    pub(crate) fn tcp(address: SocketAddr) -> Result<Self> {
        let bind = || {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(Self::Tcp(listener))
        };
        bind().map_err(|error: io::Error| {
            let taken = error.kind() == ErrorKind::AddrInUse;
            let error = Error::io("listen at", address.to_string(), error);
            if taken {
                error.with_hint("another program has this port; choose one with --port")
            } else {
                error
            }
        })
    }

    /// Returns the address that clients connect to; `None` for a Unix socket.
    ///
    /// # Errors
    /// `Io` when the system cannot report it.
    pub(crate) fn address(&self) -> Result<Option<SocketAddr>> {
        match self {
            Self::Tcp(listener) => listener
                .local_addr()
                .map(Some)
                .map_err(|error| Error::io("access", "the listening socket", error)),
            Self::Unix(_) => Ok(None),
        }
    }

    /// Accepts the next client. A process of another user that has reached the Unix socket is refused as
    /// [`ErrorKind::ConnectionAborted`].
    ///
    /// # Errors
    /// The system's error; `WouldBlock` when no client waits.
    pub(crate) fn accept(&self) -> io::Result<ClientStream> {
        match self {
            Self::Tcp(listener) => listener.accept().map(|(stream, _)| ClientStream::Tcp(stream)),
            Self::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                let peer = sockopt::socket_peercred(&stream)?.uid;
                if peer.is_root() || peer == rustix::process::geteuid() {
                    Ok(ClientStream::Unix(stream))
                } else {
                    Err(ErrorKind::ConnectionAborted.into())
                }
            }
        }
    }
}

impl ClientStream {
    /// Returns whether the client is a process of this user, or of root.
    pub(crate) fn is_own_user(&self) -> bool {
        matches!(self, Self::Unix(_))
    }

    /// Prepares the stream for epoll.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => {
                stream.set_nonblocking(true)?;
                // Without it, small responses would wait for the acknowledgement of the previous ones.
                stream.set_nodelay(true)?;
                sockopt::set_socket_send_buffer_size(stream, SEND_BUFFER_BYTES)?;
                // A client whose machine is gone closes nothing, and a long poll would keep its connection for hours.
                Ok(set_keep_alive(stream)?)
            }
            Self::Unix(stream) => stream.set_nonblocking(true),
        }
    }

    /// Closes one direction, or both.
    pub(crate) fn shutdown(&self, how: Shutdown) {
        // A connection that has ended already needs no closing.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Unix(stream) => stream.shutdown(how),
        };
    }
}

/// Lets the kernel end the connection of a client that has disconnected.
fn set_keep_alive(stream: &TcpStream) -> rustix::io::Result<()> {
    let (idle, interval, count) = KEEP_ALIVE_PROBES;
    sockopt::set_tcp_keepidle(stream, idle)?;
    sockopt::set_tcp_keepintvl(stream, interval)?;
    sockopt::set_tcp_keepcnt(stream, count)?;
    sockopt::set_tcp_user_timeout(stream, UNACKNOWLEDGED_TIMEOUT_MILLIS)?;
    sockopt::set_socket_keepalive(stream, true)
}

impl AsFd for ListenSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

impl AsFd for ClientStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Read for &ClientStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            ClientStream::Tcp(stream) => (&*stream).read(buffer),
            ClientStream::Unix(stream) => (&*stream).read(buffer),
        }
    }
}

impl Write for &ClientStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            ClientStream::Tcp(stream) => (&*stream).write(bytes),
            ClientStream::Unix(stream) => (&*stream).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
