//! The file with the request of a task: a person's file in the workspace, or the store's own copy of a
//! prompt.
//!
//! A person's file may be reached by a symbolic link. The store's own is opened through the task's directory
//! and never by a link, which somebody may have planted to have another file read. If task.json contains the
//! whole prompt, the copy is not synced, and the next claim restores what a power cut leaves of it.
//!
//! An edit writes the new copy under another name, commits task.json with its hash, and renames the copy. Between the two
//! renames, and after a crash there until the next claim or edit, the copy under the other name is the request.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::blobs::{BlobPlace, Blobs};
use super::dir::Dir;
use super::layout::{NEXT_REQUEST_FILE, REQUEST_FILE, RESPONSE_BODY_FILE, TASKS};
use super::own_files::lies_in_store;
use super::{FileStore, atomic, bounded_file};
use crate::error::{Error, Result, printable};
use crate::model::{RequestCheck, Task};
use crate::sha256::{sha256_bytes, sha256_file, sha256_open};

/// Returns whether the request of a task is the copy that the store keeps.
pub(super) fn is_own(task: &Task) -> bool {
    is_in_task(&task.request_path, task.id.as_str(), REQUEST_FILE)
}

/// Returns whether `path` is that of the file `name` of the task `id`, in this store or where the store was
/// before.
pub(super) fn is_in_task(path: &str, id: &str, name: &str) -> bool {
    let dir = path.strip_suffix(name).and_then(|path| path.strip_suffix('/'));
    dir.and_then(|dir| dir.strip_suffix(id)).is_some_and(|tasks| tasks.ends_with(&format!("/{TASKS}/")))
}

/// Points the paths of files that the store keeps for a task into `dir`, since the store may have been moved
/// or copied, or reached by another path.
pub(super) fn set_current_paths(task: &mut Task, dir: &Path) {
    let id = task.id.as_str();
    for (path, name) in
        [(&mut task.request_path, REQUEST_FILE), (&mut task.response_path, RESPONSE_BODY_FILE)]
    {
        if is_in_task(path, id, name) {
            *path = dir.join(name).to_string_lossy().into_owned();
        }
    }
}

fn open_own(dir: &Dir, name: &str) -> rustix::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty()).map(File::from)
}

/// Returns whether an edit has committed its copy of the request and not renamed it yet.
pub(super) fn is_next(dir: &Dir, task: &Task) -> bool {
    let found = open_own(dir, NEXT_REQUEST_FILE).map_err(Into::into).and_then(sha256_open);
    found.is_ok_and(|sha256| sha256 == task.request_sha256)
}

/// Returns the name under which the store's own copy of the request is found now.
pub(super) fn own_name(dir: &Dir, task: &Task) -> &'static str {
    if is_next(dir, task) { NEXT_REQUEST_FILE } else { REQUEST_FILE }
}

/// Puts the copy of an edit in the place of the old one.
pub(super) fn publish_next(dir: &Dir) -> Result<()> {
    atomic::rename_derived(dir, NEXT_REQUEST_FILE, dir, REQUEST_FILE)
}

/// The state of a request file.
enum RequestState {
    /// The request, or something else in its place.
    Whole(RequestCheck),
    /// A part of the store's own copy.
    Torn,
    /// The copy of an edit that has not taken the place of the old one.
    Next,
}

fn inspect(root: &Path, dir: &Dir, task: &Task) -> Result<RequestState> {
    let is_own = is_own(task);
    if !is_own && is_in_store(root, task.request_path.as_ref()) {
        return Ok(RequestState::Whole(RequestCheck::Unreadable(IN_STORE.to_string())));
    }
    let found = match is_own {
        true => open_own(dir, REQUEST_FILE).map_err(Into::into).and_then(sha256_open),
        false => sha256_file(task.request_path.as_ref()),
    };
    Ok(RequestState::Whole(match found {
        Ok(sha256) if sha256 == task.request_sha256 => RequestCheck::Same,
        _ if is_own && is_next(dir, task) => return Ok(RequestState::Next),
        Ok(_) if is_own && is_torn(dir, task) => return Ok(RequestState::Torn),
        Ok(sha256) => RequestCheck::Changed(sha256),
        Err(error) => match Error::io("read the request", &task.request_path, error) {
            // A process without free descriptors learns nothing about the file.
            error if bounded_file::is_transient(&error) => return Err(error),
            error if is_unreadable(&error) => RequestCheck::Unreadable(error.cause().unwrap_or_default()),
            _ => RequestCheck::Missing,
        },
    }))
}

