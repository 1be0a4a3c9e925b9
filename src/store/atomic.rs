//! The only code that creates, writes, syncs, renames or removes files of the store.
//!
//! There are two kinds of files. Files that a promise rests on are *staged*: written under `tmp/`, synced
//! there, and published by one rename. The caller then syncs the directory, since it knows which directories
//! one promise needs. Derived files, which can be rebuilt, are written without any sync.
//!
//! A failed fsync is final: the kernel may have dropped the data and marked the page clean, so the staged
//! file is discarded with the error and never synced again.

#![expect(clippy::disallowed_methods, reason = "this is the module that creates, syncs and renames")]

#[cfg(feature = "cli")]
mod exchange;
mod maintenance;
mod sync_group;
#[cfg(feature = "cli")]
mod write_hold;

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::dir::{Dir, is_regular};
use crate::error::{Error, Result, printable};
use crate::os::{machine, rename};

#[cfg(feature = "cli")]
pub(super) use exchange::replace_if_unchanged;
pub(super) use maintenance::{Archive, discard, drop_head, set_aside};
pub(super) use sync_group::SyncGroup;

const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
const DIR_MODE: Mode = Mode::RWXU;
const CREATE_NEW: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Makes the root of a store and its missing parents with mode 0700, and makes their names durable.
pub(super) fn make_root(path: &Path) -> Result<()> {
    let made: Vec<&Path> = path.ancestors().take_while(|part| !part.exists()).collect();
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Error::io("create the directory", path, error))?;
    made.into_iter().try_for_each(sync_parent)
}

/// Syncs the directory that holds `path`, so that the name of `path` survives a power cut.
pub(super) fn sync_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_path(parent),
        _ => sync_path(Path::new(".")),
    }
}

/// Makes a directory inside `parent` with mode 0700 and makes its name durable. An existing one is fine.
pub(super) fn make_dir(parent: &Dir, name: &str) -> Result<()> {
    make_dir_derived(parent, name)?;
    sync_dir(parent)
}

/// Makes a directory inside `parent` with mode 0700. An existing one is fine.
pub(super) fn make_dir_derived(parent: &Dir, name: &str) -> Result<()> {
    match rustix::fs::mkdirat(parent, name, DIR_MODE) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(Error::io("create", parent.path().join(name), errno)),
    }
}

impl Dir {
    /// Opens a directory inside this one, and makes it first if it does not exist.
    ///
    /// # Errors
    /// `Io`; `Corrupt` when something other than a directory has that name.
    pub(super) fn open_or_make(&self, name: &str) -> Result<Self> {
        if let Some(dir) = self.open_existing(name)? {
            return Ok(dir);
        }
        self.refuse_if_absent(name)?;
        make_dir(self, name)?;
        self.open_existing(name)?
            .ok_or_else(|| Error::io("open", self.path().join(name), std::io::Error::from(Errno::NOENT)))
    }

    /// Opens or makes a directory of derived data, whose name need not survive a power cut.
    ///
    /// # Errors
    /// As [`Dir::open_or_make`].
    pub(super) fn open_or_make_derived(&self, name: &str) -> Result<Self> {
        if let Some(dir) = self.open_existing(name)? {
            return Ok(dir);
        }
        self.refuse_if_absent(name)?;
        make_dir_derived(self, name)?;
        self.open_existing(name)?
            .ok_or_else(|| Error::io("open", self.path().join(name), std::io::Error::from(Errno::NOENT)))
    }
}

/// Syncs a directory, so that the names in it survive a power cut.
pub(super) fn sync_dir(dir: &Dir) -> Result<()> {
    rustix::fs::fsync(dir).map_err(|errno| Error::io("sync", dir.path(), errno))
}

fn sync_path(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| Error::io("sync", path, error))
}

/// Returns a name that no other process or thread uses: process id, uptime and a count.
fn unique_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let uptime = machine::uptime().as_nanos();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{uptime}-{count}", std::process::id())
}

/// A file or directory under `tmp/`, removed on drop unless it was published.
pub(super) struct StagedEntry<'a> {
    tmp: &'a Dir,
    name: String,
    published: bool,
}

/// A staged directory, the files and directories in it that still have to be synced, and its descriptor.
type UnsyncedDirectory<'a> = (StagedEntry<'a>, Vec<(File, PathBuf)>, Dir);

impl Drop for StagedEntry<'_> {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        let _ = remove_tree(self.tmp, &self.name);
    }
}

