//! Makes the response of a task durable, and keeps it as a file for whoever submitted the task without a path for it.

use super::commit::body;
use super::layout::RESPONSE_BODY_FILE;
use super::request_file::is_in_task;
use super::{FileStore, atomic};
use crate::error::Result;
use crate::model::{Response, Task};

impl FileStore {
    pub(crate) fn is_response_kept_in_store(&self, task: &Task) -> bool {
        is_in_task(&task.response_path, task.id.as_str(), RESPONSE_BODY_FILE)
    }

    pub(crate) fn sync_response(&self, task: &Task) -> Result<()> {
        atomic::sync_dir(&self.task_dir(&task.id)?)
    }

    pub(crate) fn copy_response(&self, task: &Task, response: &Response) -> Result<()> {
        let dir = self.task_dir(&task.id)?;
        atomic::sync_dir(&dir)?;
        let tmp = self.check_writable().and_then(|()| self.layout.tmp());
        let _ = tmp.and_then(|tmp| atomic::replace_durably(&tmp, &dir, RESPONSE_BODY_FILE, body(response)));
        Ok(())
    }
}
