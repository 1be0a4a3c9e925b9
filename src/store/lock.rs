//! The only code that locks.
//!
//! There are three locks, always taken in this order:
//!
//! 1. The *task lock*: an exclusive flock on the directory of one task, held by a `lanes` process from
//!    reading a task until its change is committed. It keeps two processes from preparing (and syncing)
//!    changes of one task at the same time, without delaying any other task.
//! 2. The *store lock*: an exclusive flock on `<store>/lock`, shared with every other implementation of the
//!    protocol. A change of a task holds it to check again, rename, and update the index, without a sync.
//! 3. With the store lock, a flock on the store's directory: somebody may delete `lock` while it is held, and
//!    the next process would lock another file. The directory stays, so that no other `lanes` gets in.
//!
//! None is ever held across a child process, a network call or a wait, and readers take none.
//!
//! A [`FileLock`] is independent of them: it shows that a process is doing some longer work. So is a `CompanionLock`, which
//! is beside a file that is no part of a store.

#![expect(clippy::disallowed_methods, reason = "this is the module that locks")]

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::File;
use std::io::ErrorKind as IoErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags, Stat};

use super::atomic;
use super::dir::{Dir, is_regular};
use super::layout::LOCK;
use super::lock_queue::{FileId, LockQueue, Permit};
use crate::error::{Error, ErrorKind, Result, printable};
use crate::os::{file_locks, file_system, process_table};

/// The number of time limits to wait for a lock whose holder keeps changing.
const MAX_WAITS: u32 = 6;

/// How often a waiting thread checks whether it should stop waiting.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// The store lock; released when dropped. Only its holder may change what other processes see.
#[derive(Debug)]
pub(super) struct StoreLock {
    // Released first: the process that gets the file next finds the directory free.
    _directory: HeldLock,
    _file: HeldLock,
    since: Instant,
}

thread_local! {
    static HELD: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static LONGEST: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Returns for how long this thread held the store lock the last time; for measurements.
#[doc(hidden)]
pub fn last_lock_hold() -> Duration {
    HELD.get()
}

/// Returns for how long this thread held the store lock at most since the last call; for measurements.
#[doc(hidden)]
pub fn longest_lock_hold() -> Duration {
    LONGEST.take()
}

impl Drop for StoreLock {
    fn drop(&mut self) {
        HELD.set(self.since.elapsed());
        LONGEST.set(LONGEST.get().max(HELD.get()));
    }
}

/// The lock of one task; released when dropped.
#[derive(Debug)]
pub(super) struct TaskLock {
    _lock: HeldLock,
}

/// A locked file and the permit for it; fields are dropped in this order.
#[derive(Debug)]
struct HeldLock {
    _file: File,
    _permit: Permit<'static>,
}

/// The queue of this process's threads in front of every lock.
static THREADS: LockQueue = LockQueue::new();

/// Ends every present and future wait for a lock in this process; a free lock can still be taken. For a process
/// that is about to end: a thread that waits for a lock has changed nothing yet.
pub(crate) fn stop_waiting_for_locks() {
    THREADS.close();
}

impl StoreLock {
    /// Waits for the store lock until one process has held it for `timeout`.
    pub(super) fn acquire(root: &Dir, timeout: Duration) -> Result<Self> {
        loop {
            let (directory, its_stat) = open_directory(root)?;
            let (file, stat) = open_lock_file(root, LOCK)?;
            let file = acquire(file, &stat, &root.path().join(LOCK), timeout)?;
            let directory = acquire(directory, &its_stat, root.path(), timeout)?;
            // The file may have been deleted while this process waited; then others lock a new one.
            if is_same_file_at(root, LOCK, &stat) {
                return Ok(Self { _directory: directory, _file: file, since: Instant::now() });
            }
        }
    }
}

/// A lock outside that order, for work that one process at a time may do for an unlimited time. Its file is
/// created with it and removed with it.
#[derive(Debug)]
pub(crate) struct FileLock {
    dir: Dir,
    name: String,
    _file: File,
}

impl FileLock {
    /// Takes the lock on the file at `path`; `None` when another process has it.
    ///
    /// # Errors
    /// `Invalid` for a path without a file name; `Corrupt` when it is not a regular file; `Io`.
    pub(crate) fn try_acquire(path: &Path) -> Result<Option<Self>> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(OsStr::to_str)) else {
            return Err(Error::invalid(format!("{} names no file", printable(&path.to_string_lossy()))));
        };
        Self::try_acquire_in(Dir::open_root(parent)?, name)
    }

    /// Takes the lock on the file `name` in `dir`; `None` when another process has it.
    pub(super) fn try_acquire_in(dir: Dir, name: &str) -> Result<Option<Self>> {
        loop {
            let (file, stat) = open_lock_file(&dir, name)?;
            if !try_lock(&file, &dir.path().join(name))? {
                return Ok(None);
            }
            // Its last holder may have removed it just now; then others lock a new one.
            if is_same_file_at(&dir, name, &stat) {
                return Ok(Some(Self { dir, name: name.to_string(), _file: file }));
            }
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Before the lock is released: the next holder sees that the file is another one.
        let _ = atomic::remove(&self.dir, &self.name);
    }
}