impl<'a> StagedEntry<'a> {
    /// Writes `content` to a file under `tmp/` and syncs it.
    pub(super) fn file(tmp: &'a Dir, content: &[u8]) -> Result<Self> {
        let staged = Self { tmp, name: unique_name(), published: false };
        let file = create(tmp, &staged.name, content)?;
        sync_file(&file, &tmp.path().join(&staged.name))?;
        Ok(staged)
    }

    /// Writes `files` into a new directory under `tmp/`, then syncs the marked ones and the directory. A name
    /// may contain slashes; the directories in it are made.
    pub(super) fn directory(tmp: &'a Dir, files: &[(&str, &[u8], bool)]) -> Result<Self> {
        let (staged, open, dir) = Self::written_directory(tmp, files)?;
        open.iter().try_for_each(|(file, path)| sync_file(file, path))?;
        sync_dir(&dir)?;
        Ok(staged)
    }

    fn written_directory(tmp: &'a Dir, files: &[(&str, &[u8], bool)]) -> Result<UnsyncedDirectory<'a>> {
        let staged = Self { tmp, name: unique_name(), published: false };
        rustix::fs::mkdirat(tmp, &staged.name, DIR_MODE)
            .map_err(|errno| Error::io("create", tmp.path().join(&staged.name), errno))?;
        let dir = tmp.open_or_make(&staged.name)?;
        let mut open = Vec::new();
        for (name, content, durable) in files {
            let file = match name.rsplit_once('/') {
                None => create(&dir, name, content)?,
                Some((parents, name)) => {
                    let mut parent: Option<Dir> = None;
                    for part in parents.split('/') {
                        let made = parent.as_ref().unwrap_or(&dir).open_or_make_derived(part)?;
                        if let Some(above) = parent.replace(made) {
                            let path = above.path().to_path_buf();
                            open.push((File::from(OwnedFd::from(above)), path));
                        }
                    }
                    let parent = parent.as_ref().unwrap_or(&dir);
                    let file = create(parent, name, content)?;
                    open.push((File::from(duplicate(parent)?), parent.path().to_path_buf()));
                    file
                }
            };
            if *durable {
                open.push((file, dir.path().join(name)));
            }
        }
        Ok((staged, open, dir))
    }

    /// Leaves the entry under `tmp/` and returns its name there; the caller removes it.
    #[cfg(feature = "cli")]
    pub(super) fn keep(mut self) -> String {
        self.published = true;
        std::mem::take(&mut self.name)
    }

    /// Writes `content` to a file under `tmp/` without syncing it: a copy of data that is durable elsewhere.
    pub(super) fn copy(tmp: &'a Dir, content: &[u8]) -> Result<Self> {
        let staged = Self { tmp, name: unique_name(), published: false };
        create(tmp, &staged.name, content)?;
        Ok(staged)
    }

    /// Gives a staged copy its name in `dir`. A file that has that name now is exchanged and removed on drop.
    ///
    /// A rename onto an existing file makes ext4 write the new one out at once; exchanging the two does not,
    /// and a copy is not worth the wait.
    pub(super) fn publish_copy(&mut self, dir: &Dir, name: &str) -> Result<()> {
        match rename::exchange(self.tmp, &self.name, dir, name) {
            Ok(()) => return Ok(()),
            // No file has that name yet, or this file system has no exchange.
            Err(Errno::NOENT | Errno::INVAL | Errno::NOSYS) => {}
            Err(errno) => return Err(Error::io("rename into place", dir.path().join(name), errno)),
        }
        rename_derived(self.tmp, &self.name, dir, name)?;
        self.published = true;
        Ok(())
    }

    /// Gives the staged file or directory its name in `dir`. The caller syncs `dir` when the name must
    /// survive a power cut.
    pub(super) fn publish(mut self, dir: &Dir, name: &str) -> Result<()> {
        rustix::fs::renameat(self.tmp, &self.name, dir, name)
            .map_err(|errno| Error::io("rename into place", dir.path().join(name), errno))?;
        self.published = true;
        Ok(())
    }
}

fn create(dir: &Dir, name: &str, content: &[u8]) -> Result<File> {
    let path = || dir.path().join(name);
    let fd = rustix::fs::openat(dir, name, CREATE_NEW, FILE_MODE)
        .map_err(|errno| Error::io("create", path(), errno))?;
    let mut file = File::from(fd);
    file.write_all(content).map_err(|error| Error::io("write", path(), error))?;
    Ok(file)
}

/// Writes a file durably: staged, published, and the directory synced.
pub(super) fn replace_durably(tmp: &Dir, dir: &Dir, name: &str, content: &[u8]) -> Result<()> {
    StagedEntry::file(tmp, content)?.publish(dir, name)?;
    sync_dir(dir)
}

/// Replaces a file that belongs to another program: durable, with this mode, and with the owner and the group of `old`.
#[cfg(feature = "cli")]
pub(super) fn replace_foreign(
    dir: &Dir,
    name: &str,
    content: &[u8],
    mode: Mode,
    old: Option<&rustix::fs::Stat>,
) -> Result<()> {
    let staged = StagedEntry::file(dir, content)?;
    let path = || dir.path().join(name);
    rustix::fs::chmodat(dir, &staged.name, mode, AtFlags::empty())
        .map_err(|errno| Error::io("set the mode of", path(), errno))?;
    if let Some(old) = old {
        keep_owner(dir, &staged.name, old).map_err(|errno| Error::io("keep the owner of", path(), errno))?;
    }
    staged.publish(dir, name)?;
    sync_dir(dir)
}

/// Gives the file `name` the owner and the group of `old` if it has others.
#[cfg(feature = "cli")]
fn keep_owner(dir: &Dir, name: &str, old: &rustix::fs::Stat) -> rustix::io::Result<()> {
    let new = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if (old.st_uid, old.st_gid) == (new.st_uid, new.st_gid) {
        return Ok(());
    }
    let (owner, group) = (rustix::fs::Uid::from_raw(old.st_uid), rustix::fs::Gid::from_raw(old.st_gid));
    rustix::fs::chownat(dir, name, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)
}

/// Writes a derived file: every reader sees all of it or none of it, but it is not durable.
pub(super) fn replace_derived(dir: &Dir, name: &str, content: &[u8]) -> Result<()> {
    let temporary = format!(".{name}.{}", unique_name());
    let result = create(dir, &temporary, content).and_then(|_| {
        rustix::fs::renameat(dir, &temporary, dir, name)
            .map_err(|errno| Error::io("rename into place", dir.path().join(name), errno))
    });
    if result.is_err() {
        let _ = rustix::fs::unlinkat(dir, &temporary, AtFlags::empty());
    }
    result
}

/// Opens a file for reading and appending; a new one has mode 0600.
pub(super) fn open_for_append(dir: &Dir, name: &str) -> Result<File> {
    let flags = OFlags::RDWR
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::CLOEXEC;
    open_regular(dir, name, flags)
}

/// Opens a file for reading and writing in place; a new one has mode 0600.
pub(super) fn open_for_update(dir: &Dir, name: &str) -> Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    open_regular(dir, name, flags)
}

