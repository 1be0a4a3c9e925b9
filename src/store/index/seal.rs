//! The seal of an index directory: a fixed modification time, which shows that only `lanes` has changed its
//! names.

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::store::atomic;
use crate::store::dir::Dir;

/// The modification time of a sealed directory, in seconds after 1970.
const SEAL: i64 = 1_000_000_000;

/// Seals a directory of the index. The caller holds the store lock and has found the index complete.
pub(in crate::store) fn seal(dir: &Dir) -> Result<()> {
    atomic::set_modification_time(dir, SEAL * 1_000_000_000)
}

/// Whether no one else has changed the names in a directory of the index.
pub(in crate::store) fn is_sealed(dir: &Dir) -> Result<bool> {
    let stat = rustix::fs::fstat(dir).map_err(|errno| Error::io("read", dir.path(), errno))?;
    Ok((stat.st_mtime, stat.st_mtime_nsec) == (SEAL, 0))
}

/// Returns whether the directory `name` in `dir` is sealed; `false` when there is none.
pub(super) fn is_sealed_at(dir: &Dir, name: &str) -> Result<bool> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory
            && (stat.st_mtime, stat.st_mtime_nsec) == (SEAL, 0)),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(Error::io("read", dir.path().join(name), errno)),
    }
}
