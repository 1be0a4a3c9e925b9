//! The fast check of one task, which passes only tasks that are certainly sound.
//!
//! Nearly every task is. The check in `task_check.rs` reports what is wrong and repairs it; this one checks
//! the same with few system calls and without copying, and leaves everything unusual to the other. So it may
//! be stricter than that one, never more lenient.

use std::ffi::OsStr;
use std::mem::MaybeUninit;

use rustix::fs::{FileType, RawDir};

use super::expected::TaskExpectations;
use crate::model::json::raw::{Raw, members, same_text};
use crate::model::{Response, TaskId, TaskText};
use crate::sha256::sha256_bytes;
use crate::store::FileStore;
use crate::store::dir::Dir;
use crate::store::layout::{EVENTS_FILE, NEXT_REQUEST_FILE, REQUEST_FILE, RESPONSE_FILE, TASK_FILE};
use crate::store::request_file::is_in_task;
use crate::store::scan::FastReader;
use crate::store::task_files::is_pending_response_name;

/// The buffers of one thread: a reader for task.json, one for the other files, and one for names.
pub(crate) struct FastChecker {
    task: FastReader,
    other: FastReader,
    names: Vec<MaybeUninit<u8>>,
}

impl FastChecker {
    pub(crate) fn new() -> Self {
        Self { task: FastReader::new(), other: FastReader::new(), names: vec![MaybeUninit::uninit(); 8192] }
    }

    /// Returns what derived data must contain for a sound task; `None` when something may be wrong with it.
    pub(crate) fn expected_if_sound(
        &mut self,
        store: &FileStore,
        name: &OsStr,
        kind: FileType,
    ) -> Option<TaskExpectations> {
        let id = TaskId::parse(name.to_str()?).ok().filter(|_| kind == FileType::Directory)?;
        let dir = store.layout.task(&id).ok()??;
        if dir.is_open_to_others().ok()? {
            return None;
        }
        let has_response = self.files(&dir)?;
        let text = std::str::from_utf8(self.task.read_small(&dir, "", TASK_FILE)?).ok()?;
        let task = TaskText::parse(text)?.ok().filter(|task| task.id == id)?;
        let marks = task.bookkeeping_excerpt();
        let newest = newest_event(self.other.read_small(&dir, "", EVENTS_FILE)?)?;
        let is_recorded = (marks.newest_event..=marks.last_event.max(marks.newest_event)).contains(&newest);
        if !is_recorded || has_response != task.is_terminal() {
            return None;
        }
        let (request, sha256) = task.request();
        let request = request.decode();
        if store.requests_store_file(id.as_str(), &request)
            || store.responds_outside_workspace(id.as_str(), &task.response_path().decode())
        {
            return None;
        }
        if !has_response && is_in_task(&request, id.as_str(), REQUEST_FILE) {
            let content = self.other.read_small(&dir, "", REQUEST_FILE)?;
            Some(sha256_bytes(content)).filter(|found| sha256.is(found.as_str()))?;
        }
        if has_response {
            let text = std::str::from_utf8(self.other.read_small(&dir, "", RESPONSE_FILE)?).ok()?;
            let answer = match marks.response {
                Some(kept) => Some(kept).filter(|kept| same_text(*kept, text)),
                None => members(text, |_, _| {}).map(|()| Raw::from_valid(text.trim_ascii())),
            };
            answer.filter(|answer| Response::is_valid(*answer))?;
        }
        Some(TaskExpectations::of(&task))
    }

    /// Returns whether there is a response next to task.json and the history; `None` when something needs a
    /// closer look.
    fn files(&mut self, dir: &Dir) -> Option<bool> {
        let (mut has_task, mut has_events, mut has_response) = (false, false, false);
        let mut entries = RawDir::new(dir, &mut self.names);
        while let Some(entry) = entries.next() {
            let entry = entry.ok()?;
            let (name, kind) = (entry.file_name().to_str().ok()?, entry.file_type());
            let seen = match name {
                "." | ".." => continue,
                TASK_FILE => &mut has_task,
                EVENTS_FILE => &mut has_events,
                RESPONSE_FILE => &mut has_response,
                NEXT_REQUEST_FILE => return None,
                _ => {
                    let is_plain =
                        !name.starts_with('.') && !name.ends_with(".tmp") && !is_pending_response_name(name);
                    if is_plain && matches!(kind, FileType::RegularFile | FileType::Directory) {
                        continue;
                    }
                    return None;
                }
            };
            *seen = kind == FileType::RegularFile;
            if !*seen {
                return None;
            }
        }
        (has_task && has_events).then_some(has_response)
    }
}

/// Returns the number of the newest event, if every line is complete and none is missing.
fn newest_event(history: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(history).ok()?;
    let mut newest = 0_u64;
    for line in text.split_inclusive('\n') {
        let mut number = 0;
        members(line.strip_suffix('\n')?, |key, raw| {
            if key == "n" {
                number = raw.integer().unwrap_or(u64::MAX);
            }
        })?;
        if number > newest.saturating_add(1) {
            return None;
        }
        newest = newest.max(number);
    }
    Some(newest)
}
