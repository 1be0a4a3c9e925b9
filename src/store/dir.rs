//! Directories of the store, opened once and used through their descriptors.
//!
//! Everything is reached through directory descriptors with `O_NOFOLLOW`, so that a planted
//! symbolic link cannot lead outside.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Result, printable};
use crate::os::directory;

/// A directory of the store: its descriptor, and its path for messages.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
    /// Whether it represents a directory that does not exist, and is therefore empty.
    is_absent: bool,
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Dir> for OwnedFd {
    fn from(dir: Dir) -> Self {
        dir.fd
    }
}

const OPEN_DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Dir {
    /// Opens the root of a store; only here is a symbolic link followed.
    ///
    /// # Errors
    /// `Config` when it is not a directory; `Io`.
    pub(super) fn open_root(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => Ok(Self { fd, path: path.to_path_buf(), is_absent: false }),
            Err(Errno::NOTDIR) => Err(Error::config(format!(
                "the store {} is not a directory",
                printable(&path.to_string_lossy())
            ))
            .with_hint("name a directory with --store, LANES_STORE or queue_root")),
            Err(errno) => Err(Error::io("open", path, errno)),
        }
    }

    /// Represents the directory at `path`, which does not exist.
    pub(super) fn absent(path: PathBuf) -> Result<Self> {
        let fd = directory::open_empty()
            .map_err(|_| Error::io("open", &path, std::io::Error::from(Errno::NOENT)))?;
        Ok(Self { fd, path, is_absent: true })
    }

    /// Opens a directory inside this one; `None` when it does not exist.
    ///
    /// # Errors
    /// `Corrupt` when something other than a directory has that name; `Io`.
    pub(super) fn open_existing(&self, name: impl AsRef<OsStr>) -> Result<Option<Self>> {
        let name = name.as_ref();
        let path = self.path.join(name);
        match rustix::fs::openat(&self.fd, name, OPEN_DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Some(Self { fd, path, is_absent: false })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => Err(Error::corrupt(format!(
                "{} is not a directory of the store",
                printable(&path.to_string_lossy())
            ))),
            Err(errno) => Err(Error::io("open", path, errno)),
        }
    }

    /// Refuses to create `name` in a directory that does not exist, like a read-only file system.
    pub(super) fn refuse_if_absent(&self, name: &str) -> Result<()> {
        match self.is_absent {
            true => Err(Error::io("create", self.path.join(name), std::io::Error::from(Errno::ROFS))),
            false => Ok(()),
        }
    }

    /// Returns whether it represents a directory that does not exist.
    pub(super) fn is_absent(&self) -> bool {
        self.is_absent
    }

    /// Returns its path, for messages and for other programs.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns all entries of this directory with their types, sorted by name; names that are not UTF-8 as
    /// well.
    pub(super) fn entries(&self) -> Result<Vec<(OsString, FileType)>> {
        let fail = |errno: Errno| Error::io("list", &self.path, errno);
        let mut entries = Vec::new();
        if self.is_absent {
            return Ok(entries);
        }
        for entry in rustix::fs::Dir::read_from(&self.fd).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                // Some file systems report the type only through stat.
                FileType::Unknown => rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode)),
                kind => kind,
            };
            entries.push((name.to_os_string(), kind));
        }
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(entries)
    }

    /// Returns whether other users may enter or list it.
    pub(super) fn is_open_to_others(&self) -> Result<bool> {
        let stat = rustix::fs::fstat(&self.fd).map_err(|errno| Error::io("read", &self.path, errno))?;
        Ok(Mode::from_raw_mode(stat.st_mode).intersects(Mode::RWXG | Mode::RWXO))
    }

    /// Returns the names in this directory, in no order, without `.` and `..` and without names that are not
    /// UTF-8, which `lanes` never writes.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        let fail = |errno: Errno| Error::io("list", &self.path, errno);
        let mut names = Vec::new();
        if self.is_absent {
            return Ok(names);
        }
        for entry in rustix::fs::Dir::read_from(&self.fd).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            if let Ok(name) = entry.file_name().to_str()
                && name != "."
                && name != ".."
            {
                names.push(name.to_string());
            }
        }
        Ok(names)
    }
}

/// Returns whether a file is a regular file.
pub(super) fn is_regular(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}
