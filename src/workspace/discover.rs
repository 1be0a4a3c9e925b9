//! Which workspace a command means.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::config::Config;
use super::paths::{absolute, show};
use crate::error::{Error, Result};

/// Where a configuration lies below its workspace or pool, the first one first.
const PLACES: [&str; 2] = ["handoff/handoff.yaml", ".agent-lanes-queue/handoff.yaml"];

/// What a user said about the workspace; flags and environment are merged by the caller.
#[derive(Clone, Copy, Debug)]
pub struct Locate<'a> {
    /// `--config`, relative to `cwd`.
    pub config: Option<&'a Path>,
    /// `--store`, relative to `cwd`; overrides the configuration's `queue_root`.
    pub store: Option<&'a Path>,
    /// The current directory, absolute.
    pub cwd: &'a Path,
}

/// Finds and reads the configuration: the one named, else the nearest `handoff/handoff.yaml` or
/// `.agent-lanes-queue/handoff.yaml` here or above, else the store alone.
///
/// # Errors
/// `Config` when there is none of these, or when the nearest file above belongs to a stranger;
/// otherwise as [`Config::load`].
pub fn locate(wish: &Locate<'_>) -> Result<Config> {
    let store = wish.store.map(|store| absolute(wish.cwd, store)).transpose()?;
    if let Some(config) = wish.config {
        return Config::load(&absolute(wish.cwd, config)?, store.as_deref());
    }
    if let Some(found) = nearest(wish.cwd)? {
        return Config::load(&found, store.as_deref());
    }
    match store {
        Some(store) => Config::store_only(&store, wish.cwd),
        None => Err(Error::config(format!("no workspace found in {} or above it", show(wish.cwd)))
            .with_hint("make one with `lanes init`, or name one with --config or --store")),
    }
}

/// The configuration file closest to `cwd`.
fn nearest(cwd: &Path) -> Result<Option<PathBuf>> {
    for directory in cwd.ancestors() {
        for place in PLACES {
            let candidate = directory.join(place);
            // What cannot be looked at is as good as not there: the search goes on above.
            if let Ok(metadata) = std::fs::metadata(&candidate) {
                if directory != cwd {
                    check_owner(cwd, &candidate, &metadata)?;
                }
                return Ok(Some(candidate));
            }
        }
    }
    Ok(None)
}

/// Refuses a configuration found above `cwd` that a stranger wrote.
///
/// A directory such as /tmp is above everybody's work; whoever puts a `handoff/` there would
/// otherwise choose where tasks go and which programs a dispatcher starts.
fn check_owner(cwd: &Path, candidate: &Path, found: &Metadata) -> Result<()> {
    let us = rustix::process::geteuid().as_raw();
    let here = std::fs::metadata(cwd).map(|metadata| metadata.uid()).ok();
    if is_trusted(found.uid(), us, here) {
        return Ok(());
    }
    Err(Error::config(format!("found {}, which belongs to another user", show(candidate)))
        .with_hint("if you trust it, name it with --config"))
}

/// Whether `owner` is us, the administrator, or whoever owns the directory we work in (as in a
/// container where root works on a user's files).
fn is_trusted(owner: u32, us: u32, here: Option<u32>) -> bool {
    owner == us || owner == 0 || here == Some(owner)
}
