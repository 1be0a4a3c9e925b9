//! Opens what is in directories without following links.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};

/// A directory that always exists, contains no name that a store uses, and in which nothing can be created.
const EMPTY_DIRECTORY: &str = "/proc/self/ns";

/// Opens a directory in which there is nothing that a store looks for, and nothing can be created.
pub(crate) fn open_empty() -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(EMPTY_DIRECTORY, flags, Mode::empty())
}

/// Opens a file for reading by a path of several names below `dir`, with one call. A link anywhere on the way is refused,
/// and a pipe is not waited for. Where the kernel has no such call, this fails, and the caller walks the path itself.
pub(crate) fn open_beneath(dir: impl AsFd, path: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(dir, path, flags, Mode::empty(), resolve)
}