fn open_regular(dir: &Dir, name: &str, flags: OFlags) -> Result<File> {
    let path = || dir.path().join(name);
    let fd =
        rustix::fs::openat(dir, name, flags, FILE_MODE).map_err(|errno| Error::io("open", path(), errno))?;
    let stat = rustix::fs::fstat(&fd).map_err(|errno| Error::io("read", path(), errno))?;
    if !is_regular(&stat) {
        let path = printable(&path().to_string_lossy());
        return Err(Error::corrupt(format!("{path} is not a regular file")));
    }
    Ok(File::from(fd))
}

/// Syncs the content of a file that was opened here.
pub(super) fn sync_file(file: &File, path: &Path) -> Result<()> {
    file.sync_all().map_err(|error| Error::io("sync", path, error))
}

/// Removes a file; a missing one is fine.
pub(super) fn remove(dir: &Dir, name: &str) -> Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(Error::io("remove", dir.path().join(name), errno)),
    }
}

/// Removes a file or an empty directory. Returns `false` for a directory that is not empty.
pub(super) fn remove_unless_full(dir: &Dir, name: &str) -> Result<bool> {
    let removed = match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR),
        removed => removed,
    };
    match removed {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(errno) => Err(Error::io("remove", dir.path().join(name), errno)),
    }
}

/// Removes a directory with everything below it, without following links.
pub(super) fn remove_tree(parent: &Dir, name: impl AsRef<OsStr>) -> Result<()> {
    let name = name.as_ref();
    let fail = |errno: Errno| Error::io("remove", parent.path().join(name), errno);
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(fail(errno)),
    }
    if let Some(dir) = parent.open_existing(name)? {
        for (child, _) in dir.entries()? {
            remove_tree(&dir, child.as_os_str())?;
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR).map_err(fail)
}

