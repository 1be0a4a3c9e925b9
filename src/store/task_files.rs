//! The files of a task's directory that hold the task and its response, read without a lock.

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::bounded_file::{self, FileContent};
use super::dir::Dir;
use super::layout::{RESPONSE_FILE, TASK_FILE};
use super::request_file;
use crate::error::{Error, ErrorKind, Result, printable};
use crate::model::{Response, Sha256, Task, TaskId, TaskText};
use crate::sha256::sha256_bytes;

/// The largest task.json read, in bytes.
pub(super) const MAX_TASK_FILE: u64 = 32 * 1024 * 1024;

/// The largest response.json read, in bytes: the largest body with every character escaped.
const MAX_RESPONSE_FILE: u64 = 640 * 1024 * 1024;

/// A task as it was read, and what identifies that version of its file.
pub(super) struct LoadedTask {
    pub(super) task: Task,
    content: FileContent,
}

impl LoadedTask {
    /// Returns a hash of the content that was read.
    pub(super) fn sha256(&self) -> Sha256 {
        sha256_bytes(&self.content.bytes)
    }

    /// Returns whether task.json is still the file that was read.
    pub(super) fn is_current(&self, dir: &Dir) -> Result<bool> {
        match rustix::fs::statat(dir, TASK_FILE, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(now) => {
                let then = &self.content.stat;
                Ok((now.st_dev, now.st_ino, now.st_size, now.st_mtime, now.st_mtime_nsec)
                    == (then.st_dev, then.st_ino, then.st_size, then.st_mtime, then.st_mtime_nsec))
            }
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(Error::io("read", dir.path().join(TASK_FILE), errno)),
        }
    }
}

/// Reads the task in `dir`; `None` when it has no task.json.
pub(super) fn task(dir: &Dir, id: &TaskId) -> Result<Option<LoadedTask>> {
    let Some(content) = bounded_file::read(dir, TASK_FILE, MAX_TASK_FILE)? else { return Ok(None) };
    let mut task = parse(&content.bytes, dir, id, |task| task.to_task())?;
    request_file::set_current_paths(&mut task, dir.path());
    Ok(Some(LoadedTask { task, content }))
}

/// Returns what `extract` returns for the task in `dir`; `None` when it has no task.json.
pub(super) fn with_task<T>(
    dir: &Dir,
    id: &TaskId,
    extract: impl Fn(&TaskText<'_>) -> T,
) -> Result<Option<T>> {
    let Some(content) = bounded_file::read(dir, TASK_FILE, MAX_TASK_FILE)? else { return Ok(None) };
    parse(&content.bytes, dir, id, extract).map(Some)
}

fn parse<T>(bytes: &[u8], dir: &Dir, id: &TaskId, extract: impl Fn(&TaskText<'_>) -> T) -> Result<T> {
    let of_its_directory = |task: &TaskText<'_>| match task.id == *id {
        true => Ok(extract(task)),
        false => Err(format!("its id is '{}'", task.id)),
    };
    TaskText::read(bytes, of_its_directory).and_then(|seen| seen).map_err(|why| {
        let path = dir.path().join(TASK_FILE);
        Error::corrupt(format!("{} is not a task: {}", printable(&path.to_string_lossy()), printable(&why)))
            .with_hint("`lanes fsck` shows what can be done")
    })
}

/// Returns the name of a large response's file between its writing and the commit.
pub(super) fn pending_response_name(fence: u64) -> String {
    format!("response.{fence}.json")
}

/// Returns whether a file name is `response.<number>.json`.
pub(super) fn is_pending_response_name(name: &str) -> bool {
    name.strip_prefix("response.")
        .and_then(|rest| rest.strip_suffix(".json"))
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Returns the response of a terminal task; `None` when the task is open or its response is missing.
pub(super) fn response(dir: &Dir, task: &Task) -> Result<Option<Response>> {
    if !task.status.is_terminal() {
        return Ok(None);
    }
    if let Some(response) = &task.bookkeeping.response {
        return Ok(Some(response.clone()));
    }
    // A crash between the two renames of a large response leaves it under its first name. The second rename
    // may also happen between the first two reads here.
    let pending = pending_response_name(task.fence);
    let mut unreadable = None;
    for name in [RESPONSE_FILE, pending.as_str(), RESPONSE_FILE] {
        match response_file(dir, name) {
            Ok(None) => {}
            // A file that blocks the second rename must not hide the response.
            Err(error) if error.kind() == ErrorKind::Corrupt => unreadable = Some(error),
            found => return found,
        }
    }
    unreadable.map_or(Ok(None), Err)
}

fn response_file(dir: &Dir, name: &str) -> Result<Option<Response>> {
    let Some(content) = bounded_file::read(dir, name, MAX_RESPONSE_FILE)? else { return Ok(None) };
    let broken = |why: String| {
        let path = dir.path().join(name);
        Error::corrupt(format!(
            "{} is not a response: {}",
            printable(&path.to_string_lossy()),
            printable(&why)
        ))
    };
    Response::parse(&content.bytes).map(Some).map_err(broken)
}
