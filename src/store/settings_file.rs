//! Files at the root of a store that choose what dispatchers run: who may have written them, and which version they
//! have.

use std::path::Path;

use rustix::fs::AtFlags;

use super::FileStore;
use super::bounded_file::FileContent;
use crate::error::{Error, Result, printable};

/// Refuses a file that another user may have written, since it chooses what runs, and one that is not UTF-8.
pub(super) fn admit_trusted(store: &FileStore, content: &FileContent, name: &str) -> Result<()> {
    let path = store.layout.root.path().join(name);
    let root = rustix::fs::fstat(&store.layout.root)
        .map_err(|errno| Error::io("access", store.layout.root.path(), errno))?;
    let owners = [rustix::process::geteuid().as_raw(), 0, root.st_uid];
    if !owners.contains(&content.stat.st_uid) || content.stat.st_mode & 0o002 != 0 {
        let path = printable(&path.to_string_lossy());
        return Err(Error::corrupt(format!("{path} can be changed by another user"))
            .with_hint("inspect it, then take ownership of it with mode 0600, or remove it"));
    }
    text_of(&path, &content.bytes).map(drop)
}

/// Returns the content of the file at `path` as text.
///
/// # Errors
/// `Corrupt` when it is not UTF-8.
pub(super) fn text_of<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str> {
    let path = || printable(&path.to_string_lossy());
    std::str::from_utf8(bytes).map_err(|_| Error::corrupt(format!("{} is not UTF-8 text", path())))
}

/// Identifies a version of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileVersion {
    device: u64,
    inode: u64,
    size: i64,
    changed: (i64, u64),
}

impl FileVersion {
    /// Returns the present version of the file at `path`; `None` when there is none.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        rustix::fs::stat(path).ok().map(|stat| Self::of(&stat))
    }

    /// Returns the present version of a file at the root of a store; `None` when there is none.
    pub(super) fn in_root(store: &FileStore, name: &str) -> Option<Self> {
        let stat = rustix::fs::statat(&store.layout.root, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(Self::of(&stat))
    }

    pub(super) fn of(stat: &rustix::fs::Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size,
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}
