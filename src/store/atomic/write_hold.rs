//! Keeps programs from writing into a file for a moment, by a lease of the kernel.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::store::dir::Dir;

/// A file that no program has open for writing. One that opens it for that waits until it is released, or 45 seconds at most
/// (`/proc/sys/fs/lease-break-time`).
pub(super) struct WriteHold {
    file: OwnedFd,
    stat: Stat,
    lease: Lease,
}

impl WriteHold {
    /// Holds the file, as far as the file system can: `None` when it is gone or a program has it open for writing.
    pub(super) fn take(dir: &Dir, name: &str) -> Result<Option<Self>> {
        let file = match open_to_read(dir, name) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(Error::io("open", dir.path().join(name), errno)),
        };
        let stat =
            rustix::fs::fstat(&file).map_err(|errno| Error::io("read", dir.path().join(name), errno))?;
        Ok(match lease(&file) {
            Lease::Refused => None,
            lease => Some(Self { file, stat, lease }),
        })
    }

    /// Returns whether this is the metadata of the file that is held.
    pub(super) fn is_of(&self, stat: &Stat) -> bool {
        (self.stat.st_dev, self.stat.st_ino) == (stat.st_dev, stat.st_ino)
    }

    /// Returns whether a program waits for the file.
    #[expect(unsafe_code, reason = "no library offers this call")]
    pub(super) fn is_awaited(&self) -> bool {
        // SAFETY: the descriptor is open, and the call takes numbers and touches none of our memory.
        let kind = unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_GETLEASE) };
        // The kernel tells the kind that the lease has to become.
        self.lease == Lease::Granted && kind != libc::F_RDLCK
    }

    /// Lets programs open the file.
    #[expect(unsafe_code, reason = "no library offers this call")]
    pub(super) fn release(&self) {
        // SAFETY: as in `is_awaited`.
        unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) };
    }
}

/// What the kernel says to the wish to hold a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lease {
    /// It is held until its descriptor is closed.
    Granted,
    /// A program has it open for writing.
    Refused,
    /// The file system has no leases, or the file is not ours.
    Unknown,
}

/// Returns whether a program has the file open for writing; `false` if that cannot be found out.
pub(super) fn is_open_for_writing(dir: &Dir, name: &str) -> bool {
    open_to_read(dir, name).is_ok_and(|file| lease(&file) == Lease::Refused)
}

fn open_to_read(dir: &Dir, name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// The command of fcntl that chooses the signal for the end of a lease (linux/fcntl.h).
const F_SETSIG: i32 = 10;

/// Takes a lease for reading, which the kernel grants if no program has the file open for writing. When one opens it for
/// that, the kernel sends this process a signal: one that does nothing by default.
#[expect(unsafe_code, reason = "no library offers this call")]
fn lease(file: &OwnedFd) -> Lease {
    // SAFETY: the descriptor is open, and the calls take numbers and touch none of our memory.
    let leased = unsafe {
        libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG);
        libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK)
    };
    match leased {
        0 => Lease::Granted,
        _ if Errno::from_io_error(&std::io::Error::last_os_error()) == Some(Errno::AGAIN) => Lease::Refused,
        _ => Lease::Unknown,
    }
}
