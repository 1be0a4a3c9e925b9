//! What can be wrong with one task.

use std::ffi::OsStr;

use rustix::fs::FileType;

use super::Checker;
use super::events_check::{events, whole_event_lines};
use super::expected::{Expected, ExpectedOfTask};
use super::fault::{Fault, Repair, TaskCheck};
use super::report::Severity;
use crate::digest::sha256_bytes;
use crate::error::{Error, ErrorKind, Result, printable};
use crate::model::{Response, Task, TaskId, TaskText, json};
use crate::store::dir::Dir;
use crate::store::layout::{EVENTS_FILE, REQUEST_FILE, RESPONSE_FILE, TASK_FILE};
use crate::store::lock::TaskLock;
use crate::store::request_file::is_own;
use crate::store::task_files::is_pending_response_name;
use crate::store::{atomic, bounded_file, history, task_files};

const LOST: &str = "the task has ended and its answer is gone";

/// The faults that cannot come from a change under way.
const LASTING: [&str; 2] = [MODE, PATH];
const MODE: &str = "mode";
const PATH: &str = "path-refused";

impl Checker<'_> {
    /// Checks one entry of the task directory.
    pub(crate) fn entry(&mut self, name: &OsStr, kind: FileType, expected: &mut Expected) -> Result<()> {
        let id = name.to_str().and_then(|name| TaskId::parse(name).ok());
        let Some(id) = id.filter(|_| kind == FileType::Directory) else {
            return self.no_task(name, kind);
        };
        let Some(dir) = self.store.layout.task(&id)? else {
            return Ok(());
        };
        let mut look = self.look(&dir, &id)?;
        if look.faults.iter().any(|fault| !LASTING.contains(&fault.code)) {
            look = self.under_locks(dir, &id)?;
        } else {
            for fault in &look.faults {
                self.report_fault(&dir, fault, false);
            }
        }
        if let Some(task) = look.task {
            // What was read once is read again in the form that facts come from.
            let text = json::to_line(&task.to_object());
            if let Ok(found) = TaskText::read(text.as_bytes(), ExpectedOfTask::of) {
                expected.add(found);
            }
        }
        Ok(())
    }

    fn look(&self, dir: &Dir, id: &TaskId) -> Result<TaskCheck> {
        let mut look = look(dir, id)?;
        let Some(task) = look.task.take() else { return Ok(look) };
        let mut fault = |what: &str, path: &str| {
            let message = format!("{what}: {}", printable(path));
            look.fault(PATH, Severity::Leftover, TASK_FILE, message, Repair::Refuse);
        };
        if self.store.responds_outside_workspace(id.as_str(), &task.response_path) {
            fault("its response_path is outside workspace_root", &task.response_path);
        }
        if self.store.requests_store_file(id.as_str(), &task.request_path) {
            fault("its request_path is a file of the store", &task.request_path);
        }
        look.task = Some(task);
        Ok(look)
    }

    fn no_task(&mut self, name: &OsStr, kind: FileType) -> Result<()> {
        let store = self.store;
        let tasks = &store.layout.tasks;
        let what = match kind {
            FileType::Symlink => "a symbolic link",
            FileType::Directory => "a directory whose name is no task id",
            FileType::RegularFile => "a file",
            _ => "a special file",
        };
        let repaired = self.attempt(|check| check.set_aside(tasks, name))?;
        let message = format!("{what} stands among the tasks");
        let path = tasks.path().join(name);
        let severity = Severity::Damage;
        self.found("not-a-task", severity, path, message, Repair::SetAside.describe(), repaired);
        Ok(())
    }

    /// Looks again with everybody else kept out, reports, and repairs.
    fn under_locks(&mut self, dir: Dir, id: &TaskId) -> Result<TaskCheck> {
        let store = self.store;
        let _task = TaskLock::acquire(&dir, store.options.lock_timeout)?;
        let _store = match store.lock_store() {
            Ok(lock) => Some(lock),
            // A store that cannot be written can still be checked.
            Err(error) if !self.repair && error.kind() == ErrorKind::Io => None,
            Err(error) => return Err(error),
        };
        // Removed while we waited: as if it had never been listed.
        let Some(dir) = store.layout.task(id)? else {
            return Ok(TaskCheck::default());
        };
        let look = self.look(&dir, id)?;
        let (mut gone, mut failed) = (false, false);
        for fault in &look.faults {
            let has_repair =
                !matches!(fault.repair, Repair::Nothing | Repair::Collect | Repair::Close | Repair::Refuse);
            // What is mended builds on what was mended before.
            let repaired = has_repair
                && !failed
                && (gone || self.attempt(|check| check.repair_fault(&dir, id, &look, fault))?);
            failed |= self.repair && has_repair && !repaired;
            gone |= repaired && fault.repair == Repair::SetTaskAside;
            let path =
                if fault.file.is_empty() { dir.path().to_path_buf() } else { dir.path().join(&fault.file) };
            self.found(fault.code, fault.severity, path, &fault.message, fault.repair.describe(), repaired);
        }
        if self.repair && !gone && !look.faults.is_empty() {
            atomic::sync_dir(&dir)?;
        }
        Ok(look)
    }

    fn report_fault(&mut self, dir: &Dir, fault: &Fault, repaired: bool) {
        let path = match fault.file.as_str() {
            "" => dir.path().to_path_buf(),
            file => dir.path().join(file),
        };
        self.found(fault.code, fault.severity, path, &fault.message, fault.repair.describe(), repaired);
    }

    fn repair_fault(&mut self, dir: &Dir, id: &TaskId, look: &TaskCheck, fault: &Fault) -> Result<()> {
        let store = self.store;
        let file = OsStr::new(&fault.file);
        match (fault.repair, &look.task) {
            (Repair::SetTaskAside, _) => self.set_aside(&store.layout.tasks, OsStr::new(id.as_str())),
            (Repair::SetAside, _) => self.set_aside(dir, file),
            (Repair::Remove, _) => atomic::remove_tree(dir, &fault.file),
            (Repair::RenameResponse, _) => atomic::rename_derived(dir, &fault.file, dir, RESPONSE_FILE),
            (Repair::WriteResponse, Some(task)) => self.write_response(dir, task),
            (Repair::ReplaceResponse, Some(task)) => {
                self.set_aside(dir, file)?;
                self.write_response(dir, task)
            }
            (Repair::ReplaceEvents, Some(task)) => {
                self.set_aside(dir, file)?;
                history::append(dir, task)?;
                history::sync(dir)
            }
            (Repair::RestoreRequest, Some(task)) => {
                if dir.entries()?.iter().any(|(name, _)| name == file) {
                    self.set_aside(dir, file)?;
                }
                let text = task.spec.prompt.as_bytes();
                atomic::replace_durably(&store.layout.tmp()?, dir, REQUEST_FILE, text)
            }
            (Repair::CompleteEvents, Some(task)) => {
                history::append(dir, task)?;
                history::sync(dir)
            }
            (Repair::RewriteEvents, Some(task)) => {
                let whole = whole_event_lines(dir, task)?;
                self.copy_aside(dir, &fault.file)?;
                atomic::replace_durably(&store.layout.tmp()?, dir, EVENTS_FILE, &whole)?;
                history::append(dir, task)?;
                history::sync(dir)
            }
            (Repair::Nothing | Repair::Collect | Repair::Close | Repair::Refuse, _) | (_, None) => Ok(()),
        }
    }

    fn write_response(&self, dir: &Dir, task: &Task) -> Result<()> {
        let Some(response) = &task.journal.response else { return Ok(()) };
        let text = json::to_text(&response.to_object());
        atomic::replace_durably(&self.store.layout.tmp()?, dir, RESPONSE_FILE, text.as_bytes())
    }
}

