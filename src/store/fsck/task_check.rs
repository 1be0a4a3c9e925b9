//! Checks one task and repairs it.

use std::ffi::OsStr;

use rustix::fs::FileType;

use super::Checker;
use super::events_check::{check_events, whole_event_lines};
use super::expected::{StoreExpectations, TaskExpectations};
use super::fault::{Fault, Repair, TaskCheck};
use super::report::Severity;
use crate::error::{Error, ErrorKind, Result, printable};
use crate::model::{Response, Task, TaskId, TaskText, json};
use crate::sha256::sha256_bytes;
use crate::store::dir::Dir;
use crate::store::layout::{EVENTS_FILE, NEXT_REQUEST_FILE, REQUEST_FILE, RESPONSE_FILE, TASK_FILE};
use crate::store::lock::TaskLock;
use crate::store::request_file::{self, is_next, is_own};
use crate::store::task_files::is_pending_response_name;
use crate::store::{atomic, bounded_file, history, task_files};

const LOST: &str = "the task has ended and its answer is gone";

/// The faults that cannot come from a change in progress.
const PERMANENT_FAULTS: [&str; 2] = [MODE, PATH];
const MODE: &str = "mode";
const PATH: &str = "path-refused";

impl Checker<'_> {
    /// Checks one entry of the task directory.
    pub(crate) fn check_entry(
        &mut self,
        name: &OsStr,
        kind: FileType,
        expected: &mut StoreExpectations,
    ) -> Result<()> {
        let id = name.to_str().and_then(|name| TaskId::parse(name).ok());
        let Some(id) = id.filter(|_| kind == FileType::Directory) else {
            return self.report_foreign_entry(name, kind);
        };
        let Some(dir) = self.store.layout.task(&id)? else {
            return Ok(());
        };
        let mut check = self.check_task(&dir, &id)?;
        if check.faults.iter().any(|fault| !PERMANENT_FAULTS.contains(&fault.code)) {
            check = self.check_under_locks(dir, &id)?;
        } else {
            for fault in &check.faults {
                self.report_fault(&dir, fault, false);
            }
        }
        if let Some(task) = check.task {
            // A task that was read once is parsed again in the form that expectations are made from.
            let text = json::to_line(&task.to_object());
            if let Ok(found) = TaskText::read(text.as_bytes(), TaskExpectations::of) {
                expected.add(found);
            }
        }
        Ok(())
    }

    fn check_task(&self, dir: &Dir, id: &TaskId) -> Result<TaskCheck> {
        let mut check = check_files(dir, id)?;
        let Some(task) = check.task.take() else { return Ok(check) };
        let mut fault = |what: &str, path: &str| {
            let message = format!("{what}: {}", printable(path));
            check.fault(PATH, Severity::Leftover, TASK_FILE, message, Repair::Refuse);
        };
        if self.store.responds_outside_workspace(id.as_str(), &task.response_path) {
            fault("its response_path is outside workspace_root", &task.response_path);
        }
        if self.store.requests_store_file(id.as_str(), &task.request_path) {
            fault("its request_path is a file of the store", &task.request_path);
        }
        check.task = Some(task);
        Ok(check)
    }

    fn report_foreign_entry(&mut self, name: &OsStr, kind: FileType) -> Result<()> {
        let store = self.store;
        let tasks = &store.layout.tasks;
        let what = match kind {
            FileType::Symlink => "a symbolic link",
            FileType::Directory => "a directory whose name is not a task id",
            FileType::RegularFile => "a file",
            _ => "a special file",
        };
        let repaired = self.try_repair(|checker| checker.move_to_quarantine(tasks, name))?;
        let message = format!("{what} is among the tasks");
        let path = tasks.path().join(name);
        let severity = Severity::Damage;
        self.found("not-a-task", severity, path, message, Repair::SetAside.describe(), repaired);
        Ok(())
    }

    /// Checks the task again with all other processes locked out, reports its faults, and repairs them.
    fn check_under_locks(&mut self, dir: Dir, id: &TaskId) -> Result<TaskCheck> {
        let store = self.store;
        let _task = TaskLock::acquire(&dir, store.options.lock_timeout)?;
        let _store = match store.lock_store() {
            Ok(lock) => Some(lock),
            // A store that is not writable can still be checked.
            Err(error) if !self.repair && error.kind() == ErrorKind::Io => None,
            Err(error) => return Err(error),
        };
        // Removed while this process waited: as if it had never been listed.
        let Some(dir) = store.layout.task(id)? else {
            return Ok(TaskCheck::default());
        };
        let check = self.check_task(&dir, id)?;
        let (mut gone, mut failed) = (false, false);
        for fault in &check.faults {
            let has_repair =
                !matches!(fault.repair, Repair::Nothing | Repair::Collect | Repair::Close | Repair::Refuse);
            // Each repair builds on the ones before it.
            let repaired = has_repair
                && !failed
                && (gone || self.try_repair(|checker| checker.repair_fault(&dir, id, &check, fault))?);
            failed |= self.repair && has_repair && !repaired;
            gone |= repaired && fault.repair == Repair::SetTaskAside;
            let path =
                if fault.file.is_empty() { dir.path().to_path_buf() } else { dir.path().join(&fault.file) };
            self.found(fault.code, fault.severity, path, &fault.message, fault.repair.describe(), repaired);
        }
        if self.repair && !gone && !check.faults.is_empty() {
            atomic::sync_dir(&dir)?;
        }
        Ok(check)
    }

    fn report_fault(&mut self, dir: &Dir, fault: &Fault, repaired: bool) {
        let path = match fault.file.as_str() {
            "" => dir.path().to_path_buf(),
            file => dir.path().join(file),
        };
        self.found(fault.code, fault.severity, path, &fault.message, fault.repair.describe(), repaired);
    }

    fn repair_fault(&mut self, dir: &Dir, id: &TaskId, check: &TaskCheck, fault: &Fault) -> Result<()> {
        let store = self.store;
        let file = OsStr::new(&fault.file);
        match (fault.repair, &check.task) {
            (Repair::SetTaskAside, _) => {
                self.move_to_quarantine(&store.layout.tasks, OsStr::new(id.as_str()))
            }
            (Repair::SetAside, _) => self.move_to_quarantine(dir, file),
            (Repair::Remove, _) => atomic::remove_tree(dir, &fault.file),
            (Repair::RenameResponse, _) => atomic::rename_derived(dir, &fault.file, dir, RESPONSE_FILE),
            (Repair::WriteResponse, Some(task)) => self.write_response(dir, task),
            (Repair::ReplaceResponse, Some(task)) => {
                self.move_to_quarantine(dir, file)?;
                self.write_response(dir, task)
            }
            (Repair::ReplaceEvents, Some(task)) => {
                self.move_to_quarantine(dir, file)?;
                history::append(dir, task)?;
                history::sync(dir)
            }
            (Repair::RenameRequest, _) => request_file::publish_next(dir),
            (Repair::RestoreRequest, Some(task)) => {
                if dir.entries()?.iter().any(|(name, _)| name == file) {
                    self.move_to_quarantine(dir, file)?;
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
                self.copy_to_quarantine(dir, &fault.file)?;
                atomic::replace_durably(&store.layout.tmp()?, dir, EVENTS_FILE, &whole)?;
                history::append(dir, task)?;
                history::sync(dir)
            }
            (Repair::Nothing | Repair::Collect | Repair::Close | Repair::Refuse, _) | (_, None) => Ok(()),
        }
    }

    fn write_response(&self, dir: &Dir, task: &Task) -> Result<()> {
        let Some(response) = &task.bookkeeping.response else { return Ok(()) };
        let text = json::to_text(&response.to_object());
        atomic::replace_durably(&self.store.layout.tmp()?, dir, RESPONSE_FILE, text.as_bytes())
    }
}

