//! Where things are in a state directory, and how its directories are opened.
//!
//! Everything is reached through directory descriptors with `O_NOFOLLOW`, so that a planted
//! symbolic link cannot lead outside.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::atomic;
use super::scan::ProgressListener;
use crate::error::{Error, ErrorKind, Result, printable};
use crate::model::TaskId;
use crate::model::id::slug;

pub(super) const TASKS: &str = "tasks";
pub(super) const TMP: &str = "tmp";
pub(super) const INDEXES: &str = "indexes";
pub(super) const BELLS: &str = "bells";
pub(super) const QUARANTINE: &str = "quarantine";
pub(super) const WORKERS: &str = "workers";
pub(super) const LOCK: &str = "lock";
pub(super) const FORMAT: &str = "format.json";
pub(super) const FEED: &str = "feed.jsonl";
/// What boards keep beside the tasks.
pub(super) const BOARD: &str = "board.json";
/// Dispatch routes that programs add.
pub(super) const ROUTES: &str = "routes.json";
/// What clients of `lanes serve` show.
pub(super) const SERVER_TOKEN: &str = "serve.token";
pub(super) const LANES: &str = "lanes.json";
pub(super) const VENDORS: &str = "vendors.json";
pub(super) const OUTBOX: &str = "outbox";
pub(super) const CONVERSATIONS: &str = "conversations";
pub(super) const USAGE: &str = "usage.jsonl";
pub(super) const OLD_USAGE: &str = "usage.old.jsonl";
pub(super) const TASK_FILE: &str = "task.json";
pub(super) const EVENTS_FILE: &str = "events.jsonl";
pub(super) const RESPONSE_FILE: &str = "response.json";
pub(super) const REQUEST_FILE: &str = "request.md";
pub(super) const RESPONSE_BODY_FILE: &str = "response.md";
/// Inside a task: one numbered directory for each run.
pub(super) const ATTEMPTS: &str = "attempts";

/// A directory of the store: its descriptor, and its path for messages.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
    /// Whether it stands for one that is not there, and is empty.
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

/// A directory that always exists, holds no name that a store has, and in which nothing can be made.
const NOTHING: &str = "/proc/self/ns";

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Dir {
    /// Opens the root of a store; here, and only here, a symbolic link is followed.
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

    /// Stands for the directory at `path`, which is not there.
    fn absent(path: PathBuf) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(NOTHING, flags, Mode::empty())
            .map_err(|_| Error::io("open", &path, std::io::Error::from(Errno::NOENT)))?;
        Ok(Self { fd, path, is_absent: true })
    }

    /// Opens a directory inside this one; `None` when it does not exist.
    pub(super) fn open_existing(&self, name: impl AsRef<OsStr>) -> Result<Option<Self>> {
        let name = name.as_ref();
        let path = self.path.join(name);
        match rustix::fs::openat(&self.fd, name, DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Some(Self { fd, path, is_absent: false })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => Err(Error::corrupt(format!(
                "{} is not a directory of the store",
                printable(&path.to_string_lossy())
            ))),
            Err(errno) => Err(Error::io("open", path, errno)),
        }
    }

    /// Opens a directory inside this one and makes it first when it does not exist.
    pub(super) fn open_or_make(&self, name: &str) -> Result<Self> {
        if let Some(dir) = self.open_existing(name)? {
            return Ok(dir);
        }
        self.refuse_if_absent(name)?;
        atomic::make_dir(self, name)?;
        self.open_existing(name)?
            .ok_or_else(|| Error::io("open", self.path.join(name), std::io::Error::from(Errno::NOENT)))
    }

    /// The same for derived data, whose names need not survive a power cut.
    pub(super) fn open_or_make_derived(&self, name: &str) -> Result<Self> {
        if let Some(dir) = self.open_existing(name)? {
            return Ok(dir);
        }
        self.refuse_if_absent(name)?;
        atomic::make_dir_derived(self, name)?;
        self.open_existing(name)?
            .ok_or_else(|| Error::io("open", self.path.join(name), std::io::Error::from(Errno::NOENT)))
    }

    /// What is not there cannot be written to, as if its disk could only be read.
    fn refuse_if_absent(&self, name: &str) -> Result<()> {
        match self.is_absent {
            true => Err(Error::io("create", self.path.join(name), std::io::Error::from(Errno::ROFS))),
            false => Ok(()),
        }
    }

    /// Its path, for messages and for other programs.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Everything in this directory with its kind, sorted by name; names that are not UTF-8 too.
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
                // Some file systems leave the kind to a look at the file.
                FileType::Unknown => rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode)),
                kind => kind,
            };
            entries.push((name.to_os_string(), kind));
        }
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(entries)
    }

    /// Whether other users may enter or list it.
    pub(super) fn is_open_to_others(&self) -> Result<bool> {
        let stat = rustix::fs::fstat(&self.fd).map_err(|errno| Error::io("read", &self.path, errno))?;
        Ok(Mode::from_raw_mode(stat.st_mode).intersects(Mode::RWXG | Mode::RWXO))
    }

    /// The names in this directory, in no order, without `.` and `..` and without names that are
    /// not UTF-8, which nobody of us writes.
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

