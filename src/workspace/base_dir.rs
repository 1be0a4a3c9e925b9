//! The directory against which relative paths are resolved.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use super::paths::{absolute, resolve};
use crate::error::{Error, Result};

/// A directory against which relative paths are resolved.
///
/// The current directory is looked up when it is first needed: it may have been removed, and absolute paths do
/// not need it. An agent whose worktree has been removed can still answer its task.
#[derive(Clone, Debug, Default)]
pub struct BaseDir {
    directory: OnceCell<PathBuf>,
}

impl BaseDir {
    /// Uses the current directory of this process.
    pub fn current() -> Self {
        Self::default()
    }

    /// Uses `directory`, an absolute path.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self { directory: OnceCell::from(directory.into()) }
    }

    /// Returns the directory.
    ///
    /// # Errors
    /// `Io` when the current directory no longer exists.
    pub fn directory(&self) -> Result<&Path> {
        if let Some(directory) = self.directory.get() {
            return Ok(directory);
        }
        let found = std::env::current_dir().map_err(|error| {
            Error::io("find", "the current directory", error).with_hint(
                "change to one that exists, or give absolute paths and name the workspace with --config",
            )
        })?;
        Ok(self.directory.get_or_init(|| found))
    }

    /// Makes `path` absolute and expands a leading `~`.
    ///
    /// # Errors
    /// As `absolute`, and as [`BaseDir::directory`] for a relative path.
    pub fn absolute(&self, path: &Path) -> Result<PathBuf> {
        let needs_none = path.is_absolute() || path.as_os_str().as_encoded_bytes().starts_with(b"~");
        let base = if needs_none { Path::new("/") } else { self.directory()? };
        absolute(base, path)
    }

    /// Resolves `path`: as [`BaseDir::absolute`], and without `.`, `..` and symbolic links. It need not exist.
    ///
    /// # Errors
    /// As [`BaseDir::absolute`]; `Io` when a part of the path cannot be accessed.
    pub fn real(&self, path: &Path) -> Result<PathBuf> {
        resolve(&self.absolute(path)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_relative_paths_need_a_directory() {
        let base = BaseDir::at("/w");
        assert_eq!(base.absolute(Path::new("x")).unwrap(), Path::new("/w/x"));
        assert_eq!(base.absolute(Path::new("/y")).unwrap(), Path::new("/y"));
        assert_eq!(base.directory().unwrap(), Path::new("/w"));
        let current = BaseDir::current();
        current.absolute(Path::new("/y")).unwrap();
        assert_eq!(current.directory.get(), None, "nobody has asked for it");
        assert_eq!(current.directory().unwrap(), std::env::current_dir().unwrap());
    }
}
