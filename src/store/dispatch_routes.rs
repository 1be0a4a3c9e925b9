//! Dispatch routes that programs add, in `routes.json`.
//!
//! The configuration file belongs to a person, with its comments and its order. Routes that programs set are
//! kept in the store instead, and replace those of the file for the same lane.

use std::path::{Path, PathBuf};

use rustix::fs::AtFlags;
use serde_json::Value;

use super::Store;
use super::bounded_file::FileContent;
use super::json_file::{DocumentChange, JsonFile, cannot_be_read};
use super::layout;
use crate::error::{Error, Result, printable};
use crate::model::LaneName;
use crate::model::json::Object;
use crate::model::task::object;

/// The routes by lane; null for a lane whose route in the configuration file does not count.
const ROUTES: JsonFile<Object> = JsonFile {
    name: layout::ROUTES,
    max_bytes: 1024 * 1024,
    admit: admit_trusted,
    decode: |mut file| match file.remove(KEY) {
        None | Some(Value::Null) => Ok(Object::new()),
        Some(Value::Object(routes)) => Ok(routes),
        Some(_) => Err("'routes' must be an object".to_string()),
    },
    encode: |routes| object([(KEY, routes.into())]),
    unreadable: cannot_be_read,
};

/// The one key of the file.
const KEY: &str = "routes";

/// Refuses a file that another user may have written, since it chooses what runs, and one that is not UTF-8.
fn admit_trusted(store: &Store, content: &FileContent) -> Result<()> {
    let path = store.routes_path();
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

fn text_of<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str> {
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
    /// Reads routes.json; returns its path and its text if there is one.
    ///
    /// # Errors
    /// `Corrupt` when it is not a regular file, too large, not UTF-8, or one that another user may have
    /// written, since it chooses what runs; `Io`.
    pub fn routes_text(&self) -> Result<Option<(PathBuf, String)>> {
        let Some(bytes) = ROUTES.bytes(self)? else { return Ok(None) };
        let path = self.routes_path();
        let text = text_of(&path, &bytes)?.to_string();
        Ok(Some((path, text)))
    }

    /// Returns the path of routes.json, whether or not it exists.
    pub fn routes_path(&self) -> PathBuf {
        ROUTES.path(self)
    }

    /// Returns the routes of routes.json: lane → route, or null for a lane whose route in the configuration
    /// file does not count.
    ///
    /// # Errors
    /// `Corrupt` when the file cannot be read; `Io`.
    pub(crate) fn routes(&self) -> Result<Object> {
        ROUTES.read(self)
    }

    /// Changes the routes of routes.json and wakes the dispatchers, which load it again.
    ///
    /// # Errors
    /// The error of `change`, `Corrupt`, `NewerFormat`, `Locked`, `Io`; each with nothing written.
    pub(crate) fn change_routes(&self, change: impl FnOnce(&mut Object) -> Result<()>) -> Result<()> {
        let lanes: Vec<LaneName> = ROUTES.change(self, |routes| {
            change(routes)?;
            Ok(DocumentChange::Write(routes.keys().map(LaneName::stored).collect()))
        })?;
        self.wake_waiters(&lanes);
        Ok(())
    }

    /// Returns the present version of routes.json; `None` when there is none.
    pub(crate) fn routes_version(&self) -> Option<FileVersion> {
        let stat = rustix::fs::statat(&self.layout.root, layout::ROUTES, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(FileVersion::of(&stat))
    }
}