/// A lock outside that order for a file that other programs change too: they take it with `flock FILE.lock …`, so the lock
/// file stays.
#[cfg(feature = "cli")]
#[derive(Debug)]
pub(crate) struct CompanionLock {
    _lock: HeldLock,
}

#[cfg(feature = "cli")]
impl CompanionLock {
    /// Waits for the lock on the file at `path`, an absolute path, which is created if it is missing, until one process has
    /// held it for `timeout`.
    ///
    /// # Errors
    /// `Invalid` for a path without a file name; `Locked`; `Corrupt` when it is not a regular file; `Io`.
    pub(crate) fn acquire_at(path: &Path, timeout: Duration) -> Result<Self> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(OsStr::to_str)) else {
            return Err(Error::invalid(format!("{} names no file", printable(&path.to_string_lossy()))));
        };
        Self::acquire(&Dir::open_root(parent)?, name, timeout)
    }

    /// Waits for the lock on the file `name` in `dir`, which is created if it is missing, until one process has held it for
    /// `timeout`.
    ///
    /// # Errors
    /// `Locked`; `Corrupt` when it is not a regular file; `Io`.
    pub(super) fn acquire(dir: &Dir, name: &str, timeout: Duration) -> Result<Self> {
        loop {
            // To read is enough for a lock: other users may share the file.
            let flags =
                OFlags::RDONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let (file, stat) = open_regular(dir, name, flags, SHARED_MODE)?;
            let lock = acquire(file, &stat, &dir.path().join(name), timeout)?;
            if is_same_file_at(dir, name, &stat) {
                return Ok(Self { _lock: lock });
            }
        }
    }
}

/// The mode of a lock file that other users may lock, too.
#[cfg(feature = "cli")]
const SHARED_MODE: Mode = Mode::RUSR.union(Mode::WUSR).union(Mode::RGRP).union(Mode::ROTH);

fn open_directory(dir: &Dir) -> Result<(File, Stat)> {
    let file = File::from(atomic::duplicate(dir)?);
    let stat = rustix::fs::fstat(&file).map_err(|errno| Error::io("read", dir.path(), errno))?;
    Ok((file, stat))
}

fn open_lock_file(dir: &Dir, name: &str) -> Result<(File, Stat)> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    open_regular(dir, name, flags, Mode::RUSR | Mode::WUSR)
}

fn open_regular(dir: &Dir, name: &str, flags: OFlags, mode: Mode) -> Result<(File, Stat)> {
    let path = dir.path().join(name);
    let fd = rustix::fs::openat(dir, name, flags, mode).map_err(|errno| Error::io("open", &path, errno))?;
    let stat = rustix::fs::fstat(&fd).map_err(|errno| Error::io("read", &path, errno))?;
    if !is_regular(&stat) {
        return Err(Error::corrupt(format!("{} is not a regular file", printable(&path.to_string_lossy()))));
    }
    Ok((File::from(fd), stat))
}

/// Returns whether `name` in `dir` is still the opened file.
pub(super) fn is_same_file_at(dir: &Dir, name: &str, locked: &Stat) -> bool {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|now| (now.st_dev, now.st_ino) == (locked.st_dev, locked.st_ino))
}

impl TaskLock {
    /// Waits for the lock of the task in `dir` until one process has held it for `timeout`.
    pub(super) fn acquire(dir: &Dir, timeout: Duration) -> Result<Self> {
        let (file, stat) = open_directory(dir)?;
        Ok(Self { _lock: acquire(file, &stat, dir.path(), timeout)? })
    }

    /// Takes the lock of the task in `dir`; `None` when another process has it.
    pub(super) fn try_acquire(dir: &Dir) -> Result<Option<Self>> {
        let (file, stat) = open_directory(dir)?;
        let Some(permit) = THREADS.enter(file_id(&stat), Instant::now()) else { return Ok(None) };
        Ok(try_lock(&file, dir.path())?.then_some(Self { _lock: HeldLock { _file: file, _permit: permit } }))
    }
}

/// Locks `fd` for as long as it stays open. Returns `false` when another process holds it.
pub(super) fn hold(fd: &OwnedFd, path: &Path) -> Result<bool> {
    let file = fd.as_fd().try_clone_to_owned().map_err(|error| Error::io("open", path, error))?;
    try_lock(&File::from(file), path)
}

