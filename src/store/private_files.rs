//! Small private files of a user outside any queue: written atomically and durably, readable only by the
//! owner.

use std::path::{Path, PathBuf};

use super::dir::Dir;
use super::settings_file::FileVersion;
use super::{atomic, bounded_file};
use crate::error::{Error, Result, printable};

/// The largest such file, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A directory of small private files, which need not exist yet.
#[derive(Clone, Debug)]
pub(crate) struct PrivateFiles {
    directory: PathBuf,
}

impl PrivateFiles {
    /// Returns the files in `directory`, an absolute path.
    pub(crate) fn at(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Returns the text of a file; `None` when there is none.
    ///
    /// # Errors
    /// `Corrupt` when it is not a regular file, not UTF-8, or another user may have written it; `Io`.
    pub(crate) fn read(&self, name: &str) -> Result<Option<String>> {
        let Some(dir) = self.open()? else { return Ok(None) };
        let Some(content) = bounded_file::read(&dir, name, MAX_FILE_BYTES)? else { return Ok(None) };
        let path = || printable(&self.directory.join(name).to_string_lossy());
        let is_ours = content.stat.st_uid == rustix::process::geteuid().as_raw();
        if !is_ours || content.stat.st_mode & 0o022 != 0 {
            return Err(
                Error::corrupt(format!("{} can be changed by another user", path())).with_hint("remove it")
            );
        }
        match String::from_utf8(content.bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(Error::corrupt(format!("{} is not UTF-8 text", path())).with_hint("remove it")),
        }
    }

    /// Writes a file, and makes the directory if it is missing.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        let dir = match self.open()? {
            Some(dir) => dir,
            None => {
                atomic::make_root(&self.directory)?;
                Dir::open_root(&self.directory)?
            }
        };
        atomic::replace_durably(&dir, &dir, name, text.as_bytes())
    }

    /// Removes a file; returns whether there was one.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn remove(&self, name: &str) -> Result<bool> {
        let Some(dir) = self.open()? else { return Ok(false) };
        if bounded_file::read(&dir, name, MAX_FILE_BYTES)?.is_none() {
            return Ok(false);
        }
        atomic::remove(&dir, name)?;
        atomic::sync_dir(&dir)?;
        Ok(true)
    }

    /// Returns the names of all files, sorted.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let Some(dir) = self.open()? else { return Ok(Vec::new()) };
        let mut names = dir.names()?;
        names.sort_unstable();
        Ok(names)
    }

    /// Returns the present version of a file; `None` when there is none.
    pub(crate) fn version_of(&self, name: &str) -> Option<FileVersion> {
        FileVersion::at(&self.directory.join(name))
    }

    /// Returns the path of a file, for messages.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn open(&self) -> Result<Option<Dir>> {
        match Dir::open_root(&self.directory) {
            Ok(dir) => Ok(Some(dir)),
            Err(error) if is_missing(&error, &self.directory) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn is_missing(error: &Error, path: &Path) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::NOENT.raw_os_error()) && !path.exists()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_are_private_and_come_back_equal() {
        let dir = tempfile::tempdir().unwrap();
        let files = PrivateFiles::at(dir.path().join("a/b"));
        assert_eq!(files.read("x.json").unwrap(), None);
        assert!(files.names().unwrap().is_empty() && !files.remove("x.json").unwrap());
        assert!(!dir.path().join("a").exists(), "reading makes nothing");
        files.write("x.json", "one").unwrap();
        files.write("x.json", "two").unwrap();
        assert_eq!(files.read("x.json").unwrap().as_deref(), Some("two"));
        assert_eq!(files.names().unwrap(), ["x.json"]);
        let mode = |path: &str| dir.path().join(path).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("a"), mode("a/b"), mode("a/b/x.json")), (0o700, 0o700, 0o600));
        assert!(files.remove("x.json").unwrap() && !files.remove("x.json").unwrap());
    }

    #[test]
    fn what_others_can_write_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let files = PrivateFiles::at(dir.path().to_path_buf());
        files.write("x", "text").unwrap();
        std::fs::set_permissions(files.path("x"), std::fs::Permissions::from_mode(0o620)).unwrap();
        assert!(files.read("x").unwrap_err().message().contains("can be changed by another user"));
        std::os::unix::fs::symlink("x", files.path("link")).unwrap();
        assert!(files.read("link").is_err());
    }
}
