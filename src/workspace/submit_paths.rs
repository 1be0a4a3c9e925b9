//! The path rules of a submit: which files may be named, and where they must lie.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::base_dir::BaseDir;
use super::config::Config;
use super::discover::CONFIG_PLACES;
use super::file_hashes::FileHashes;
use super::paths::{as_name, file_type, require_inside, resolve, show};
use super::sensitive_paths::{is_document, is_secret, runs_or_configures};
use super::text_file::TextFile;
use crate::error::{Error, ErrorKind, Result};
use crate::model::SupportingPath;
use crate::store::{is_linked_into_store, lies_in_store};

/// What the file of a prompt is called in messages.
const PROMPT_FILE: &str = "prompt_file";

/// The path rules of one workspace.
pub(super) struct PathRules<'a> {
    /// The directory against which the caller's relative paths are resolved.
    pub cwd: &'a BaseDir,
    /// The workspace root, resolved.
    pub root: PathBuf,
    store: &'a Path,
    config: Option<&'a Path>,
    /// Whether a network client names the files, which it might not be able to read.
    for_client: bool,
    hashes: FileHashes,
}

/// The hint for a file that a task may not name.
const NAME_ANOTHER_HINT: &str = "name another file, or leave it out to keep the answer in the store";

impl<'a> PathRules<'a> {
    /// Makes the rules of a workspace.
    ///
    /// # Errors
    /// `Io` when the workspace root cannot be accessed.
    pub(super) fn new(config: &'a Config, cwd: &'a BaseDir) -> Result<Self> {
        Ok(Self {
            cwd,
            root: resolve(&config.workspace_root)?,
            store: &config.store_root,
            config: config.path(),
            for_client: false,
            hashes: FileHashes::default(),
        })
    }

    /// Also refuses files that a network client might not be able to read.
    pub(super) fn for_client(self) -> Self {
        Self { for_client: true, ..self }
    }

    /// Sets the cache of hashes.
    pub(super) fn with(self, hashes: FileHashes) -> Self {
        Self { hashes, ..self }
    }

    /// Resolves `path`, whether or not it exists.
    pub(super) fn real(&self, base: &BaseDir, path: &Path, label: &str) -> Result<PathBuf> {
        if path.as_os_str().is_empty() {
            return Err(Error::invalid(format!("{label} is empty")).with_hint("leave it out or name a file"));
        }
        base.real(path)
    }

    /// Resolves `path`, which must lie in the workspace.
    fn inside(&self, base: &BaseDir, path: &Path, label: &str) -> Result<PathBuf> {
        let real = self.real(base, path, label)?;
        require_inside(&self.root, &real, label).map_err(|error| {
            if label != PROMPT_FILE || self.for_client {
                return error;
            }
            let hint = error.hint().unwrap_or_default();
            let hint = format!("{hint}; pass the text of another file with `--prompt-file - < FILE`");
            error.with_hint(hint)
        })?;
        Ok(real)
    }

    /// Resolves a directory to work in, which may lie anywhere except in the store.
    pub(super) fn worktree(&self, base: &BaseDir, path: &Path) -> Result<PathBuf> {
        let real = self.real(base, path, "worktree_path")?;
        if self.is_in_store(&real)? {
            let message = format!("worktree_path is inside the state directory: {}", show(&real));
            return Err(
                Error::invalid_here(message).with_hint("name the directory that the worker is to work in")
            );
        }
        Ok(real)
    }

    /// Resolves an existing file of the workspace and computes its SHA-256.
    pub(super) fn pinned(&self, base: &BaseDir, path: &Path, label: &str) -> Result<SupportingPath> {
        let real = self.inside(base, path, label)?;
        self.check_readable(&real, label)?;
        match file_type(&real)? {
            None => return Err(Error::invalid_here(format!("{label} does not exist: {}", show(&real)))),
            Some(kind) if !kind.is_file() => {
                return Err(Error::invalid_here(format!("{label} is not a regular file: {}", show(&real))));
            }
            Some(_) => {}
        }
        Ok(SupportingPath { path: as_name(&real, label)?, sha256: self.hashes.of(&real)? })
    }

    /// Resolves a file of the workspace to which an answer may be written.
    ///
    /// # Errors
    /// `Invalid` when the file lies outside the workspace, belongs to the store or the configuration, or is one that
    /// programs execute or read as configuration.
    pub(super) fn response(&self, path: &Path, label: &str) -> Result<PathBuf> {
        let real = self.inside(self.cwd, path, label)?;
        self.check_writable(&real, label)?;
        Ok(real)
    }

    /// Resolves a path as [`Self::response`] does for an answer that is about to be written: a dangling link is
    /// replaced, not followed.
    pub(super) fn delivery(&self, path: &Path, label: &str) -> Result<PathBuf> {
        let is_link = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
        let (Some(parent), Some(name)) =
            (path.parent().filter(|_| is_link && !path.exists()), path.file_name())
        else {
            return self.response(path, label);
        };
        let real = self.inside(self.cwd, parent, label)?.join(name);
        self.check_writable(&real, label)?;
        Ok(real)
    }

