//! Determines whether a file belongs to a store, by whatever name or link it is reached.
//!
//! A task may not name them: a store contains the claim tokens of other tasks, and their prompts and
//! responses.

use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};

use super::layout::TASKS;
use crate::model::TaskId;

/// How deeply directories are searched for a second name of a file.
const MAX_DEPTH: usize = 16;

/// Device and inode of a file or directory, whatever its name.
type DeviceInode = (u64, u64);

fn device_inode(metadata: &Metadata) -> DeviceInode {
    (metadata.dev(), metadata.ino())
}

/// Returns whether `path`, absolute and without links, is in the store at `root`: below its directory or below
/// another mount of it. Neither the path nor the store need exist.
///
/// # Errors
/// When the directory of the store cannot be read.
pub(crate) fn lies_in_store(root: &Path, path: &Path) -> io::Result<bool> {
    if path.starts_with(root) {
        return Ok(true);
    }
    let Some(store) = device_inode_at(root)? else { return Ok(false) };
    let tasks = device_inode_at(&root.join(TASKS))?;
    for above in path.ancestors() {
        let Ok(metadata) = std::fs::symlink_metadata(above) else { continue };
        if !metadata.is_dir() {
            continue;
        }
        let found = Some(device_inode(&metadata));
        if found == Some(store) || found == tasks {
            return Ok(true);
        }
        let id = above.file_name().and_then(|name| name.to_str()).filter(|name| TaskId::is_valid(name));
        if let Some(id) = id
            && device_inode_at(&root.join(TASKS).join(id))? == found
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns whether a file with several names (hard links) has one of them in the store at `root`. This searches
/// the whole store.
///
/// # Errors
/// When the store cannot be searched.
pub(crate) fn is_linked_into_store(root: &Path, file: &Metadata) -> io::Result<bool> {
    if file.nlink() < 2 || device_inode_at(root)?.is_none_or(|(device, _)| device != file.dev()) {
        return Ok(false);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(root, flags, Mode::empty())?;
    has_entry(&dir, file.ino(), MAX_DEPTH)
}

fn has_entry(dir: &rustix::fd::OwnedFd, inode: u64, depth: usize) -> io::Result<bool> {
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if entry.ino() == inode {
            return Ok(true);
        }
        if depth == 0 || name == b"." || name == b".." || entry.file_type() != FileType::Directory {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = std::ffi::OsStr::from_bytes(name);
        match rustix::fs::openat(dir, name, flags, Mode::empty()) {
            Ok(below) if has_entry(&below, inode, depth - 1)? => return Ok(true),
            // Removed meanwhile.
            Ok(_) | Err(rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(false)
}

fn device_inode_at(path: &Path) -> io::Result<Option<DeviceInode>> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(device_inode(&metadata))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_store_are_known_by_path_and_by_second_name() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        let root = top.join("state");
        let task = root.join(TASKS).join("20261121T070000000000Z-l-f0ba2131f057-d64cf2");
        std::fs::create_dir_all(task.join("attempts/1")).unwrap();
        std::fs::write(task.join("attempts/1/prompt.md"), "x").unwrap();
        std::fs::write(top.join("plain"), "x").unwrap();
        std::fs::hard_link(top.join("plain"), top.join("twin")).unwrap();
        std::fs::hard_link(task.join("attempts/1/prompt.md"), top.join("second")).unwrap();
        assert!(lies_in_store(&root, &task.join("task.json")).unwrap(), "one that is not there");
        assert!(lies_in_store(&root, &root).unwrap());
        for other in ["plain", "twin", "second", "state2", "none/deep"] {
            assert!(!lies_in_store(&root, &top.join(other)).unwrap(), "{other}");
        }
        let is_linked = |root: &Path, name: &str| {
            is_linked_into_store(root, &std::fs::metadata(top.join(name)).unwrap()).unwrap()
        };
        assert!(is_linked(&root, "second"));
        for (root, other) in [(&root, "plain"), (&root, "twin"), (&top.join("none"), "second")] {
            assert!(!is_linked(root, other), "{other}");
        }
        // Like a bind mount: another path to the same directory.
        std::os::unix::fs::symlink(&root, top.join("other")).unwrap();
        assert!(lies_in_store(&top.join("other"), &task.join("x")).unwrap());
    }
}
