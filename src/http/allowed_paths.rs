//! Where the paths of a request may lead: into the workspace, or into a directory that the server allows.
//!
//! A path that leads elsewhere, to nothing that can be looked at, or round in circles gets the same
//! refusal, so that nobody learns from it what exists outside, or where links point to.

use std::path::{Path, PathBuf};

use super::context::App;
use crate::error::{Error, Result};
use crate::workspace::{SubmitWish, is_in_secret_directory, real_path};

/// The directory that a client names as the workspace of its task.
///
/// # Errors
/// `Invalid` unless it is a directory in one of the server's, and not in the store.
pub fn workspace_root(app: &App, wanted: &str) -> Result<PathBuf> {
    let refused = || refusal("workspace_root");
    let root = place(app, &app.config.workspace_root, Path::new(wanted)).ok_or_else(refused)?;
    if root.is_dir() { Ok(root) } else { Err(refused()) }
}

/// Replaces the paths of a wish by where they lead: files into the task's workspace `root`, the worktree also
/// into one of the server's directories, but not into the store.
///
/// # Errors
/// `Invalid` for a path that leads elsewhere.
pub fn settle(app: &App, root: &Path, wish: &mut SubmitWish) -> Result<()> {
    let inside = |path: &Path| real_path(root, path).ok().filter(|real| real.starts_with(root));
    let SubmitWish { request_from, response_to, prompt_file, worktree_path, supporting, .. } = wish;
    for (name, path) in
        [("request_from", request_from), ("response_to", response_to), ("prompt_file", prompt_file)]
    {
        if let Some(path) = path {
            replace(path, inside, || file_refusal(name))?;
        }
    }
    for (n, path) in supporting.iter_mut().enumerate() {
        replace(path, inside, || file_refusal(&format!("supporting_paths[{n}]")))?;
    }
    if let Some(path) = worktree_path {
        replace(path, |path| place(app, root, path), || refusal("worktree_path"))?;
    }
    Ok(())
}

/// An empty path stays as it is; what it means is for the rules of the workspace to say.
fn replace(
    path: &mut PathBuf,
    lead: impl Fn(&Path) -> Option<PathBuf>,
    refused: impl Fn() -> Error,
) -> Result<()> {
    if !path.as_os_str().is_empty() {
        *path = lead(path).ok_or_else(refused)?;
    }
    Ok(())
}

/// Where a path leads, if somebody may work there.
fn place(app: &App, base: &Path, path: &Path) -> Option<PathBuf> {
    let real = real_path(base, path).ok()?;
    // A directory of credentials would make every file in it one of the task's workspace.
    let is_allowed = app
        .roots
        .iter()
        .filter_map(|root| real.strip_prefix(root).ok())
        .any(|inside| !is_in_secret_directory(inside));
    (is_allowed && !real.starts_with(&app.config.store_root)).then_some(real)
}

fn refusal(name: &str) -> Error {
    Error::invalid(format!("{name} is neither in the server's workspace nor in a directory it allows"))
        .with_hint("`lanes serve --allow-root DIR` allows one more")
}

fn file_refusal(name: &str) -> Error {
    Error::invalid(format!("{name} is not a path in the task's workspace_root, also after following links"))
}