/// Returns whether a process holds the file `name` in `dir`; a file that cannot be opened is not held.
///
/// # Errors
/// `Io` when the kernel does not report it.
pub(super) fn is_held(dir: &Dir, name: &str) -> Result<bool> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(fd) = rustix::fs::openat(dir, name, flags, Mode::empty()) else { return Ok(false) };
    // A shared lock suffices to detect an exclusive one, and two processes that check do not disturb each
    // other.
    match fs2::FileExt::try_lock_shared(&File::from(fd)) {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == IoErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(Error::io("lock", dir.path().join(name), error)),
    }
}

fn file_id(stat: &Stat) -> FileId {
    (stat.st_dev, stat.st_ino)
}

fn try_lock(file: &File, path: &Path) -> Result<bool> {
    match fs2::FileExt::try_lock_exclusive(file) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == IoErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(Error::io("lock", path, error)),
    }
}

/// Locks `file`: waits for the permit, tries, then sleeps in the kernel's queue, then gives up and names the
/// holder.
fn acquire(file: File, stat: &Stat, path: &Path, timeout: Duration) -> Result<HeldLock> {
    let deadline = Instant::now() + timeout;
    let Some(permit) = THREADS.enter(file_id(stat), deadline) else {
        return Err(locked_error(stat, path, timeout));
    };
    if try_lock(&file, path)? {
        return Ok(HeldLock { _file: file, _permit: permit });
    }
    let (sender, receiver) = mpsc::channel();
    // flock has no timeout. A thread that is left behind releases the lock as soon as it gets it, because
    // nobody receives the file any more.
    std::thread::Builder::new()
        .name("lock".to_string())
        .spawn(move || {
            let result = fs2::FileExt::lock_exclusive(&file).map(|()| file);
            let _ = sender.send(result);
        })
        .map_err(|error| Error::io("wait for", path, error))?;
    let received = |until: Instant| loop {
        let left = until.saturating_duration_since(Instant::now());
        match receiver.recv_timeout(left.min(CHECK_INTERVAL)) {
            Ok(result) => return Some(result.map_err(|error| Error::io("lock", path, error))),
            Err(RecvTimeoutError::Timeout) if left > CHECK_INTERVAL && !THREADS.is_closed() => {}
            Err(_) => return None,
        }
    };
    // Most locks are free again before it is worth asking for their holder.
    let mut file = received(Instant::now() + timeout / 10);
    let mut until = deadline;
    let mut holder = None;
    for window in 0..=MAX_WAITS {
        if let Some(file) = file {
            return Ok(HeldLock { _file: file?, _permit: permit });
        }
        // The holder has changed: on a busy machine many processes take the lock in turn.
        let now = file_locks::holder(stat.st_ino);
        if window == MAX_WAITS || holder == Some(now) || THREADS.is_closed() {
            break;
        }
        (holder, file) = (Some(now), received(until));
        until = Instant::now() + timeout;
    }
    Err(locked_error(stat, path, timeout))
}

fn locked_error(stat: &Stat, path: &Path, timeout: Duration) -> Error {
    let time =
        if THREADS.is_closed() { String::new() } else { format!(" for {} seconds", timeout.as_secs_f64()) };
    Error::new(
        ErrorKind::Locked,
        format!(
            "{} has been locked{time} by {}",
            printable(&path.to_string_lossy()),
            holder(stat).unwrap_or_else(|| "another process".to_string())
        ),
    )
    .with_hint("end or continue that process, or wait longer with --lock-timeout or LANES_LOCK_TIMEOUT")
}

/// Returns the holder of a lock on the file, from the kernel's list: it contains the locks of every
/// implementation, and costs nothing until it is read.
fn holder(stat: &Stat) -> Option<String> {
    let pid = file_locks::holder(stat.st_ino)?;
    let arguments = process_table::arguments(pid.cast_signed());
    let words = arguments.map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "));
    match words {
        Some(words) if !words.trim().is_empty() => {
            let short: String = words.trim().chars().take(120).collect();
            Some(format!("process {pid} ({})", printable(&short)))
        }
        _ => Some(format!("process {pid}")),
    }
}

/// Refuses file systems on which a lock taken by one machine is not seen by another, or not reliably.
pub(super) fn refuse_network_file_system(root: &Dir) -> Result<()> {
    match file_system::network_name(root) {
        None => Ok(()),
        Some(name) => Err(Error::config(format!(
            "the store {} is on {name}, where file locks cannot be trusted",
            printable(&root.path().to_string_lossy())
        ))
        .with_hint(
            "keep the store on a local disk, or set LANES_ALLOW_NETWORK_FS=1 if only one machine uses it",
        )),
    }
}
