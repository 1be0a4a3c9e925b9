//! The file that a task asks to be worked on: a person's, somewhere in the workspace, or the store's
//! own copy of a prompt.
//!
//! A person's file may be reached by a symbolic link. The store's own is opened through the task's
//! directory and never by a link, which somebody may have planted to have another file read.

use std::fs::File;

use rustix::fs::{Mode, OFlags};

use super::layout::{Dir, REQUEST_FILE};
use super::{Store, read};
use crate::digest::{sha256_file, sha256_open};
use crate::error::{Error, Result};
use crate::model::{RequestCheck, Task};

/// Whether the request of the task in `dir` is the copy that the store keeps.
pub(super) fn is_own(dir: &Dir, task: &Task) -> bool {
    let own = dir.path().join(REQUEST_FILE);
    // The store may have been reached by another path when the task was submitted.
    let by_another_path = || {
        let parent = task.request_path.strip_suffix(&format!("/{REQUEST_FILE}"));
        let parent = parent.filter(|parent| parent.ends_with(&format!("/tasks/{}", task.id)));
        match (parent.map(rustix::fs::stat), rustix::fs::fstat(dir)) {
            (Some(Ok(there)), Ok(here)) => (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino),
            _ => false,
        }
    };
    own.to_str() == Some(&task.request_path) || by_another_path()
}

fn open_own(dir: &Dir) -> rustix::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(dir, REQUEST_FILE, flags, Mode::empty()).map(File::from)
}

/// What is known of the request of the task in `dir` now.
pub(super) fn check(dir: &Dir, task: &Task) -> Result<RequestCheck> {
    let found = match is_own(dir, task) {
        true => open_own(dir).map_err(Into::into).and_then(sha256_open),
        false => sha256_file(task.request_path.as_ref()),
    };
    match found {
        Ok(sha256) if sha256 == task.request_sha256 => Ok(RequestCheck::Same),
        Ok(sha256) => Ok(RequestCheck::Changed(sha256)),
        Err(error) => match Error::io("read the request", &task.request_path, error) {
            // A process without descriptors says nothing of the file.
            error if read::is_passing(&error) => Err(error),
            _ => Ok(RequestCheck::Missing),
        },
    }
}

impl Store {
    /// What is known of a task's request file now.
    pub fn request_check(&self, task: &Task) -> RequestCheck {
        let checked = self.task_dir(&task.id).and_then(|dir| check(&dir, task));
        checked.unwrap_or(RequestCheck::Missing)
    }

    /// The copy of its request that the store keeps for a task; `None` when the request is a person's
    /// file.
    ///
    /// # Errors
    /// `Io` when it cannot be opened, as when a symbolic link stands in its place; `NotFound`.
    pub fn own_request(&self, task: &Task) -> Result<Option<File>> {
        let dir = self.task_dir(&task.id)?;
        if !is_own(&dir, task) {
            return Ok(None);
        }
        let file = open_own(&dir).map_err(|errno| Error::io("open", &task.request_path, errno))?;
        Ok(Some(file))
    }
}