/// Moves a directory entry inside the store without making it durable.
pub(super) fn rename_derived(from: &Dir, old: &str, to: &Dir, new: &str) -> Result<()> {
    rustix::fs::renameat(from, old, to, new)
        .map_err(|errno| Error::io("rename into place", to.path().join(new), errno))
}

/// Renames an entry of `dir` unless the new name is taken.
pub(super) fn rename_if_free(dir: &Dir, old: &str, new: &str) -> Result<()> {
    rename::rename_to_free(dir, old, dir, new)
        .map_err(|errno| Error::io("rename into place", dir.path().join(new), errno))
}

/// Sets the modification time of a directory to `nanos` nanoseconds after 1970.
pub(super) fn set_modification_time(dir: &Dir, nanos: i64) -> Result<()> {
    let time = Timespec { tv_sec: nanos / 1_000_000_000, tv_nsec: nanos % 1_000_000_000 };
    rustix::fs::futimens(dir, &Timestamps { last_access: time, last_modification: time })
        .map_err(|errno| Error::io("set the time of", dir.path(), errno))
}

/// The access time that marks a directory whose own name is durable, in seconds after 1970.
const NAME_DURABLE: i64 = 1_000_000_000;

/// Marks the directory `name` in `dir` as durably named: the caller has synced `dir` since it was made.
/// Without the mark, which any listing of the directory may undo, `dir` is synced once more.
pub(super) fn mark_name_durable(dir: &Dir, name: &str) {
    let omit = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
    let named = Timespec { tv_sec: NAME_DURABLE, tv_nsec: 0 };
    let times = Timestamps { last_access: named, last_modification: omit };
    let _ = rustix::fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW);
}

/// Returns whether [`mark_name_durable`] marked the directory.
pub(super) fn is_name_durable(dir: &Dir) -> bool {
    rustix::fs::fstat(dir).is_ok_and(|stat| (stat.st_atime, stat.st_atime_nsec) == (NAME_DURABLE, 0))
}

/// Touches `name` in `dir`, which wakes the processes that watch it. A missing one is fine.
pub(super) fn ring(dir: &Dir, name: &str) {
    let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    let _ = rustix::fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW);
}

/// Creates a file that is not needed after its process ends: a doorbell or a worker's registration.
pub(super) fn create_ephemeral(dir: &Dir, name: &str, content: &[u8]) -> Result<OwnedFd> {
    create(dir, name, content).map(OwnedFd::from)
}

/// Writes a file of a person atomically and durably at `path`, with the permissions of the file it replaces.
pub(crate) fn replace_user_file(path: &Path, content: &[u8]) -> Result<()> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let parent = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // A name as long as the limit allows must still have room for our additions.
    let short: String = name.chars().take(40).collect();
    let temporary = parent.join(format!(".{short}.{}.tmp", unique_name()));
    // A dangling link has no permissions to keep, and setuid was given to the old content alone.
    let replaced = std::fs::symlink_metadata(path).ok().filter(std::fs::Metadata::is_file);
    let mode = replaced.map(|meta| meta.permissions().mode() & 0o777);
    let write = || -> Result<()> {
        let fail = |error| Error::io("write", path, error);
        // Opened first: a write that cannot be synced afterwards is better not begun.
        let directory = File::open(parent).map_err(|error| Error::io("open", parent, error))?;
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o666)
            .open(&temporary)
            .map_err(fail)?;
        if let Some(mode) = mode {
            file.set_permissions(std::fs::Permissions::from_mode(mode)).map_err(fail)?;
        }
        file.write_all(content).map_err(fail)?;
        file.sync_all().map_err(|error| Error::io("sync", path, error))?;
        std::fs::rename(&temporary, path).map_err(|error| Error::io("rename into place", path, error))?;
        directory.sync_all().map_err(|error| Error::io("sync", parent, error))
    };
    let result = write();
    if result.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    result
}

/// Opens a directory a second time, for a descriptor that can be locked or kept.
pub(super) fn duplicate(dir: &Dir) -> Result<OwnedFd> {
    // A lock belongs to an open file description, so it needs an open of its own.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(dir.as_fd(), ".", flags, Mode::empty())
        .map_err(|errno| Error::io("open", dir.path(), errno))
}
