//! What this machine keeps of the tasks of a remote store: where the answer of one that was submitted here goes, and copies of
//! requests and answers. All of it can be fetched again, except for the first.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::model::TaskId;
use crate::store::PrivateFiles;
use crate::store::layout::{REQUEST_FILE, RESPONSE_BODY_FILE, RESPONSE_FILE, TASKS};

/// The file with the path to which `wait` writes an answer.
const RESPONSE_TO: &str = "response_to";

/// The directory of what is kept.
#[derive(Clone, Debug)]
pub(super) struct KeptFiles {
    directory: PathBuf,
}

impl KeptFiles {
    /// Returns what is kept in a directory, which need not exist.
    pub(super) fn at(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Returns the directory.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the directory of a task.
    fn of_task(&self, id: &TaskId) -> PathBuf {
        self.directory.join(TASKS).join(id.as_str())
    }

    /// Records where the answer to a task that was submitted here goes.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn set_response_path(&self, id: &TaskId, path: &str) -> Result<()> {
        PrivateFiles::at(self.of_task(id)).write(RESPONSE_TO, path)
    }

    /// Returns where `wait` writes the answer to a task, for one that was submitted here with a path; otherwise the path
    /// of the copy.
    pub(super) fn response_path(&self, id: &TaskId) -> String {
        let named = PrivateFiles::at(self.of_task(id)).read(RESPONSE_TO).ok().flatten();
        named.unwrap_or_else(|| self.path_of(id, RESPONSE_BODY_FILE))
    }

    /// Returns whether a path is that of the copy of an answer.
    pub(super) fn is_copy(&self, id: &TaskId, path: &str) -> bool {
        path == self.path_of(id, RESPONSE_BODY_FILE)
    }

    /// Keeps a copy of an answer's text.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn put_body(&self, id: &TaskId, body: &str) -> Result<()> {
        PrivateFiles::at(self.of_task(id)).write(RESPONSE_BODY_FILE, body)
    }

    /// Keeps a copy of an answer, and returns its path.
    pub(super) fn put_response(&self, id: &TaskId, text: &str) -> PathBuf {
        // Only a convenience for the reader of the path, who can ask for the answer itself.
        let _ = PrivateFiles::at(self.of_task(id)).write(RESPONSE_FILE, text);
        self.of_task(id).join(RESPONSE_FILE)
    }

    /// Keeps a copy of a request, and returns its path.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn put_request(&self, id: &TaskId, text: &str) -> Result<String> {
        PrivateFiles::at(self.of_task(id)).write(REQUEST_FILE, text)?;
        Ok(self.path_of(id, REQUEST_FILE))
    }

    fn path_of(&self, id: &TaskId, name: &str) -> String {
        self.of_task(id).join(name).to_string_lossy().into_owned()
    }
}
