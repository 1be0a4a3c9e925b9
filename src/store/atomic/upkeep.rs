//! Moving aside, removing and shortening, for the care of a store.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::Path;

use rustix::fs::{AtFlags, Stat};
use rustix::io::Errno;

use super::{Staged, create, make_root, open_for_update, sync_dir, sync_file, sync_path, unique_name};
use crate::error::{Error, Result};
use crate::store::layout::Dir;

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
    // Safe in the new place before it leaves the old one: better in both than in none.
    match rustix::fs::linkat(from, name, to, &free, AtFlags::empty()) {
        Ok(()) => {
            sync_dir(to)?;
            rustix::fs::unlinkat(from, name, AtFlags::empty()).map_err(fail)?;
        }
        // A directory has one name only, and some file systems know no second ones.
        Err(Errno::PERM | Errno::MLINK | Errno::NOTSUP | Errno::NOSYS) => {
            rustix::fs::renameat(from, name, to, &free).map_err(fail)?;
            sync_dir(to)?;
        }
        Err(errno) => return Err(fail(errno)),
    }
    sync_dir(from)
}

/// Takes a directory entry out of sight by moving it to `tmp`, where it is to be removed; returns
/// its name there. Needs no room on the disk.
pub(in crate::store) fn discard(from: &Dir, name: &str, tmp: &Dir) -> Result<String> {
    let gone = unique_name();
    rustix::fs::renameat(from, name, tmp, &gone)
        .map_err(|errno| Error::io("remove", from.path().join(name), errno))?;
    Ok(gone)
}

/// Replaces `name` in `dir` by what follows its first `skip` bytes. `lock` is called after most of
/// it is copied; what was appended until then is copied under the lock that it returns.
pub(in crate::store) fn drop_head<L>(
    tmp: &Dir,
    dir: &Dir,
    name: &str,
    skip: u64,
    lock: impl FnOnce() -> Result<L>,
) -> Result<()> {
    let path = dir.path().join(name);
    let staged = Staged { tmp, name: unique_name(), published: false };
    let mut new = create(tmp, &staged.name, b"")?;
    let mut old = open_for_update(dir, name)?;
    let fail = |error| Error::io("write", &path, error);
    old.seek(SeekFrom::Start(skip)).map_err(fail)?;
    std::io::copy(&mut old, &mut new).map_err(fail)?;
    sync_file(&new, &path)?;
    let _lock = lock()?;
    let stat = |found: rustix::io::Result<Stat>| found.map(|stat| (stat.st_dev, stat.st_ino));
    if stat(rustix::fs::fstat(&old)) != stat(rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)) {
        // Somebody else has just done it.
        return Ok(());
    }
    std::io::copy(&mut old, &mut new).map_err(fail)?;
    staged.publish(dir, name)
}

/// A file outside the store to which lines are appended, made new and private.
pub(in crate::store) fn create_archive(path: &Path) -> Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let parent = path.parent().unwrap_or(Path::new("/"));
    make_root(parent)?;
    let fail = |error| Error::io("create", path, error);
    let file = std::fs::OpenOptions::new().append(true).create_new(true).mode(0o600).open(path);
    let file = file.map_err(fail)?;
    sync_path(parent)?;
    Ok(file)
}