fn look(dir: &Dir, id: &TaskId) -> Result<TaskCheck> {
    let mut look = TaskCheck::default();
    let entries = dir.entries()?;
    let has = |name: &str| entries.iter().any(|(entry, _)| entry == name);
    match task_files::task(dir, id) {
        Ok(Some(loaded)) => look.task = Some(loaded.task),
        Ok(None) => {
            let message = "the directory holds no task.json";
            look.fault("task-missing", Severity::Damage, "", message, Repair::SetTaskAside);
        }
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            let message = error.message();
            look.fault("task-unreadable", Severity::Damage, TASK_FILE, message, Repair::SetTaskAside);
        }
        Err(error) => {
            look.fault("task-unreadable", Severity::Damage, TASK_FILE, error.message(), Repair::Nothing);
        }
    }
    if dir.is_open_to_others()? {
        look.fault(MODE, Severity::Leftover, "", "other users may look into it", Repair::Close);
    }
    let Some(task) = look.task.take() else {
        return Ok(look);
    };
    for (name, kind) in &entries {
        entry_in_task(&mut look, name, *kind);
    }
    events(&mut look, dir, &task)?;
    request(&mut look, dir, &task)?;
    response(&mut look, dir, &task, has(RESPONSE_FILE), &entries)?;
    look.task = Some(task);
    Ok(look)
}

fn entry_in_task(look: &mut TaskCheck, name: &OsStr, kind: FileType) {
    let Some(text) = name.to_str() else { return };
    if kind == FileType::Symlink {
        let message = "a symbolic link stands where the store keeps its own files";
        look.fault("link", Severity::Damage, text, message, Repair::SetAside);
    } else if kind == FileType::RegularFile && (text.starts_with('.') || text.ends_with(".tmp")) {
        let message = "a half-written file of a process that ended in the middle";
        look.fault("half-written", Severity::Leftover, text, message, Repair::Remove);
    }
}