    /// Refuses a file that no answer may replace.
    fn check_writable(&self, real: &Path, label: &str) -> Result<()> {
        let refuse = |what: &str, hint: &str| {
            Err(Error::invalid_here(format!("{label} is {what}: {}", show(real))).with_hint(hint))
        };
        if self.is_in_store(real)? {
            return refuse(
                "inside the state directory",
                "name a file outside it, or leave it out to keep the answer in the store",
            );
        }
        let metadata = std::fs::symlink_metadata(real).ok();
        if self.is_config(real, metadata.as_ref()) {
            return refuse("the workspace's configuration", NAME_ANOTHER_HINT);
        }
        if metadata.as_ref().is_some_and(|metadata| !metadata.is_file() && !metadata.is_symlink()) {
            return refuse("not a regular file", "name a file that may be written");
        }
        let is_executable =
            metadata.is_some_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0);
        if runs_or_configures(real.strip_prefix(&self.root).unwrap_or(real))
            || (is_executable && !is_document(real))
            || self.is_program_of_workspace(real)
        {
            return refuse("a file that programs execute or read as configuration", NAME_ANOTHER_HINT);
        }
        Ok(())
    }

    /// Refuses a file that a task may not name as input: files of the store, the configuration, and for a network
    /// client files with credentials.
    fn check_readable(&self, real: &Path, label: &str) -> Result<()> {
        let refuse = |what: &str, hint: &str| {
            Err(Error::invalid_here(format!("{label} is {what}: {}", show(real))).with_hint(hint))
        };
        const COPY_HINT: &str = "copy what the worker is to read into a file of its own";
        if self.is_in_store(real)? {
            return refuse("inside the state directory", COPY_HINT);
        }
        let metadata = std::fs::symlink_metadata(real).ok();
        if self.is_config(real, metadata.as_ref()) {
            return refuse("the workspace's configuration", COPY_HINT);
        }
        if self.for_client && is_secret(real.strip_prefix(&self.root).unwrap_or(real)) {
            return refuse("of a kind that holds credentials", "submit it with the command line");
        }
        let Some(metadata) = metadata.filter(|metadata| metadata.is_file() && metadata.nlink() > 1) else {
            return Ok(());
        };
        if self.for_client {
            return refuse("a hard link, which over HTTP may be to any file", "name a copy of it");
        }
        let is_linked = is_linked_into_store(self.store, &metadata);
        if is_linked.map_err(|error| Error::io("look through", self.store, error))? {
            return refuse("a hard link into the state directory", COPY_HINT);
        }
        Ok(())
    }

    fn is_in_store(&self, real: &Path) -> Result<bool> {
        lies_in_store(self.store, real).map_err(|error| Error::io("access", self.store, error))
    }

    /// Returns whether a file is the workspace's configuration, also under another name; `metadata` belongs to the file.
    fn is_config(&self, real: &Path, metadata: Option<&Metadata>) -> bool {
        let places = CONFIG_PLACES.iter().map(|place| self.root.join(place));
        self.config.map(Path::to_path_buf).into_iter().chain(places).any(|config| {
            let is_same = |metadata: &Metadata| {
                std::fs::metadata(&config)
                    .is_ok_and(|config| (config.dev(), config.ino()) == (metadata.dev(), metadata.ino()))
            };
            config == real || metadata.is_some_and(is_same)
        })
    }

    /// Returns whether a file is one of the scripts and settings in the directory of the configuration.
    fn is_program_of_workspace(&self, real: &Path) -> bool {
        let config_dir = self.config.and_then(Path::parent).filter(|config_dir| *config_dir != self.root);
        let places = CONFIG_PLACES.iter().filter_map(|place| Path::new(place).parent());
        let places = places.map(|place| self.root.join(place));
        config_dir.map(Path::to_path_buf).into_iter().chain(places).any(|directory| {
            real.strip_prefix(&directory).is_ok_and(|below| {
                below.starts_with("bin")
                    || below.extension().is_some_and(|end| end == "sh")
                    || (below.components().count() == 1 && !is_document(below))
            })
        })
    }

    /// Reads a prompt file of at most `max_bytes`.
    pub(super) fn prompt(&self, path: &Path, max_bytes: usize) -> Result<String> {
        let hint = "a flag's path is relative to the current directory, a task file's to that file";
        self.text(path, PROMPT_FILE, max_bytes, hint)
    }

    /// Reads a text file of at most `max_bytes`; `name` is what it is in messages.
    pub(super) fn text(
        &self,
        path: &Path,
        name: &'static str,
        max_bytes: usize,
        hint_if_missing: &'static str,
    ) -> Result<String> {
        let real = self.inside(self.cwd, path, name)?;
        self.check_readable(&real, name)?;
        let file = TextFile {
            name,
            limit: max_bytes,
            refusal: ErrorKind::Invalid,
            hint_if_missing,
            unique_keys: false,
        };
        file.read(&real)
    }
}