fn check_files(dir: &Dir, id: &TaskId) -> Result<TaskCheck> {
    let mut check = TaskCheck::default();
    let entries = dir.entries()?;
    let has = |name: &str| entries.iter().any(|(entry, _)| entry == name);
    match task_files::task(dir, id) {
        Ok(Some(loaded)) => check.task = Some(loaded.task),
        Ok(None) => {
            let message = "the directory holds no task.json";
            check.fault("task-missing", Severity::Damage, "", message, Repair::SetTaskAside);
        }
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            let message = error.message();
            check.fault("task-unreadable", Severity::Damage, TASK_FILE, message, Repair::SetTaskAside);
        }
        Err(error) => {
            check.fault("task-unreadable", Severity::Damage, TASK_FILE, error.message(), Repair::Nothing);
        }
    }
    if dir.is_open_to_others()? {
        check.fault(MODE, Severity::Leftover, "", "other users can read it", Repair::Close);
    }
    let Some(task) = check.task.take() else {
        return Ok(check);
    };
    for (name, kind) in &entries {
        entry_in_task(&mut check, name, *kind);
    }
    check_events(&mut check, dir, &task)?;
    check_request(&mut check, dir, &task, has(NEXT_REQUEST_FILE))?;
    check_response(&mut check, dir, &task, has(RESPONSE_FILE), &entries)?;
    check.task = Some(task);
    Ok(check)
}

