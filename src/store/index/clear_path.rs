//! Making room for a file of the index where something else stands.

use std::ffi::OsStr;

use rustix::io::Errno;

use crate::error::{ErrorKind, Result};
use crate::store::clock::Clock;
use crate::store::layout::{Dir, Layout};
use crate::store::{atomic, fsck};

/// Removes what has the name of a part of the index. A directory that holds something was put there by
/// somebody, and is moved to the quarantine.
pub(in crate::store) fn clear(layout: &Layout, dir: &Dir, name: &str) -> Result<()> {
    if atomic::remove_unless_full(dir, name)? {
        return Ok(());
    }
    let time = Clock::system().now().wall;
    match fsck::set_aside_in(&layout.root, &mut None, time, dir, OsStr::new(name)) {
        Ok(_) => Ok(()),
        // The queue must not stand still because there is no room for a quarantine.
        Err(_) => atomic::remove_tree(dir, name),
    }
}

/// Puts a derived file in its place, which is cleared if something else than a file stands there.
pub(in crate::store) fn put(
    layout: &Layout,
    dir: &Dir,
    name: &str,
    mut write: impl FnMut() -> Result<()>,
) -> Result<()> {
    match write() {
        Err(error) if error.raw_os_error() == Some(Errno::ISDIR.raw_os_error()) => {
            clear(layout, dir, name)?;
            write()
        }
        written => written,
    }
}

/// Opens a directory of the index, made if it is not there or something else stands in its place.
pub(in crate::store) fn directory(layout: &Layout, indexes: &Dir, name: &str) -> Result<Dir> {
    match indexes.open_or_make_derived(name) {
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            clear(layout, indexes, name)?;
            indexes.open_or_make_derived(name)
        }
        opened => opened,
    }
}