/// Looks at the request of an open task that the store keeps itself.
fn request(look: &mut TaskCheck, dir: &Dir, task: &Task) -> Result<()> {
    if task.status.is_terminal() || !is_own(task) {
        return Ok(());
    }
    let can_restore = sha256_bytes(task.spec.prompt.as_bytes()) == task.request_sha256;
    let repair = if can_restore { Repair::RestoreRequest } else { Repair::Nothing };
    let (code, message) = match bounded_file::read(dir, REQUEST_FILE, u64::MAX) {
        Ok(Some(content)) if sha256_bytes(&content.bytes) == task.request_sha256 => return Ok(()),
        Ok(Some(_)) => ("request-changed", "it is not the request that was submitted".to_string()),
        Ok(None) => ("request-missing", "the request of an open task is gone".to_string()),
        Err(error) if error.kind() == ErrorKind::Corrupt => ("request-changed", error.message().to_string()),
        Err(error) => return Err(error),
    };
    match look.faults.iter_mut().find(|fault| fault.file == REQUEST_FILE) {
        Some(link) if can_restore => link.repair = repair,
        Some(_) => {}
        None => look.fault(code, Severity::Damage, REQUEST_FILE, message, repair),
    }
    Ok(())
}

fn response(
    look: &mut TaskCheck,
    dir: &Dir,
    task: &Task,
    has_file: bool,
    entries: &[(std::ffi::OsString, FileType)],
) -> Result<()> {
    let pending =
        entries.iter().filter_map(|(name, _)| name.to_str()).filter(|name| is_pending_response_name(name));
    let mut pending: Vec<&str> = pending.collect();
    let own = task_files::pending_response_name(task.fence);
    let saved = pending.contains(&own.as_str()) && readable(dir, &own).is_ok();
    if let Some(link) = look.faults.iter_mut().find(|fault| fault.file == RESPONSE_FILE) {
        if task.status.is_terminal() && task.journal.response.is_some() {
            link.repair = Repair::ReplaceResponse;
        } else if task.status.is_terminal() && !saved {
            look.fault("response-lost", Severity::Damage, RESPONSE_FILE, LOST, Repair::Collect);
        }
        return Ok(());
    }
    if !task.status.is_terminal() {
        if has_file {
            let message = "an answer that never counted: the task is still open";
            look.fault("response-early", Severity::Leftover, RESPONSE_FILE, message, Repair::SetAside);
        }
    } else if let Some(expected) = &task.journal.response {
        if !has_file {
            let message = "the answer is in task.json but not copied to it";
            look.fault("response-missing", Severity::Leftover, RESPONSE_FILE, message, Repair::WriteResponse);
        } else if let Some(why) = differs(dir, expected) {
            let (code, message) = why;
            look.fault(code, Severity::Damage, RESPONSE_FILE, message, Repair::ReplaceResponse);
        }
    } else {
        match has_file.then(|| readable(dir, RESPONSE_FILE)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                let message = error.message();
                look.fault("response-unreadable", Severity::Damage, RESPONSE_FILE, message, Repair::SetAside);
            }
            None => {}
        }
        if !saved && !matches!(has_file.then(|| readable(dir, RESPONSE_FILE)), Some(Ok(_))) {
            look.fault("response-lost", Severity::Damage, RESPONSE_FILE, LOST, Repair::Collect);
        }
        if saved && !matches!(has_file.then(|| readable(dir, RESPONSE_FILE)), Some(Ok(_))) {
            let message = "the answer still has the name it was staged under";
            look.fault("response-staged", Severity::Leftover, &own, message, Repair::RenameResponse);
            pending.retain(|name| *name != own);
        }
    }
    for name in pending {
        let message = "an answer whose respond ended before it counted";
        look.fault("response-abandoned", Severity::Leftover, name, message, Repair::Remove);
    }
    Ok(())
}

fn readable(dir: &Dir, name: &str) -> Result<Response> {
    let broken = |why: String| {
        let path = dir.path().join(name);
        Error::corrupt(format!(
            "{} is not a response: {}",
            printable(&path.to_string_lossy()),
            printable(&why)
        ))
    };
    let content = bounded_file::read(dir, name, u64::MAX)?.ok_or_else(|| broken("it is gone".to_string()))?;
    Response::parse(&content.bytes).map_err(broken)
}

/// How response.json differs from the answer that task.json carries.
fn differs(dir: &Dir, expected: &Response) -> Option<(&'static str, String)> {
    let text = json::to_text(&expected.to_object());
    if let Ok(Some(content)) = bounded_file::read(dir, RESPONSE_FILE, text.len() as u64)
        && content.bytes == text.as_bytes()
    {
        return None;
    }
    match readable(dir, RESPONSE_FILE) {
        Ok(response) if response == *expected => None,
        Ok(_) => Some(("response-differs", "it is not the answer that task.json carries".to_string())),
        Err(error) => Some(("response-unreadable", error.message().to_string())),
    }
}
