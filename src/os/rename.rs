//! The two renames that POSIX does not have. Only `store/atomic.rs` and the modules below it rename.
//!
//! A file system without them answers `INVAL`, `NOSYS` or `NOTSUP`; what to do then is for the caller to decide.

#![expect(clippy::disallowed_methods, reason = "these are the renames that store/atomic.rs uses")]

use std::os::fd::AsFd;

use rustix::fs::RenameFlags;
use rustix::path::Arg;

/// Exchanges two names, both of which must exist, in one step.
pub(crate) fn exchange(
    dir: impl AsFd,
    name: impl Arg,
    other_dir: impl AsFd,
    other: impl Arg,
) -> rustix::io::Result<()> {
    rustix::fs::renameat_with(dir, name, other_dir, other, RenameFlags::EXCHANGE)
}

/// Renames, unless the new name is taken (`EXIST`), in one step.
pub(crate) fn rename_to_free(
    dir: impl AsFd,
    old: impl Arg,
    new_dir: impl AsFd,
    new: impl Arg,
) -> rustix::io::Result<()> {
    rustix::fs::renameat_with(dir, old, new_dir, new, RenameFlags::NOREPLACE)
}
