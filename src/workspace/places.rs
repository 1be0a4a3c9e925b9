//! The path rules of a submit: what may be named, and where it must lie.

use std::path::{Path, PathBuf};

use super::config::Config;
use super::discover::CONFIG_PLACES;
use super::paths::{as_text, file_type, real_path, require_inside, resolve, show};
use super::text_file::TextFile;
use crate::digest::sha256_file;
use crate::error::{Error, ErrorKind, Result};
use crate::model::SupportingPath;

/// The path rules of one workspace.
pub(super) struct Places<'a> {
    /// The caller's current directory.
    pub cwd: &'a Path,
    /// The workspace root, resolved.
    pub root: PathBuf,
    store: &'a Path,
    config: Option<&'a Path>,
}

impl<'a> Places<'a> {
    /// `cwd` is absolute.
    pub(super) fn new(config: &'a Config, cwd: &'a Path) -> Result<Self> {
        Ok(Self {
            cwd,
            root: resolve(&config.workspace_root)?,
            store: &config.store_root,
            config: config.path.as_deref(),
        })
    }

    /// Where `path` leads, whether or not it exists.
    pub(super) fn real(&self, base: &Path, path: &Path, label: &str) -> Result<PathBuf> {
        if path.as_os_str().is_empty() {
            return Err(Error::invalid(format!("{label} is empty")).with_hint("leave it out or name a file"));
        }
        real_path(base, path)
    }

    /// Where `path` leads, which must be in the workspace.
    fn inside(&self, base: &Path, path: &Path, label: &str) -> Result<PathBuf> {
        let real = self.real(base, path, label)?;
        require_inside(&self.root, &real, label)?;
        Ok(real)
    }

    /// An existing file of the workspace with its fingerprint.
    pub(super) fn pinned(&self, base: &Path, path: &Path, label: &str) -> Result<SupportingPath> {
        let real = self.inside(base, path, label)?;
        match file_type(&real)? {
            None => return Err(Error::invalid(format!("{label} does not exist: {}", show(&real)))),
            Some(kind) if !kind.is_file() => {
                return Err(Error::invalid(format!("{label} is not a regular file: {}", show(&real))));
            }
            Some(_) => {}
        }
        Ok(SupportingPath {
            path: as_text(&real, label)?,
            sha256: sha256_file(&real).map_err(|error| Error::io("read", &real, error))?,
        })
    }

    /// A file of the workspace that may be written, now or later.
    pub(super) fn response(&self, path: &Path) -> Result<String> {
        let label = "response_to";
        let real = self.inside(self.cwd, path, label)?;
        if real.starts_with(self.store) {
            return Err(Error::invalid(format!("{label} is inside the state directory: {}", show(&real)))
                .with_hint("name a file outside it, or leave it out to keep the answer in the store"));
        }
        if self.config == Some(&real) || CONFIG_PLACES.iter().any(|place| self.root.join(place) == real) {
            return Err(Error::invalid(format!("{label} is the workspace's configuration: {}", show(&real)))
                .with_hint("name another file, or leave it out to keep the answer in the store"));
        }
        if file_type(&real)?.is_some_and(|kind| !kind.is_file()) {
            return Err(Error::invalid(format!("{label} is not a regular file: {}", show(&real)))
                .with_hint("name a file that may be written"));
        }
        as_text(&real, label)
    }

    /// The text of a prompt file of at most `most` bytes.
    pub(super) fn prompt(&self, path: &Path, most: usize) -> Result<String> {
        let real = self.inside(self.cwd, path, "prompt_file")?;
        let prompt_file = TextFile {
            name: "prompt_file",
            limit: most,
            refusal: ErrorKind::Invalid,
            hint_if_missing: "a flag's path is relative to the current directory, a task file's to that file",
            unique_keys: false,
        };
        prompt_file.read(&real)
    }
}
