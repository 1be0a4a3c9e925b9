//! Writing an answer where its submitter wants it.

use std::path::{Path, PathBuf};

use super::change::body;
use super::layout::RESPONSE_BODY_FILE;
use super::request::is_in_task;
use super::{Store, atomic};
use crate::error::{Error, Result, printable};
use crate::model::{Response, Task};

impl Store {
    /// Whether a task was given no place for its answer, so that only the store keeps it.
    pub fn keeps_answer_of(&self, task: &Task) -> bool {
        is_in_task(&task.response_path, task.id.as_str(), RESPONSE_BODY_FILE)
    }

    /// Writes the body of `response` to the task's response path, whole or not at all, and returns
    /// the path. The permissions of a file that is replaced are kept.
    ///
    /// The answer itself is made durable first: what this reports can never turn out not to have
    /// happened.
    ///
    /// # Errors
    /// `Refused` when the path leads outside the workspace; `Io` when it cannot be written.
    pub fn deliver(&self, task: &Task, response: &Response) -> Result<PathBuf> {
        let dir = self.task_dir(&task.id)?;
        atomic::sync_dir(&dir)?;
        let wanted = PathBuf::from(&task.response_path);
        if self.keeps_answer_of(task) {
            // A second copy of what the store has already; on a full or read-only disk the answer can
            // still be told.
            let tmp = self.check_writable().and_then(|()| self.layout.tmp());
            let _ =
                tmp.and_then(|tmp| atomic::replace_durably(&tmp, &dir, RESPONSE_BODY_FILE, body(response)));
            return Ok(wanted);
        }
        let target = resolve_inside(Path::new(&task.workspace_root), &wanted)?;
        atomic::deliver(&target, body(response))?;
        Ok(wanted)
    }
}

/// Where writing to `wanted` would really write, which must be inside `root`. Missing directories
/// are made.
fn resolve_inside(root: &Path, wanted: &Path) -> Result<PathBuf> {
    let outside = || {
        Error::refused(format!(
            "response_path is outside workspace_root: {}",
            printable(&wanted.to_string_lossy())
        ))
    };
    let root = root.canonicalize().map_err(|error| Error::io("open the workspace", root, error))?;
    let (Some(parent), Some(name)) = (wanted.parent(), wanted.file_name()) else {
        return Err(outside());
    };
    let existing = parent.ancestors().find(|part| part.exists()).unwrap_or(Path::new("/"));
    let resolved = existing.canonicalize().map_err(|error| Error::io("open", existing, error))?;
    if !resolved.starts_with(&root) || wanted.components().any(|part| part.as_os_str() == "..") {
        return Err(outside());
    }
    std::fs::create_dir_all(parent).map_err(|error| Error::io("create", parent, error))?;
    let parent = parent.canonicalize().map_err(|error| Error::io("open", parent, error))?;
    let target = parent.join(name);
    let target = match target.canonicalize() {
        Ok(target) => target,
        // A link to nowhere would be replaced by the rename, not followed.
        Err(_) => target,
    };
    if !target.starts_with(&root) {
        return Err(outside());
    }
    if target.is_dir() {
        return Err(Error::refused(format!(
            "response_path is a directory: {}",
            printable(&wanted.to_string_lossy())
        )));
    }
    Ok(target)
}