/// Why a file of the store is not read as a request.
const IN_STORE: &str = "it lies in the state directory and is not the task's own";

/// Returns whether the path of a request leads into the store; it may have changed its target since the submit.
fn is_in_store(root: &Path, path: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    lies_in_store(&real(root), &real(path)).unwrap_or(true)
}

/// Returns whether an error leaves the content of the file unknown.
fn is_unreadable(error: &Error) -> bool {
    let numbers = [Errno::ACCESS, Errno::PERM, Errno::IO].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|number| numbers.contains(&number))
}

/// Returns whether part of the store's own copy was lost, and task.json contains all of it.
fn is_torn(dir: &Dir, task: &Task) -> bool {
    let prompt = task.spec.prompt.as_bytes();
    let found = || {
        let mut found = Vec::new();
        open_own(dir, REQUEST_FILE)?.take(prompt.len() as u64 + 1).read_to_end(&mut found).map(|_| found)
    };
    sha256_bytes(prompt) == task.request_sha256 && found().is_ok_and(|found| is_part(&found, prompt))
}

/// Returns whether `found` is what a power cut may leave of `whole`: a beginning of it, with zeros for blocks that
/// were not written.
pub(super) fn is_part(found: &[u8], whole: &[u8]) -> bool {
    found.len() <= whole.len() && found.iter().zip(whole).all(|(is, was)| is == was || *is == 0)
}

impl FileStore {
    pub(crate) fn with_current_paths(&self, mut task: Task) -> Task {
        let dir = self.layout.tasks.path().join(task.id.as_str());
        set_current_paths(&mut task, &dir);
        task
    }

    /// Checks the request of the task in `dir`. A torn copy that the store can restore counts as unchanged.
    pub(super) fn check_request(&self, dir: &Dir, task: &Task) -> Result<RequestCheck> {
        Ok(match inspect(self.layout.root.path(), dir, task)? {
            RequestState::Whole(check) => check,
            RequestState::Torn | RequestState::Next => RequestCheck::Same,
        })
    }

    /// Checks the request of the task in `dir`, and restores it if part of it was lost or an edit was cut short.
    pub(super) fn check_and_restore_request(&self, dir: &Dir, task: &Task) -> Result<RequestCheck> {
        match inspect(self.layout.root.path(), dir, task)? {
            RequestState::Whole(check) => Ok(check),
            RequestState::Next => {
                publish_next(dir)?;
                atomic::sync_dir(dir)?;
                Ok(RequestCheck::Same)
            }
            RequestState::Torn => {
                atomic::replace_durably(&self.layout.tmp()?, dir, REQUEST_FILE, task.spec.prompt.as_bytes())?;
                self.check_request(dir, task)
            }
        }
    }

    /// Returns whether the response of a task belongs outside the workspace, by the text of its path. The target
    /// of the path is checked on delivery.
    pub(super) fn responds_outside_workspace(&self, id: &str, response_path: &str) -> bool {
        let path = Path::new(response_path);
        let climbs = path.components().any(|part| part == Component::ParentDir);
        let is_outside = |root: &PathBuf| climbs || !path.starts_with(root);
        !is_in_task(response_path, id, RESPONSE_BODY_FILE)
            && self.options.workspace_root.as_ref().is_some_and(is_outside)
    }

    /// Returns whether the path of a request is a file of this store other than the task's own copy.
    pub(super) fn requests_store_file(&self, id: &str, request_path: &str) -> bool {
        !is_in_task(request_path, id, REQUEST_FILE)
            && Path::new(request_path).starts_with(self.layout.root.path())
    }

    /// Refuses the path of a request that leads into the store.
    pub(super) fn check_request_path(&self, path: &str) -> Result<()> {
        if is_in_store(self.layout.root.path(), path.as_ref()) {
            return Err(Error::refused(format!("cannot read the request {}: {IN_STORE}", printable(path)))
                .with_hint("submit the task again with a copy of that file"));
        }
        Ok(())
    }
}

