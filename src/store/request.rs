//! The file that a task asks to be worked on: a person's, somewhere in the workspace, or the store's
//! own copy of a prompt.
//!
//! A person's file may be reached by a symbolic link. The store's own is opened through the task's
//! directory and never by a link, which somebody may have planted to have another file read. As far as
//! task.json carries the prompt, it is not synced, and the next claim writes again what a power cut leaves
//! of it.

use std::fs::File;
use std::io::Read;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::layout::{Dir, REQUEST_FILE};
use super::{Store, atomic, read};
use crate::digest::{sha256_bytes, sha256_file, sha256_open};
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

/// What a look at a request shows.
enum Found {
    /// It, or something else in its place.
    Whole(RequestCheck),
    /// A part of the store's own copy.
    Torn,
}

/// What is known of the request of the task in `dir` now. One that the store can write again is the same.
pub(super) fn check(dir: &Dir, task: &Task) -> Result<RequestCheck> {
    Ok(match look(dir, task)? {
        Found::Whole(check) => check,
        Found::Torn => RequestCheck::Same,
    })
}

fn look(dir: &Dir, task: &Task) -> Result<Found> {
    let is_own = is_own(dir, task);
    let found = match is_own {
        true => open_own(dir).map_err(Into::into).and_then(sha256_open),
        false => sha256_file(task.request_path.as_ref()),
    };
    Ok(Found::Whole(match found {
        Ok(sha256) if sha256 == task.request_sha256 => RequestCheck::Same,
        Ok(_) if is_own && is_torn(dir, task) => return Ok(Found::Torn),
        Ok(sha256) => RequestCheck::Changed(sha256),
        Err(error) => match Error::io("read the request", &task.request_path, error) {
            // A process without descriptors says nothing of the file.
            error if read::is_passing(&error) => return Err(error),
            error if is_unreadable(&error) => RequestCheck::Unreadable(error.cause().unwrap_or_default()),
            _ => RequestCheck::Missing,
        },
    }))
}

/// Whether an error leaves it open what is there.
fn is_unreadable(error: &Error) -> bool {
    let numbers = [Errno::ACCESS, Errno::PERM, Errno::IO].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|number| numbers.contains(&number))
}

/// Whether part of the store's own copy was lost, and task.json carries all of it.
fn is_torn(dir: &Dir, task: &Task) -> bool {
    let prompt = task.prompt.as_bytes();
    let found = || {
        let mut found = Vec::new();
        open_own(dir)?.take(prompt.len() as u64 + 1).read_to_end(&mut found).map(|_| found)
    };
    sha256_bytes(prompt) == task.request_sha256 && found().is_ok_and(|found| is_part(&found, prompt))
}

/// Whether a power cut may have left `found` of `whole`: a beginning of it, with zeros for what was not
/// written.
fn is_part(found: &[u8], whole: &[u8]) -> bool {
    found.len() <= whole.len() && found.iter().zip(whole).all(|(is, was)| is == was || *is == 0)
}

impl Store {
    /// What is known of the request of the task in `dir`, which is written again if part of it was lost.
    pub(super) fn check_and_mend_request(&self, dir: &Dir, task: &Task) -> Result<RequestCheck> {
        match look(dir, task)? {
            Found::Whole(check) => Ok(check),
            Found::Torn => {
                atomic::replace_durably(&self.layout.tmp()?, dir, REQUEST_FILE, task.prompt.as_bytes())?;
                check(dir, task)
            }
        }
    }

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

#[cfg(test)]
mod tests {
    use super::is_part;

    #[test]
    fn what_a_power_cut_leaves_is_told_from_what_somebody_wrote() {
        for found in ["", "do", "do it", "\0\0\0\0\0", "do\0\0\0", "\0o"] {
            assert!(is_part(found.as_bytes(), b"do it"), "{found:?}");
        }
        for found in ["do it now", "to it", "d it", "\n"] {
            assert!(!is_part(found.as_bytes(), b"do it"), "{found:?}");
        }
    }
}
