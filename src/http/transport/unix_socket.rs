//! The file of a Unix socket: created for this user alone, protected by a lock, and removed at the end.

use std::fs::Metadata;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::socket::ListenSocket;
use crate::error::{Error, Result, printable};
use crate::store::FileLock;

/// The number of clients that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// Write permission for the group and for others.
const GROUP_OR_OTHER_WRITE: u32 = 0o022;
/// The sticky bit: only the owner of an entry may rename or remove it.
const STICKY: u32 = 0o1000;

/// The file of a socket, for as long as its server runs.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode of the file, so that the file of another server is not removed.
    identity: (u64, u64),
    _lock: FileLock,
}

impl SocketFile {
    /// Listens at `path`, which must be absolute. A socket that a dead server left there is replaced.
    ///
    /// # Errors
    /// `Config` when the path is too long, is in a directory where others may replace files, or is not a socket;
    /// `Refused` when a server listens there; `Io`.
    pub(crate) fn listen(path: &Path) -> Result<(Self, ListenSocket)> {
        let shown = printable(&path.to_string_lossy());
        let address = SocketAddrUnix::new(path).map_err(|_| {
            Error::config(format!("the path of the socket is too long: {shown}"))
                .with_hint("the system takes 107 bytes at most; choose a shorter one")
        })?;
        let directory = path.parent().unwrap_or(Path::new("/"));
        check_directory(directory)?;
        let taken = || {
            Error::refused(format!("another server listens at {shown}"))
                .with_hint("choose another path with --socket, or stop that server")
        };
        let mut lock_name = path.as_os_str().to_owned();
        lock_name.push(".lock");
        let lock = FileLock::try_acquire(Path::new(&lock_name))?.ok_or_else(taken)?;
        match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("access", path, error)),
            Ok(there) if !there.file_type().is_socket() => {
                return Err(Error::config(format!("the file at {shown} is not a socket"))
                    .with_hint("choose another path with --socket, or remove it"));
            }
            // Another program's server takes no lock, but accepts connections.
            Ok(_) if has_listener(&address)? => return Err(taken()),
            Ok(_) => std::fs::remove_file(path).map_err(|error| Error::io("remove", path, error))?,
        }
        let listen = || -> io::Result<(UnixListener, Metadata)> {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            // The file gets the mode of the socket, so there is no moment at which others may connect.
            rustix::fs::fchmod(socket.as_fd(), Mode::RUSR | Mode::WUSR)?;
            rustix::net::bind(&socket, &address)?;
            let there = std::fs::symlink_metadata(path)?;
            if there.permissions().mode() & 0o077 != 0 {
                // A file system without modes does not keep others out.
                let _ = std::fs::remove_file(path);
                return Err(Errno::PERM.into());
            }
            rustix::net::listen(&socket, BACKLOG)?;
            Ok((UnixListener::from(socket), there))
        };
        let (listener, there) = listen().map_err(|error| Error::io("listen at", path, error))?;
        let identity = (there.dev(), there.ino());
        Ok((Self { path: path.to_path_buf(), identity, _lock: lock }, ListenSocket::Unix(listener)))
    }
}

/// Returns whether a server listens at `address`, even if it is too busy to accept clients.
fn has_listener(address: &SocketAddrUnix) -> Result<bool> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|errno| Error::io("make", "a socket", errno))?;
    Ok(matches!(rustix::net::connect(&socket, address), Ok(()) | Err(Errno::AGAIN)))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|there| (there.dev(), there.ino()) == self.identity);
        if is_ours {
            // A file that stays is replaced by the next server.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Refuses a directory in which another user could replace the socket.
fn check_directory(directory: &Path) -> Result<()> {
    let there = std::fs::metadata(directory).map_err(|error| Error::io("access", directory, error))?;
    let is_trusted = there.uid() == 0 || there.uid() == rustix::process::geteuid().as_raw();
    let mode = there.mode();
    if is_trusted && (mode & GROUP_OR_OTHER_WRITE == 0 || mode & STICKY != 0) {
        return Ok(());
    }
    let shown = printable(&directory.to_string_lossy());
    Err(Error::config(format!("others can replace files in {shown}, so a socket is not safe there"))
        .with_hint("choose a directory that only you can write to, such as $XDG_RUNTIME_DIR"))
}