impl FileStore {
    /// Returns the state of a task's request file.
    fn request_state(&self, task: &Task) -> RequestCheck {
        let checked = self.task_dir(&task.id).and_then(|dir| self.check_request(&dir, task));
        checked.unwrap_or(RequestCheck::Missing)
    }

    /// Opens the copy of the request that the store keeps for a task.
    fn open_stored_request(&self, task: &Task) -> Result<Option<File>> {
        let dir = self.task_dir(&task.id)?;
        if !is_own(task) {
            return Ok(None);
        }
        let file = open_own(&dir, own_name(&dir, task))
            .map_err(|errno| Error::io("open", &task.request_path, errno))?;
        Ok(Some(file))
    }

    /// Reads the text of the request of a task.
    fn read_request(&self, task: &Task) -> Result<String> {
        let cannot = |why: &str| {
            Error::refused(format!("the request of {} cannot be sent: {why}", task.id))
                .with_hint(format!("it is {} on the machine of the store", printable(&task.request_path)))
        };
        let file = match self.open_stored_request(task)? {
            Some(file) => file,
            None => {
                self.check_request_path(&task.request_path)?;
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let opened = rustix::fs::open(&task.request_path, flags, Mode::empty());
                opened.map(File::from).map_err(|errno| Error::io("open", &task.request_path, errno))?
            }
        };
        let is_regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
        if !is_regular {
            return Err(cannot("it is not a regular file"));
        }
        let mut bytes = Vec::new();
        let read = file.take(MAX_SENT_REQUEST + 1).read_to_end(&mut bytes);
        read.map_err(|error| Error::io("read the request", &task.request_path, error))?;
        if bytes.len() as u64 > MAX_SENT_REQUEST {
            return Err(cannot("it is larger than 8 MiB"));
        }
        if sha256_bytes(&bytes) != task.request_sha256 {
            return Err(cannot("it has changed since the submit"));
        }
        String::from_utf8(bytes).map_err(|_| cannot("it is not UTF-8 text"))
    }
}

impl Blobs<'_> {
    /// Returns the state of a task's request file.
    pub fn request_check(&self, task: &Task) -> RequestCheck {
        match self.0 {
            BlobPlace::Files(files) => files.request_state(task),
            #[cfg(feature = "remote")]
            BlobPlace::Server(server) => server.request_check(task),
        }
    }

    /// Opens the copy of the request that the store keeps for a task; `None` when the request is a person's
    /// file.
    ///
    /// # Errors
    /// `Io` when it cannot be opened, for example because a symbolic link replaces it; `NotFound`.
    pub fn stored_request(&self, task: &Task) -> Result<Option<File>> {
        match self.0 {
            BlobPlace::Files(files) => files.open_stored_request(task),
            #[cfg(feature = "remote")]
            BlobPlace::Server(server) => server.stored_request(task),
        }
    }

    /// Returns the text of the request of a task, wherever it lies.
    ///
    /// # Errors
    /// `Refused` when it is not what was submitted, is too large to be sent, or is not text; `Io`; `NotFound`.
    pub(crate) fn request_text(&self, task: &Task) -> Result<String> {
        match self.0 {
            BlobPlace::Files(files) => files.read_request(task),
            #[cfg(feature = "remote")]
            BlobPlace::Server(server) => server.request_text(task),
        }
    }
}

/// The size of a request that is sent to another machine, in bytes.
const MAX_SENT_REQUEST: u64 = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::{is_in_task, is_part};

    #[test]
    fn files_of_a_task_are_known_wherever_its_store_was() {
        for path in ["/s/tasks/ID/request.md", "/tasks/ID/request.md"] {
            assert!(is_in_task(path, "ID", "request.md"), "{path}");
        }
        for path in
            ["/s/tasks/OTHER/request.md", "/s/ID/request.md", "/xtasks/ID/request.md", "request.md", ""]
        {
            assert!(!is_in_task(path, "ID", "request.md"), "{path}");
        }
    }

    #[test]
    fn remains_of_a_power_cut_are_distinguished_from_edits() {
        for found in ["", "do", "do it", "\0\0\0\0\0", "do\0\0\0", "\0o"] {
            assert!(is_part(found.as_bytes(), b"do it"), "{found:?}");
        }
        for found in ["do it now", "to it", "d it", "\n"] {
            assert!(!is_part(found.as_bytes(), b"do it"), "{found:?}");
        }
    }
}