fn entry_in_task(check: &mut TaskCheck, name: &OsStr, kind: FileType) {
    let Some(text) = name.to_str() else { return };
    if kind == FileType::Symlink {
        let message = "a symbolic link is where the store keeps its own files";
        check.fault("link", Severity::Damage, text, message, Repair::SetAside);
    } else if kind == FileType::RegularFile && (text.starts_with('.') || text.ends_with(".tmp")) {
        let message = "a partial file of a process that ended while writing it";
        check.fault("half-written", Severity::Leftover, text, message, Repair::Remove);
    }
}

/// Checks the request of an open task if the store keeps it.
fn check_request(check: &mut TaskCheck, dir: &Dir, task: &Task, has_next: bool) -> Result<()> {
    if has_next {
        let (code, message, repair) = if is_own(task) && is_next(dir, task) {
            (
                "request-staged",
                "the edited request still has the name it was staged under",
                Repair::RenameRequest,
            )
        } else {
            ("request-abandoned", "a request whose edit ended before it counted", Repair::Remove)
        };
        check.fault(code, Severity::Leftover, NEXT_REQUEST_FILE, message, repair);
        if repair == Repair::RenameRequest {
            return Ok(());
        }
    }
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
    match check.faults.iter_mut().find(|fault| fault.file == REQUEST_FILE) {
        Some(link) if can_restore => link.repair = repair,
        Some(_) => {}
        None => check.fault(code, Severity::Damage, REQUEST_FILE, message, repair),
    }
    Ok(())
}

fn check_response(
    check: &mut TaskCheck,
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
    if let Some(link) = check.faults.iter_mut().find(|fault| fault.file == RESPONSE_FILE) {
        if task.status.is_terminal() && task.bookkeeping.response.is_some() {
            link.repair = Repair::ReplaceResponse;
        } else if task.status.is_terminal() && !saved {
            check.fault("response-lost", Severity::Damage, RESPONSE_FILE, LOST, Repair::Collect);
        }
        return Ok(());
    }
    if !task.status.is_terminal() {
        if has_file {
            let message = "an answer to a task that is still open";
            check.fault("response-early", Severity::Leftover, RESPONSE_FILE, message, Repair::SetAside);
        }
    } else if let Some(expected) = &task.bookkeeping.response {
        if !has_file {
            let message = "the answer is in task.json but not copied to it";
            check.fault(
                "response-missing",
                Severity::Leftover,
                RESPONSE_FILE,
                message,
                Repair::WriteResponse,
            );
        } else if let Some(why) = differs(dir, expected) {
            let (code, message) = why;
            check.fault(code, Severity::Damage, RESPONSE_FILE, message, Repair::ReplaceResponse);
        }
    } else {
        match has_file.then(|| readable(dir, RESPONSE_FILE)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                let message = error.message();
                check.fault(
                    "response-unreadable",
                    Severity::Damage,
                    RESPONSE_FILE,
                    message,
                    Repair::SetAside,
                );
            }
            None => {}
        }
        if !saved && !matches!(has_file.then(|| readable(dir, RESPONSE_FILE)), Some(Ok(_))) {
            check.fault("response-lost", Severity::Damage, RESPONSE_FILE, LOST, Repair::Collect);
        }
        if saved && !matches!(has_file.then(|| readable(dir, RESPONSE_FILE)), Some(Ok(_))) {
            let message = "the answer still has the name it was staged under";
            check.fault("response-staged", Severity::Leftover, &own, message, Repair::RenameResponse);
            pending.retain(|name| *name != own);
        }
    }
    for name in pending {
        let message = "an answer whose respond ended before it counted";
        check.fault("response-abandoned", Severity::Leftover, name, message, Repair::Remove);
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

/// Returns how response.json differs from the response in task.json, as code and message.
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
