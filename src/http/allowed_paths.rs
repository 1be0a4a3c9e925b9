//! Restricts the paths of a request to the workspace and the directories that the server allows.
//!
//! A path that leads elsewhere, cannot be read, or contains a cycle of links gets the same refusal, so that it
//! reveals neither what exists outside nor where links point to.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::workspace::{Config, SubmitRequest, is_in_secret_directory, real_path};

/// The directories to which the paths of requests may lead.
pub(crate) struct AllowedPaths {
    /// The root of the server's workspace, against which relative paths are resolved.
    workspace: PathBuf,
    /// The directories, without links; the workspace is one of them.
    roots: Vec<PathBuf>,
    /// The store, to which no path may lead.
    store: PathBuf,
}

impl AllowedPaths {
    /// Allows the workspace of `config` and the directories `extra`.
    ///
    /// # Errors
    /// `Io` when one of `extra` cannot be opened.
    pub(crate) fn new(config: &Config, extra: &[PathBuf]) -> Result<Self> {
        let mut roots = vec![config.workspace_root.clone()];
        for root in extra {
            roots.push(root.canonicalize().map_err(|error| Error::io("open", root, error))?);
        }
        Ok(Self { workspace: config.workspace_root.clone(), roots, store: config.store_root.clone() })
    }

    /// Returns the directory that a client names as the workspace of its task.
    ///
    /// # Errors
    /// `Invalid` unless it is an allowed directory and not in the store.
    pub(crate) fn workspace_root(&self, wanted: &str) -> Result<PathBuf> {
        let refused = || refusal("workspace_root");
        let root = self.resolve(&self.workspace, Path::new(wanted)).ok_or_else(refused)?;
        if root.is_dir() { Ok(root) } else { Err(refused()) }
    }

    /// Replaces the paths of a submit by what they lead to: files must lead into the task's workspace `root`, the
    /// worktree into any allowed directory, but not into the store.
    ///
    /// # Errors
    /// `Invalid` for a path that leads elsewhere.
    pub(crate) fn resolve_all(&self, root: &Path, request: &mut SubmitRequest) -> Result<()> {
        let inside = |path: &Path| real_path(root, path).ok().filter(|real| real.starts_with(root));
        let SubmitRequest { request_from, response_to, prompt_file, worktree_path, supporting_paths, .. } =
            request;
        for (name, path) in
            [("request_from", request_from), ("response_to", response_to), ("prompt_file", prompt_file)]
        {
            if let Some(path) = path {
                replace(path, inside, || file_refusal(name))?;
            }
        }
        for (n, path) in supporting_paths.iter_mut().enumerate() {
            replace(path, inside, || file_refusal(&format!("supporting_paths[{n}]")))?;
        }
        if let Some(path) = worktree_path {
            replace(path, |path| self.resolve(root, path), || refusal("worktree_path"))?;
        }
        Ok(())
    }

    /// Returns where a path leads, if a task may work there.
    fn resolve(&self, base: &Path, path: &Path) -> Option<PathBuf> {
        let real = real_path(base, path).ok()?;
        // A directory of credentials would make every file in it one of the task's workspace.
        let is_allowed = self
            .roots
            .iter()
            .filter_map(|root| real.strip_prefix(root).ok())
            .any(|inside| !is_in_secret_directory(inside));
        (is_allowed && !real.starts_with(&self.store)).then_some(real)
    }
}

/// Replaces a path by what it leads to. An empty path stays: the rules of the workspace say what it means.
fn replace(
    path: &mut PathBuf,
    resolve: impl Fn(&Path) -> Option<PathBuf>,
    refused: impl Fn() -> Error,
) -> Result<()> {
    if !path.as_os_str().is_empty() {
        *path = resolve(path).ok_or_else(refused)?;
    }
    Ok(())
}

fn refusal(name: &str) -> Error {
    Error::invalid(format!("{name} is neither in the server's workspace nor in a directory it allows"))
        .with_hint("`lanes serve --allow-root DIR` allows another one")
}

fn file_refusal(name: &str) -> Error {
    Error::invalid(format!("{name} is not a path in the task's workspace_root, also after following links"))
}
