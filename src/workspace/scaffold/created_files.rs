//! Creates files and directories, all of them or none.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Permissions of a directory that everybody may read, before the umask: a world-writable configuration is
/// refused.
pub(super) const PUBLIC_DIRECTORY_MODE: u32 = 0o775;
/// Permissions of a directory for its owner only.
pub(super) const PRIVATE_DIRECTORY_MODE: u32 = 0o700;

/// The files and directories created so far; dropping them without [`CreatedFiles::keep`] removes them again.
///
/// Only its own files, and directories that are empty then, are removed, so that nothing is lost that another
/// program has put there meanwhile.
pub(super) struct CreatedFiles {
    /// The paths, in the order of creation.
    made: Vec<PathBuf>,
}

impl CreatedFiles {
    pub(super) fn new() -> Self {
        Self { made: Vec::new() }
    }

    /// Creates a directory, which must not exist.
    pub(super) fn directory(&mut self, path: &Path, mode: u32) -> Result<()> {
        DirBuilder::new()
            .mode(mode)
            .create(path)
            .map_err(|error| Error::io("make directory", path, error))?;
        self.made.push(path.to_path_buf());
        Ok(())
    }

    /// Creates a directory and its missing parents.
    pub(super) fn directories(&mut self, path: &Path) -> Result<()> {
        let missing: Vec<&Path> = path.ancestors().take_while(|above| !above.is_dir()).collect();
        for directory in missing.into_iter().rev() {
            match DirBuilder::new().mode(PUBLIC_DIRECTORY_MODE).create(directory) {
                Ok(()) => self.made.push(directory.to_path_buf()),
                // Another program created it since the check, so it is not removed either.
                Err(error) if error.kind() == ErrorKind::AlreadyExists && directory.is_dir() => {}
                Err(error) => return Err(Error::io("make directory", directory, error)),
            }
        }
        Ok(())
    }

    /// Writes one file, which must not exist.
    pub(super) fn file(&mut self, path: &Path, text: &str, mode: u32) -> Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)
            .map_err(|error| Error::io("make", path, error))?;
        self.made.push(path.to_path_buf());
        file.write_all(text.as_bytes()).map_err(|error| Error::io("write", path, error))
    }

    /// Keeps everything that was created.
    pub(super) fn keep(mut self) {
        self.made.clear();
    }
}

impl Drop for CreatedFiles {
    fn drop(&mut self) {
        for path in self.made.iter().rev() {
            // What cannot be removed stays; the error to report is the one that caused the rollback.
            let is_dir = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
            let _ = if is_dir { std::fs::remove_dir(path) } else { std::fs::remove_file(path) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_it_removes_only_what_it_created() {
        let dir = tempfile::tempdir().unwrap();
        let mut created = CreatedFiles::new();
        let deep = dir.path().join("a/b");
        created.directories(&deep).unwrap();
        created.directory(&dir.path().join("c"), PRIVATE_DIRECTORY_MODE).unwrap();
        created.file(&deep.join("f"), "x", 0o644).unwrap();
        std::fs::write(dir.path().join("c/foreign"), "y").unwrap();
        drop(created);
        assert!(!dir.path().join("a").exists());
        assert!(dir.path().join("c/foreign").exists());
    }

    #[test]
    fn nothing_that_exists_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "mine").unwrap();
        let mut created = CreatedFiles::new();
        let error = created.file(&path, "theirs", 0o644).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Io);
        assert!(created.directory(dir.path(), PUBLIC_DIRECTORY_MODE).is_err());
        assert!(created.directories(&path.join("below")).is_err());
        drop(created);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn kept_work_stays() {
        let dir = tempfile::tempdir().unwrap();
        let mut created = CreatedFiles::new();
        created.file(&dir.path().join("f"), "x", 0o644).unwrap();
        created.keep();
        assert!(dir.path().join("f").exists());
    }
}
