//! The quarantine: repair moves files there that the store cannot use, and never deletes them.

use std::ffi::OsStr;
use std::path::PathBuf;

use super::atomic;
use super::dir::Dir;
use super::layout::QUARANTINE;
use crate::error::Result;
use crate::model::Time;

/// Moves `name` out of `from`, a directory of the store in `root`, to the same place below the quarantine of
/// this run, which is named after `time` the first time. Returns the path of that quarantine.
pub(super) fn move_to_quarantine(
    root: &Dir,
    run: &mut Option<String>,
    time: Time,
    from: &Dir,
    name: &OsStr,
) -> Result<PathBuf> {
    let (path, dir) = directory_for(root, run, time, from)?;
    atomic::set_aside(from, name, &dir)?;
    Ok(path)
}

pub(super) fn directory_for(
    root: &Dir,
    run: &mut Option<String>,
    time: Time,
    from: &Dir,
) -> Result<(PathBuf, Dir)> {
    let all = root.open_or_make(QUARANTINE)?;
    let name = match run {
        Some(name) => name.clone(),
        None => {
            let time = time.compact();
            let mut candidate = time.clone();
            let mut n = 1;
            while all.open_existing(&candidate)?.is_some() {
                n += 1;
                candidate = format!("{time}-{n}");
            }
            run.insert(candidate).clone()
        }
    };
    let mut dir = all.open_or_make(&name)?;
    let path = dir.path().to_path_buf();
    for part in from.path().strip_prefix(root.path()).unwrap_or(from.path()) {
        dir = dir.open_or_make(&part.to_string_lossy())?;
    }
    Ok((path, dir))
}
