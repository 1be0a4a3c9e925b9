//! What connections run over: TCP, or a socket in the file system that only this user can reach.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use rustix::net::sockopt;

use crate::error::{Error, Result};

/// A client that says nothing is asked whether it is there after the first time, then after each of the
/// second; one that answers none of so many is gone.
const PROBES: (Duration, Duration, u32) = (Duration::from_secs(30), Duration::from_secs(10), 3);
/// What the kernel keeps for a client, in bytes. It tells of progress when a third of that is free, and with as
/// much as it would take by itself a slow client could not be told from one that has stopped.
const SEND_BUFFER: usize = 64 * 1024;
/// How long what was sent may stay unacknowledged, in milliseconds.
const SILENCE: u32 = 60_000;

/// Where clients connect.
#[derive(Debug)]
pub enum ListenSocket {
    /// An address and a port.
    Tcp(TcpListener),
    /// A socket in the file system.
    Unix(UnixListener),
}

/// A client's end of the line.
#[derive(Debug)]
pub enum ClientStream {
    /// Anybody who can reach the address.
    Tcp(TcpStream),
    /// A process of this user, or of root.
    Unix(UnixStream),
}

impl ListenSocket {
    /// Listens at `address`.
    ///
    /// # Errors
    /// `Io` when the address is taken or cannot be used.
    pub fn tcp(address: SocketAddr) -> Result<Self> {
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

    /// The address that clients connect to; `None` for a socket in the file system.
    ///
    /// # Errors
    /// `Io`, hardly ever.
    pub fn address(&self) -> Result<Option<SocketAddr>> {
        match self {
            Self::Tcp(listener) => listener
                .local_addr()
                .map(Some)
                .map_err(|error| Error::io("look at", "the listening socket", error)),
            Self::Unix(_) => Ok(None),
        }
    }

    /// The next client. A stranger on this machine who got hold of the socket is turned away as
    /// [`ErrorKind::ConnectionAborted`].
    ///
    /// # Errors
    /// What the system says; `WouldBlock` when nobody waits.
    pub fn accept(&self) -> io::Result<ClientStream> {
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
    /// Whether the kernel has seen to it that the client belongs to this user.
    pub fn is_own(&self) -> bool {
        matches!(self, Self::Unix(_))
    }

    /// Prepares the stream for epoll.
    ///
    /// # Errors
    /// What the system says.
    pub fn prepare(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => {
                stream.set_nonblocking(true)?;
                // Without it, small answers would wait for the acknowledgement of those before them.
                stream.set_nodelay(true)?;
                sockopt::set_socket_send_buffer_size(stream, SEND_BUFFER)?;
                // A client whose machine went away says no farewell, and may wait for hours by our leave.
                Ok(notice_absence(stream)?)
            }
            Self::Unix(stream) => stream.set_nonblocking(true),
        }
    }

    /// Ends one direction, or both.
    pub fn shutdown(&self, how: Shutdown) {
        // A connection that is over already has nothing to end.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Unix(stream) => stream.shutdown(how),
        };
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
