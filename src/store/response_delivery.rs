//! Writes the response of a task where its submitter wants it.

use std::path::Path;

use super::commit::body;
use super::layout::RESPONSE_BODY_FILE;
use super::request_file::is_in_task;
use super::{Store, atomic};
use crate::error::{Error, Result, printable};
use crate::model::{Response, Task};

impl Store {
    /// Returns whether only the store keeps the response of a task, because the submit named no path for it.
    pub fn is_response_kept_in_store(&self, task: &Task) -> bool {
        is_in_task(&task.response_path, task.id.as_str(), RESPONSE_BODY_FILE)
    }

    /// Makes the response of a task durable, so that it may be printed.
    ///
    /// # Errors
    /// `Io`.
    pub fn sync_response(&self, task: &Task) -> Result<()> {
        atomic::sync_dir(&self.task_dir(&task.id)?)
    }

    /// Writes the body of `response` to the copy that the store keeps with the task. Failing to write this
    /// second copy is not an error: on a full or read-only disk the response can still be printed.
    ///
    /// The response itself is made durable first, so that nothing is reported that a power cut can undo.
    ///
    /// # Errors
    /// `Io` when the response cannot be made durable.
    pub fn copy_response(&self, task: &Task, response: &Response) -> Result<()> {
        let dir = self.task_dir(&task.id)?;
        atomic::sync_dir(&dir)?;
        let tmp = self.check_writable().and_then(|()| self.layout.tmp());
        let _ = tmp.and_then(|tmp| atomic::replace_durably(&tmp, &dir, RESPONSE_BODY_FILE, body(response)));
        Ok(())
    }

    /// Writes the body of `response` atomically to `target`, with the permissions of the file that it
    /// replaces. Missing directories are made. `target` is absolute and without links, and the caller has
    /// checked that a response may be written there.
    ///
    /// The response itself is made durable first, as in [`Store::copy_response`].
    ///
    /// # Errors
    /// `Refused` when the path has changed its target; `Io` when it cannot be written.
    pub fn deliver(&self, task: &Task, response: &Response, target: &Path) -> Result<()> {
        let dir = self.task_dir(&task.id)?;
        atomic::sync_dir(&dir)?;
        let parent = target.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(parent).map_err(|error| Error::io("create", parent, error))?;
        let real = parent.canonicalize().map_err(|error| Error::io("open", parent, error))?;
        if real != parent {
            let shown = printable(&target.to_string_lossy());
            return Err(Error::refused(format!("response_path now leads to a different place: {shown}")));
        }
        atomic::replace_user_file(target, body(response))
    }
}
