//! Writing an answer where its submitter wants it.

use std::path::Path;

use super::commit::body;
use super::layout::RESPONSE_BODY_FILE;
use super::request_file::is_in_task;
use super::{Store, atomic};
use crate::error::{Error, Result, printable};
use crate::model::{Response, Task};

impl Store {
    /// Whether a task was given no place for its answer, so that only the store keeps it.
    pub fn keeps_response(&self, task: &Task) -> bool {
        is_in_task(&task.response_path, task.id.as_str(), RESPONSE_BODY_FILE)
    }

    /// Makes the answer of a task durable, so that it may be told.
    ///
    /// # Errors
    /// `Io` when that fails.
    pub fn sync_response(&self, task: &Task) -> Result<()> {
        atomic::sync_dir(&self.task_dir(&task.id)?)
    }

    /// Writes the body of `response` to the copy that the store keeps beside the task. It is a second copy:
    /// on a full or read-only disk the answer can still be told.
    ///
    /// The answer itself is made durable first: what this reports can never turn out not to have happened.
    ///
    /// # Errors
    /// `Io` when the answer cannot be made durable.
    pub fn copy_response(&self, task: &Task, response: &Response) -> Result<()> {
        let dir = self.task_dir(&task.id)?;
        atomic::sync_dir(&dir)?;
        let tmp = self.check_writable().and_then(|()| self.layout.tmp());
        let _ = tmp.and_then(|tmp| atomic::replace_durably(&tmp, &dir, RESPONSE_BODY_FILE, body(response)));
        Ok(())
    }

    /// Writes the body of `response` to `target`, whole or not at all, with the permissions of a file that is
    /// replaced. Missing directories are made. `target` is absolute and without links, and the caller has
    /// checked that an answer may be written there.
    ///
    /// The answer itself is made durable first, as in [`Store::copy_response`].
    ///
    /// # Errors
    /// `Refused` when the path has come to lead elsewhere; `Io` when it cannot be written.
    pub fn deliver(&self, task: &Task, response: &Response, target: &Path) -> Result<()> {
        let dir = self.task_dir(&task.id)?;
        atomic::sync_dir(&dir)?;
        let parent = target.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(parent).map_err(|error| Error::io("create", parent, error))?;
        let real = parent.canonicalize().map_err(|error| Error::io("open", parent, error))?;
        if real != parent {
            let shown = printable(&target.to_string_lossy());
            return Err(Error::refused(format!("response_path has come to lead elsewhere: {shown}")));
        }
        atomic::deliver(target, body(response))
    }
}
