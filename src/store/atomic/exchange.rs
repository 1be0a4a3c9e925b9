//! Replaces a file that other programs change at the same time, so that no change of theirs is lost.
//!
//! Editors and scripts know nothing of our locks. A file that is compared and then renamed over may change between the two.
//! Here the new file and the old one exchange their names, and the old one is compared once it can no longer be reached by
//! its name: when it is not as it was read, the two are exchanged back.

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use super::{StagedEntry, create, keep_owner, remove, sync_dir, sync_file};
use crate::error::{Error, Result};
use crate::store::bounded_file::{self, FileContent};
use crate::store::dir::Dir;

/// How long a program that has the replaced file open for writing may take to close it.
const MAX_WRITER_WAIT: Duration = Duration::from_secs(1);

/// How often it is checked whether it has.
const WRITER_CHECK_INTERVAL: Duration = Duration::from_millis(2);

/// Replaces the file `name` in `dir`, which is `old`: durable, with the mode, the owner and the group of `old`. Returns the
/// metadata of the new file, or `None` with nothing changed when the file is no longer `old`. The caller holds a lock, so
/// that no other process of ours does the same.
///
/// # Errors
/// `Io`; the file is then as it was.
pub(in crate::store) fn replace_if_unchanged(
    dir: &Dir,
    name: &str,
    content: &[u8],
    old: &FileContent,
) -> Result<Option<Stat>> {
    let staged = stage(dir, name, content, &old.stat)?;
    let new = stat(dir, &staged.name)?;
    if !is_still(dir, name, old) {
        return Ok(None);
    }
    match exchange(dir, &staged.name, name) {
        Ok(()) => {}
        Err(Errno::NOENT) => return Ok(None),
        // This file system cannot exchange two names.
        Err(Errno::INVAL | Errno::NOSYS) => {
            staged.publish(dir, name)?;
            sync_dir(dir)?;
            return Ok(Some(new));
        }
        Err(errno) => return Err(Error::io("rename into place", dir.path().join(name), errno)),
    }
    // A program that has the old file open for writing gets its name back at once: what it writes next must not go to a file
    // without a name, and a program that opens the name must find it.
    if !is_open_for_writing(dir, &staged.name) && is_still(dir, &staged.name, old) {
        // Before the old file is removed on drop: a power cut leaves one of the two.
        sync_dir(dir)?;
        return Ok(Some(new));
    }
    put_back(staged, dir, name, &new)?;
    Ok(None)
}

/// Writes the new file beside the old one. Its name is always the same, so that what a killed process leaves is removed by
/// the next one.
fn stage<'d>(dir: &'d Dir, name: &str, content: &[u8], old: &Stat) -> Result<StagedEntry<'d>> {
    let temporary = format!(".{name}.lanes-tmp");
    remove(dir, &temporary)?;
    let staged = StagedEntry { tmp: dir, name: temporary, published: false };
    let path = || dir.path().join(name);
    let file = create(dir, &staged.name, content)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(old.st_mode & 0o7777))
        .map_err(|errno| Error::io("set the mode of", path(), errno))?;
    keep_owner(dir, &staged.name, old).map_err(|errno| Error::io("keep the owner of", path(), errno))?;
    sync_file(&file, &path())?;
    Ok(staged)
}

fn stat(dir: &Dir, name: &str) -> Result<Stat> {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| Error::io("read", dir.path().join(name), errno))
}

fn exchange(dir: &Dir, one: &str, other: &str) -> rustix::io::Result<()> {
    rustix::fs::renameat_with(dir, one, dir, other, RenameFlags::EXCHANGE)
}

/// Returns whether the file has the content of `old`. One that cannot be read does not.
fn is_still(dir: &Dir, name: &str, old: &FileContent) -> bool {
    let limit = old.bytes.len() as u64;
    bounded_file::read(dir, name, limit)
        .is_ok_and(|content| content.is_some_and(|content| content.bytes == old.bytes))
}

/// Gives the file that another program has written its name back.
fn put_back(mut staged: StagedEntry<'_>, dir: &Dir, name: &str, new: &Stat) -> Result<()> {
    // From here on it is theirs, and must not be removed on drop.
    staged.published = true;
    match exchange(dir, &staged.name, name) {
        Ok(()) => {}
        // They have removed the file that we put there.
        Err(Errno::NOENT) => return staged.publish(dir, name),
        Err(errno) => return Err(Error::io("rename into place", dir.path().join(name), errno)),
    }
    wait_for_writers(dir, &staged.name);
    let out = stat(dir, &staged.name)?;
    let content = |stat: &Stat| (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
    if content(&out) != content(new) {
        // Ours was overwritten while it had the name: what was written then is the newest.
        exchange(dir, &staged.name, name)
            .map_err(|errno| Error::io("rename into place", dir.path().join(name), errno))?;
    }
    remove(dir, &staged.name)
}

/// Waits until no program has the file open for writing, if the kernel tells.
fn wait_for_writers(dir: &Dir, name: &str) {
    let start = Instant::now();
    while is_open_for_writing(dir, name) && start.elapsed() < MAX_WRITER_WAIT {
        std::thread::sleep(WRITER_CHECK_INTERVAL);
    }
}

/// The command of fcntl that chooses the signal for the end of a lease (linux/fcntl.h).
const F_SETSIG: i32 = 10;

/// Returns whether a program has the file open for writing; `false` if that cannot be found out. The kernel grants a lease
/// for reading only if none has. A program that opens the file at this moment ends the lease with a signal to this process:
/// one that does nothing by default.
#[expect(unsafe_code, reason = "no library offers this call")]
fn is_open_for_writing(dir: &Dir, name: &str) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::openat(dir, name, flags, Mode::empty()) else { return false };
    // SAFETY: the descriptor is open, and the calls take numbers and touch none of our memory.
    let leased = unsafe {
        libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG);
        libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK)
    };
    if leased != 0 {
        return Errno::from_io_error(&std::io::Error::last_os_error()) == Some(Errno::AGAIN);
    }
    // SAFETY: as above.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) };
    false
}
