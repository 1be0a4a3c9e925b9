//! Reads whole files of the store: regular files only, up to a limit, without following links or blocking.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::Errno;

use super::dir::{Dir, is_regular};
use crate::error::{Error, Result, printable};

/// The content of a file, with the open descriptor that proves its identity.
pub(super) struct FileContent {
    pub(super) bytes: Vec<u8>,
    pub(super) stat: Stat,
    // Kept open so that the inode number cannot be reused for another file meanwhile.
    _file: File,
}

/// Reads a regular file of at most `limit` bytes; `None` when it does not exist.
///
/// # Errors
/// `Corrupt` when it is not a regular file or is too large; `Io`.
pub(super) fn read(dir: &Dir, name: &str, limit: u64) -> Result<Option<FileContent>> {
    let path = || dir.path().join(name);
    let shown = || printable(&path().to_string_lossy());
    // NONBLOCK: opening a FIFO must not wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd: OwnedFd = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => return Err(Error::corrupt(format!("{} is a symbolic link", shown()))),
        Err(Errno::NXIO) => return Err(Error::corrupt(format!("{} is not a regular file", shown()))),
        Err(errno) => return Err(Error::io("open", path(), errno)),
    };
    let stat = rustix::fs::fstat(&fd).map_err(|errno| Error::io("read", path(), errno))?;
    if !is_regular(&stat) {
        return Err(Error::corrupt(format!("{} is not a regular file", shown())));
    }
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    if size > limit {
        return Err(Error::corrupt(format!(
            "{} is too large: {size} bytes, at most {limit} are read",
            shown()
        )));
    }
    let mut file = File::from(fd);
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    // Exactly the size from fstat: reading on would cost a system call, and data appended meanwhile belongs
    // to the next read.
    (&mut file).take(size).read_to_end(&mut bytes).map_err(|error| Error::io("read", path(), error))?;
    Ok(Some(FileContent { bytes, stat, _file: file }))
}

/// Returns whether an error comes from this process or the machine rather than from the file that was to be read.
pub(super) fn is_transient(error: &Error) -> bool {
    let numbers = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INTR].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|number| numbers.contains(&number))
}
