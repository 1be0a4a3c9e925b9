//! Dispatch routes that programs add, in `routes.json`.
//!
//! The configuration file belongs to a person, with its comments and its order. What programs say
//! about routes is kept beside the tasks instead, and replaces what the file says about the same lane.

use std::path::{Path, PathBuf};

use rustix::fs::AtFlags;
use serde_json::Value;

use super::layout::ROUTES;
use super::{Store, atomic, reader};
use crate::error::{Error, Result, printable};
use crate::model::json::{self, Object};
use crate::model::task::object;

/// The largest routes.json read, in bytes.
const MAX_ROUTES: u64 = 1024 * 1024;
/// The one key of the file.
const KEY: &str = "routes";

/// What identifies a version of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: i64,
    changed: (i64, u64),
}

impl Stamp {
    /// The present version of the file at `path`; nothing when there is none.
    pub fn at(path: &Path) -> Option<Self> {
        rustix::fs::stat(path).ok().map(|stat| Self::of(&stat))
    }

    fn of(stat: &rustix::fs::Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size,
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

impl Store {
    /// The path of routes.json and its text, if there is one.
    ///
    /// # Errors
    /// `Corrupt` when it is no regular file, too large, no text, or one that another user may have written, since
    /// it chooses what runs; `Io`.
    pub fn routes_text(&self) -> Result<Option<(PathBuf, String)>> {
        let path = self.routes_path();
        let Some(content) = reader::file(&self.layout.root, ROUTES, MAX_ROUTES)? else {
            return Ok(None);
        };
        let shown = || printable(&path.to_string_lossy());
        let store = rustix::fs::fstat(&self.layout.root)
            .map_err(|errno| Error::io("look at", self.layout.root.path(), errno))?;
        let owners = [rustix::process::geteuid().as_raw(), 0, store.st_uid];
        if !owners.contains(&content.stat.st_uid) || content.stat.st_mode & 0o002 != 0 {
            return Err(Error::corrupt(format!("{} can be changed by another user", shown()))
                .with_hint("look at it, then make it yours with mode 0600, or remove it"));
        }
        match String::from_utf8(content.bytes) {
            Ok(text) => Ok(Some((path, text))),
            Err(_) => Err(Error::corrupt(format!("{} is not UTF-8 text", shown()))),
        }
    }

    /// Where routes.json is, or would be.
    pub fn routes_path(&self) -> PathBuf {
        self.layout.root.path().join(ROUTES)
    }

    /// The routes of routes.json: lane → route, or null for a lane whose route in the configuration
    /// file does not count.
    ///
    /// # Errors
    /// `Corrupt` when the file cannot be read.
    pub fn routes(&self) -> Result<Object> {
        let Some((path, text)) = self.routes_text()? else {
            return Ok(Object::new());
        };
        let refuse = |why: &str| {
            Error::corrupt(format!("{} cannot be read: {why}", printable(&path.to_string_lossy())))
        };
        let mut all = json::parse_object(text.as_bytes()).map_err(|why| refuse(&why))?;
        match all.remove(KEY) {
            None | Some(Value::Null) => Ok(Object::new()),
            Some(Value::Object(routes)) => Ok(routes),
            Some(_) => Err(refuse("'routes' must be an object")),
        }
    }

    /// Changes the routes of routes.json; dispatchers at work follow.
    ///
    /// # Errors
    /// Whatever `change` says, with nothing written; `Corrupt`, `Io`, `Locked`.
    pub fn change_routes(&self, change: impl FnOnce(&mut Object) -> Result<()>) -> Result<()> {
        self.check_writable()?;
        let tmp = self.layout.tmp()?;
        // Rare, and a person waits for it: here the sync may happen under the lock.
        let lock = self.lock_store()?;
        let mut routes = self.routes()?;
        change(&mut routes)?;
        let lanes: Vec<String> = routes.keys().cloned().collect();
        let text = json::to_text(&object([(KEY, routes.into())]));
        atomic::replace_durably(&tmp, &self.layout.root, ROUTES, text.as_bytes())?;
        drop(lock);
        self.nudge(&lanes);
        Ok(())
    }

    /// The present version of routes.json; nothing when there is none.
    pub fn routes_stamp(&self) -> Option<Stamp> {
        let stat = rustix::fs::statat(&self.layout.root, ROUTES, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(Stamp::of(&stat))
    }
}
