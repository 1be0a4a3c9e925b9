//! A text file that people, editors and scripts change at the same time as we do.
//!
//! A change is made under the lock `FILE.lock`, which a script can take, too, and is written only if the file is still what
//! the change was made from. Editors and scripts that take no lock lose nothing either: see `atomic::replace_if_unchanged`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, Stat};

use super::atomic;
use super::bounded_file::{self, FileContent};
use super::dir::Dir;
use super::lock::CompanionLock;
use super::settings_file::FileVersion;
use crate::error::{Error, Result, printable};

/// The largest file that is read and written, in bytes.
const MAX_FILE_BYTES: usize = 8 * 1024 * 1024;

/// How long to wait for another process that holds the lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// The wait before the second try to change a file; each further one is longer by as much.
const RETRY_WAIT: Duration = Duration::from_millis(10);

/// How often a change is made anew because another program has changed the file meanwhile.
const MAX_TRIES: u32 = 10;

/// A text file that several programs change.
#[derive(Debug)]
pub(crate) struct SharedFile {
    path: PathBuf,
}

/// The text of a shared file, as it was when it was read.
#[derive(Clone, Debug)]
pub(crate) struct SharedText {
    /// The text.
    pub text: String,
    /// Which version of the file has it.
    pub version: FileVersion,
}

/// What a change of a shared file has come to.
#[derive(Debug)]
pub(crate) struct SharedChange<T> {
    /// The result of the change.
    pub result: T,
    /// The version that it was made from.
    pub read: FileVersion,
    /// The version that it has written; `None` if it has written nothing.
    pub written: Option<FileVersion>,
}

impl SharedFile {
    /// Stands for the file at `path`, an absolute path. A link is followed whenever the file is used.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Returns the path by which the file is known.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of the file itself, with links resolved; `None` when it does not exist.
    pub(crate) fn target(&self) -> Option<PathBuf> {
        self.path.canonicalize().ok()
    }

    /// Returns the present version of the file; `None` when it does not exist.
    pub(crate) fn version(&self) -> Option<FileVersion> {
        FileVersion::at(&self.path)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// `NotFound` when it does not exist; `Config` when it is not a regular file, not UTF-8 or too large; `Io`.
    pub(crate) fn read(&self) -> Result<SharedText> {
        let (dir, name) = self.open()?;
        let content = self.content(&dir, &name)?;
        Ok(SharedText { version: FileVersion::of(&content.stat), text: self.decode(content.bytes)? })
    }

    /// Changes the file: `change` gets its text and returns the new one, or `None` to keep it, with a result. It is called
    /// again when another program has changed the file meanwhile; `None` is returned when that happens time and again.
    ///
    /// # Errors
    /// The error of `change`, with nothing written; as [`read`](Self::read); `Refused` when the file is read-only or would
    /// be too large; `Locked`; `Io`.
    pub(crate) fn change<T, E: From<Error>>(
        &self,
        mut change: impl FnMut(&str) -> std::result::Result<(Option<String>, T), E>,
    ) -> std::result::Result<Option<SharedChange<T>>, E> {
        for tries in 0..MAX_TRIES {
            // Whoever is writing the file is given time to finish.
            std::thread::sleep(RETRY_WAIT * tries);
            let (dir, name) = self.open()?;
            let _lock = CompanionLock::acquire(&dir, &format!("{name}.lock"), LOCK_TIMEOUT)?;
            let content = self.content(&dir, &name)?;
            let text = self.decode(content.bytes.clone())?;
            let read = FileVersion::of(&content.stat);
            let (new, result) = change(&text)?;
            let Some(new) = new.filter(|new| *new != text) else {
                return Ok(Some(SharedChange { result, read, written: None }));
            };
            self.check_writable(&new, &content.stat)?;
            if let Some(stat) = atomic::replace_if_unchanged(&dir, &name, new.as_bytes(), &content)? {
                let written = Some(version_of_written(&dir, &name, &stat));
                return Ok(Some(SharedChange { result, read, written }));
            }
        }
        Ok(None)
    }

    /// Opens the directory of the file itself, and returns it with the name of the file there.
    fn open(&self) -> Result<(Dir, String)> {
        let target = self.path.canonicalize().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound if self.path.is_symlink() => {
                Error::not_found(format!("{} is a link that leads nowhere", self.shown()))
            }
            std::io::ErrorKind::NotFound => Error::not_found(format!("{} does not exist", self.shown())),
            _ => Error::io("open", &self.path, error),
        })?;
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(Error::config(format!("{} is not a regular file", self.shown())));
        };
        let name = name
            .to_str()
            .ok_or_else(|| Error::config(format!("{}: the name of the file is not UTF-8", self.shown())))?;
        Ok((Dir::open_root(parent)?, name.to_string()))
    }

    fn content(&self, dir: &Dir, name: &str) -> Result<FileContent> {
        let unusable = |error: Error| match error.raw_os_error() {
            Some(_) => error,
            None => Error::config(error.message()),
        };
        bounded_file::read(dir, name, MAX_FILE_BYTES as u64)
            .map_err(unusable)?
            .ok_or_else(|| Error::not_found(format!("{} does not exist", self.shown())))
    }

    fn decode(&self, bytes: Vec<u8>) -> Result<String> {
        String::from_utf8(bytes).map_err(|error| {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
            let start = good.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let column = String::from_utf8_lossy(&good[start..]).chars().count() + 1;
            Error::config(format!("{} is not UTF-8 text at line {line} column {column}", self.shown()))
        })
    }

    fn check_writable(&self, new: &str, stat: &Stat) -> Result<()> {
        if stat.st_mode & 0o222 == 0 {
            return Err(Error::refused(format!("{} is read-only", self.shown()))
                .with_hint("make it writable with chmod u+w"));
        }
        if new.len() > MAX_FILE_BYTES {
            let most = MAX_FILE_BYTES / (1024 * 1024);
            return Err(Error::refused(format!("{} would become larger than {most} MiB", self.shown())));
        }
        Ok(())
    }

    fn shown(&self) -> String {
        printable(&self.path.to_string_lossy())
    }
}

/// Returns the version of the file that has just been written. If another program has changed it since, that is not it.
fn version_of_written(dir: &Dir, name: &str, written: &Stat) -> FileVersion {
    let now = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
    let content = |stat: &Stat| (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
    // A rename changes a time of the file, its content does not.
    FileVersion::of(now.as_ref().ok().filter(|now| content(now) == content(written)).unwrap_or(written))
}
