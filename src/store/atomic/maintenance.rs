//! Moving aside, discarding and shortening files, for fsck and gc.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Stat};
use rustix::io::Errno;

use super::{StagedEntry, create, make_root, open_for_update, sync_dir, sync_file, sync_path, unique_name};
use crate::error::{Error, Result};
use crate::os::rename;
use crate::store::dir::Dir;

/// Moves a directory entry durably into `to`, under a name that is free there.
pub(in crate::store) fn set_aside(from: &Dir, name: &OsStr, to: &Dir) -> Result<()> {
    let mut free = name.to_os_string();
    let mut n = 1;
    while rustix::fs::statat(to, &free, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        n += 1;
        free = name.to_os_string();
        free.push(format!(".{n}"));
    }
    let fail = |errno| Error::io("move aside", from.path().join(name), errno);
    // Linked in the new place before it leaves the old one: a crash leaves it in both rather than in none.
    match rustix::fs::linkat(from, name, to, &free, AtFlags::empty()) {
        Ok(()) => {
            sync_dir(to)?;
            rustix::fs::unlinkat(from, name, AtFlags::empty()).map_err(fail)?;
        }
        // A directory can have only one name, and some file systems have no hard links.
        Err(Errno::PERM | Errno::MLINK | Errno::NOTSUP | Errno::NOSYS) => {
            rustix::fs::renameat(from, name, to, &free).map_err(fail)?;
            sync_dir(to)?;
        }
        Err(errno) => return Err(fail(errno)),
    }
    sync_dir(from)
}

/// Removes a directory entry from sight by moving it to `tmp`, from where it can be deleted; returns its name
/// there. This needs no free space on the disk.
pub(in crate::store) fn discard(from: &Dir, name: &str, tmp: &Dir) -> Result<String> {
    let gone = unique_name();
    rustix::fs::renameat(from, name, tmp, &gone)
        .map_err(|errno| Error::io("remove", from.path().join(name), errno))?;
    Ok(gone)
}

/// Replaces `name` in `dir` by its content after the first `skip` bytes. `lock` is called when most of it is
/// copied; what was appended meanwhile is copied under the lock that it returns.
pub(in crate::store) fn drop_head<L>(
    tmp: &Dir,
    dir: &Dir,
    name: &str,
    skip: u64,
    lock: impl FnOnce() -> Result<L>,
) -> Result<()> {
    let path = dir.path().join(name);
    let staged = StagedEntry { tmp, name: unique_name(), published: false };
    let mut new = create(tmp, &staged.name, b"")?;
    let mut old = open_for_update(dir, name)?;
    let fail = |error| Error::io("write", &path, error);
    old.seek(SeekFrom::Start(skip)).map_err(fail)?;
    std::io::copy(&mut old, &mut new).map_err(fail)?;
    sync_file(&new, &path)?;
    let _lock = lock()?;
    let stat = |found: rustix::io::Result<Stat>| found.map(|stat| (stat.st_dev, stat.st_ino));
    if stat(rustix::fs::fstat(&old)) != stat(rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)) {
        // Another process has just replaced it.
        return Ok(());
    }
    std::io::copy(&mut old, &mut new).map_err(fail)?;
    staged.publish(dir, name)
}

/// A file outside the store that gets its name only when all of it is on the disk.
pub(in crate::store) struct Archive {
    directory: PathBuf,
    temporary: PathBuf,
    file: File,
}

impl Archive {
    /// Creates a file with mode 0600 in `directory`, which is made if it does not exist.
    pub(in crate::store) fn create(directory: &Path) -> Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        make_root(directory)?;
        let temporary = directory.join(format!(".lanes-{}.tmp", unique_name()));
        let file = std::fs::OpenOptions::new().append(true).create_new(true).mode(0o600).open(&temporary);
        let file = file.map_err(|error| Error::io("create", &temporary, error))?;
        Ok(Self { directory: directory.to_path_buf(), temporary, file })
    }

    pub(in crate::store) fn write(&mut self, line: &str) -> Result<()> {
        let written = self.file.write_all(line.as_bytes());
        written.map_err(|error| Error::io("write the archive", &self.temporary, error))
    }

    /// Makes the file durable under the first of `names` that is free; returns its path.
    pub(in crate::store) fn publish(self, names: impl Iterator<Item = String>) -> Result<PathBuf> {
        sync_file(&self.file, &self.temporary)?;
        for name in names {
            let path = self.directory.join(name);
            match rename_to_free(&self.temporary, &path) {
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(Error::io("rename into place", &path, errno)),
                Ok(()) => {
                    let synced = sync_path(&self.directory);
                    if synced.is_err() {
                        let _ = std::fs::remove_file(&path);
                    }
                    return synced.map(|()| path);
                }
            }
        }
        Err(Error::io("create", &self.directory, Errno::EXIST))
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        // It no longer exists once it is published.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

fn rename_to_free(from: &Path, to: &Path) -> rustix::io::Result<()> {
    match rename::rename_to_free(CWD, from, CWD, to) {
        // Some file systems have no such rename.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) if std::fs::symlink_metadata(to).is_err() => {
            rustix::fs::rename(from, to)
        }
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Err(Errno::EXIST),
        renamed => renamed,
    }
}