/// The directories of one store.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) root: Dir,
    pub(super) tasks: Dir,
    /// Who is told how far we are with what takes long.
    pub(super) progress: ProgressListener,
}

impl Layout {
    /// Opens the store at `path` and makes what is missing of it.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let root = match Dir::open_root(path) {
            Ok(root) => root,
            Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {
                atomic::make_root(path)?;
                Dir::open_root(path)?
            }
            Err(error) => return Err(error),
        };
        let tasks = root.open_or_make(TASKS).map_err(hint_at_repair)?;
        Ok(Self { root, tasks, progress: ProgressListener::default() })
    }

    /// Opens the store at `path` if there is one; makes nothing.
    pub(super) fn open_existing(path: &Path) -> Result<Option<Self>> {
        let root = match Dir::open_root(path) {
            Ok(root) => root,
            Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => return Ok(None),
            Err(error) => return Err(error),
        };
        let tasks = root.open_existing(TASKS).map_err(hint_at_repair)?;
        Ok(tasks.map(|tasks| Self { root, tasks, progress: ProgressListener::default() }))
    }

    /// The empty store that `path` stands for while there is none. Nothing can be written to it.
    pub(super) fn absent(path: &Path) -> Result<Self> {
        let (root, tasks) = (Dir::absent(path.to_path_buf())?, Dir::absent(path.join(TASKS))?);
        Ok(Self { root, tasks, progress: ProgressListener::default() })
    }

    /// Whether it stands for a store that is not there.
    pub(super) fn is_absent(&self) -> bool {
        self.tasks.is_absent
    }

    /// The directory of a task; `None` when there is none.
    pub(super) fn task(&self, id: &TaskId) -> Result<Option<Dir>> {
        self.tasks.open_existing(id.as_str())
    }

    /// The staging directory.
    pub(super) fn tmp(&self) -> Result<Dir> {
        self.root.open_or_make(TMP)
    }

    /// The directory of the derived files.
    pub(super) fn indexes(&self) -> Result<Dir> {
        self.root.open_or_make(INDEXES)
    }
}

/// Says what to do about what keeps a store from being opened.
pub(super) fn hint_at_repair(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Corrupt => error.with_hint("`lanes fsck --repair` moves it out of the way"),
        _ => error,
    }
}

/// The file name that stands for a lane: readable, and unique through a hash.
pub(super) fn lane_key(lane: &str) -> String {
    let mut name = slug(lane);
    name.truncate(60);
    format!("{name}-{}", &hex(&Sha256::digest(lane.as_bytes()))[..10])
}

/// The file name that stands for an idempotency key within a workspace.
pub(super) fn idempotency_key(workspace_id: &str, key: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(workspace_id.as_bytes());
    hash.update([0]);
    hash.update(key.as_bytes());
    hex(&hash.finalize())
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a file is a regular one.
pub(super) fn is_regular(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}
