//! Imports tasks from JSON lines.

use std::collections::HashSet;
use std::io::BufRead;

use serde_json::Value;

use super::check::{StateKeys, check};
use super::{MAX_DEPTH, VERSION, decode};
use crate::error::{Error, Result, printable};
use crate::model::json::Object;
use crate::model::{Dependency, Event, LaneName, Response, Task, TaskId, json};
use crate::sha256::sha256_bytes;
use crate::store::atomic::{self, StagedEntry, SyncGroup};
use crate::store::correlation_file::{correlation_content, correlation_name};
use crate::store::dir::Dir;
use crate::store::index::Index;
use crate::store::layout::{EVENTS_FILE, REQUEST_FILE, RESPONSE_BODY_FILE, RESPONSE_FILE, TASK_FILE};
use crate::store::request_file::is_own;
use crate::store::{FileStore, feed, task_files, write_format};

/// How many tasks are made durable together.
const GROUP_SIZE: usize = 32;

/// The total size of the files above which a group ends early, in bytes.
const GROUP_BYTES: usize = 16 * 1024 * 1024;

/// The longest line, in bytes.
const MAX_LINE: u64 = 1024 * 1024 * 1024;

/// The result of [`Store::import`](crate::store::Store::import).
#[derive(Debug, Default)]
pub struct ImportReport {
    /// How many tasks were added.
    pub added: u64,
    /// How many were there already with the same content.
    pub skipped: u64,
    /// The lines that were refused, by their numbers from 1, and why.
    pub refused: Vec<(u64, Error)>,
    /// What differs from the lines, by their numbers from 1.
    pub warnings: Vec<(u64, String)>,
}

/// A task that is being imported.
struct ImportItem {
    line: u64,
    task: Task,
    response: Option<Response>,
    files: Vec<(String, Vec<u8>)>,
    warning: Option<String>,
}

impl FileStore {
    pub(crate) fn import(
        &self,
        input: &mut dyn BufRead,
        progress: &mut dyn FnMut(u64),
    ) -> Result<ImportReport> {
        self.check_writable()?;
        if self.version == 0 {
            write_format(&self.layout)?;
        }
        let mut imported = ImportReport::default();
        let (mut group, mut bytes, mut number) = (Vec::new(), 0, 0);
        // Tasks whose dependencies may come later.
        let mut early = Vec::new();
        loop {
            let line = next_line(input)?;
            let at_end = line.is_none();
            if let Some(line) = line {
                number += 1;
                bytes += line.len();
                if !json::strip_byte_order_mark(&line).trim_ascii().is_empty() {
                    match self.item(number, &line) {
                        Ok(item) if self.missing_dependency(&item, &group)?.is_some() => early.push(item),
                        Ok(item) => group.push(item),
                        Err(error) => imported.refused.push((number, error)),
                    }
                }
            }
            if at_end || group.len() >= GROUP_SIZE || bytes >= GROUP_BYTES {
                self.import_group(std::mem::take(&mut group), &mut imported)?;
                bytes = 0;
                progress(number);
            }
            if at_end {
                self.import_early(early, &mut imported)?;
                imported.refused.sort_by_key(|(line, _)| *line);
                return Ok(imported);
            }
        }
    }

    /// Returns a dependency of an open task that is neither in the store nor in `group`.
    fn missing_dependency(&self, item: &ImportItem, group: &[ImportItem]) -> Result<Option<TaskId>> {
        if !item.task.waits_for_dependencies() {
            return Ok(None);
        }
        for Dependency { task, .. } in &item.task.spec.after {
            if !group.iter().any(|item| item.task.id == *task) && self.layout.task(task)?.is_none() {
                return Ok(Some(task.clone()));
            }
        }
        Ok(None)
    }

    /// Imports the tasks that came before their dependencies. Those whose dependencies did not come are refused: a
    /// circle of tasks that wait for each other cannot be imported.
    fn import_early(&self, mut early: Vec<ImportItem>, imported: &mut ImportReport) -> Result<()> {
        loop {
            let (mut group, mut rest) = (Vec::new(), Vec::new());
            for item in early {
                match self.missing_dependency(&item, &group)? {
                    Some(missing) => rest.push((item, missing)),
                    None => group.push(item),
                }
            }
            if group.is_empty() {
                imported.refused.extend(rest.into_iter().map(|(item, missing)| {
                    let text = format!(
                        "line {}: its dependency {missing} is not in the store, or waits for this task itself",
                        item.line
                    );
                    (item.line, Error::invalid_here(text))
                }));
                return Ok(());
            }
            while !group.is_empty() {
                let rest_of_group = group.split_off(group.len().min(GROUP_SIZE));
                self.import_group(std::mem::replace(&mut group, rest_of_group), imported)?;
            }
            early = rest.into_iter().map(|(item, _)| item).collect();
        }
    }

    /// Parses one line, and points the paths into the old store into this one.
    fn item(&self, line: u64, bytes: &[u8]) -> Result<ImportItem> {
        let wrong = |why: &str| Error::invalid_here(format!("line {line}: {}", printable(why)));
        let mut object = json::parse_line(bytes).map_err(|why| wrong(&why))?;
        if object.get("lanes_export").and_then(Value::as_u64) != Some(VERSION) {
            return Err(wrong("this is not an export line that this version understands"));
        }
        let Some(Value::Object(task)) = object.remove("task") else {
            return Err(wrong("it contains no task"));
        };
        let state_keys = StateKeys::of(&task);
        let task = Task::from_object(task).map_err(|why| wrong(&why))?;
        let response = match object.remove("response") {
            None | Some(Value::Null) => None,
            Some(Value::Object(response)) => {
                let text = json::to_line(&response);
                let broken = |why: String| wrong(&format!("response: {why}"));
                Some(Response::parse(text.as_bytes()).map_err(broken)?)
            }
            Some(_) => return Err(wrong("'response' must be an object")),
        };
        let mut files = Vec::new();
        match object.remove("request") {
            None | Some(Value::Null) => {}
            Some(Value::String(request)) => files.push((REQUEST_FILE.to_string(), request.into_bytes())),
            Some(_) => return Err(wrong("'request' must be text")),
        }
        let others = match object.remove("files") {
            None | Some(Value::Null) => Object::new(),
            Some(Value::Object(others)) => others,
            Some(_) => return Err(wrong("'files' must be an object")),
        };
        for (path, content) in others {
            if !is_safe(&path) || files.iter().any(|(taken, _)| *taken == path) {
                return Err(wrong(&format!("'{path}' cannot be the path of a file")));
            }
            let content = decode(&content).ok_or_else(|| wrong(&format!("'{path}' is not readable")))?;
            files.push((path, content));
        }
        let was_own = is_own(&task);
        let mut task = self.with_current_paths(task);
        let warning = self.keep_answer_inside(&mut task);
        if !task.status.is_terminal() {
            let supporting = task.spec.supporting_paths.iter().map(|file| file.path.as_str());
            for path in supporting.chain([task.request_path.as_str()]) {
                if self.requests_store_file(task.id.as_str(), path) {
                    return Err(wrong(&format!("'{path}' is a file of the store")));
                }
            }
        }
        if files.iter().any(|(path, _)| path == REQUEST_FILE) {
            task.request_path =
                self.spool().task_path(&task.id).join(REQUEST_FILE).to_string_lossy().into_owned();
        }
        if was_own && !task.status.is_terminal() && !files.iter().any(|(path, _)| path == REQUEST_FILE) {
            let is_prompt = sha256_bytes(task.spec.prompt.as_bytes()) == task.request_sha256;
            let prompt = is_prompt.then(|| task.spec.prompt.clone().into_bytes());
            files.push((REQUEST_FILE.to_string(), prompt.ok_or_else(|| wrong("its request is missing"))?));
        }
        let kept = task.to_object();
        files.push((TASK_FILE.to_string(), json::to_text(&kept).into_bytes()));
        let events = event_lines(object.remove("events")).map_err(|error| wrong(error.message()))?;
        files.push((EVENTS_FILE.to_string(), events.into_bytes()));
        check(&task, response.as_ref(), &files, &self.now())
            .and_then(|()| state_keys.check(&kept))
            .map_err(|error| wrong(error.message()))?;
        if let Some(response) = &response {
            files.push((RESPONSE_FILE.to_string(), json::to_text(&response.to_object()).into_bytes()));
        }
        Ok(ImportItem { line, task, response, files, warning })
    }

    /// Keeps a response in the store that the task would have outside the workspace, and returns a warning
    /// about it.
    fn keep_answer_inside(&self, task: &mut Task) -> Option<String> {
        if !self.responds_outside_workspace(task.id.as_str(), &task.response_path) {
            return None;
        }
        let own = self.spool().task_path(&task.id).join(RESPONSE_BODY_FILE);
        let wanted = std::mem::replace(&mut task.response_path, own.to_string_lossy().into_owned());
        Some(format!(
            "the answer of {} stays in the store: its response_path is outside workspace_root: {}",
            task.id,
            printable(&wanted)
        ))
    }

    fn import_group(&self, items: Vec<ImportItem>, imported: &mut ImportReport) -> Result<()> {
        if items.is_empty() {
            return Ok(());
        }
        let index = Index::open(&self.layout)?;
        let tmp = self.layout.tmp()?;
        let mut group = SyncGroup::default();
        let mut staged: Vec<(ImportItem, Result<(StagedEntry<'_>, StagedEntry<'_>)>)> = Vec::new();
        for item in items {
            match self.present(&item) {
                Ok(Some(true)) => imported.skipped += 1,
                Ok(Some(false)) => {
                    imported.refused.push((item.line, exists_with_other_content(&item.task.id)))
                }
                Ok(None) => {
                    let result = stage(&tmp, &item, staged.len(), &mut group);
                    staged.push((item, result));
                }
                Err(error) => imported.refused.push((item.line, error)),
            }
        }
        for (n, error) in group.sync() {
            if let Some((_, result)) = staged.get_mut(n) {
                *result = Err(error);
            }
        }
        let mut lanes: Vec<LaneName> = Vec::new();
        let mut added = 0;
        for (item, result) in staged {
            if !lanes.contains(&item.task.spec.lane) {
                lanes.push(item.task.spec.lane.clone());
            }
            let result =
                result.and_then(|(dir, correlation)| self.add_imported(&index, &item, dir, correlation));
            match result {
                Ok(true) => {
                    added += 1;
                    imported.warnings.extend(item.warning.map(|warning| (item.line, warning)));
                }
                Ok(false) => imported.skipped += 1,
                Err(error) => imported.refused.push((item.line, error)),
            }
        }
        if added > 0 {
            atomic::sync_dir(&self.layout.tasks)?;
            imported.added += added;
        }
        self.ring(&lanes);
        // The tasks are there; what fails now, the next command completes.
        let _ = self.release_if_due();
        Ok(())
    }

    /// Returns whether the task exists already, and if so whether it is the same.
    fn present(&self, item: &ImportItem) -> Result<Option<bool>> {
        let Some(dir) = self.layout.task(&item.task.id)? else { return Ok(None) };
        let Some(loaded) = task_files::task(&dir, &item.task.id)? else { return Ok(Some(false)) };
        let same = loaded.task.to_holder_object() == item.task.to_holder_object()
            && task_files::response(&dir, &loaded.task)? == item.response;
        Ok(Some(same))
    }

    /// Adds a task; `false` when it existed already with the same content.
    fn add_imported(
        &self,
        index: &Index<'_>,
        item: &ImportItem,
        dir: StagedEntry<'_>,
        correlation: StagedEntry<'_>,
    ) -> Result<bool> {
        let task = &item.task;
        let lock = self.lock_store()?;
        let mut state = index.ensure(&lock)?;
        match self.present(item)? {
            Some(true) => return Ok(false),
            Some(false) => return Err(exists_with_other_content(&task.id)),
            None => {}
        }
        if let Some(key) = &task.spec.key
            && index.heal_key(&lock, &task.spec.workspace_id, key)?
        {
            state = index.ensure(&lock)?;
        }
        self.check_key(index, task)?;
        // Not marked as in progress: an interrupted import is noticed by the number of tasks, and its events
        // of long ago must not be published as news.
        dir.publish(&self.layout.tasks, task.id.as_str())?;
        // The task exists from here on; bookkeeping that fails now is completed by the next change.
        let noted = || -> Result<()> {
            let news = Event {
                n: None,
                created_at: self.now().wall,
                kind: "imported".to_string(),
                message: "imported from another store".to_string(),
                data: Object::new(),
            };
            let seq = feed::append(&self.layout.root, task, &[news], state.seq)?;
            if self.is_newer(index.correlation_target(task)?, task) {
                correlation.publish(
                    &index.correlations()?,
                    &correlation_name(&task.spec.workspace_id, &task.spec.correlation_id),
                )?;
            }
            if let (Some(key), None) = (&task.spec.key, &task.retried_as)
                && self.is_newer(index.known_holder(&task.spec.workspace_id, key)?, task)
            {
                index.set_key(task)?;
            }
            index.update(&lock, None, task)?;
            let state = index.add_dependent(&state, task, true)?;
            let state = index.note_keys(&state, task)?;
            let state = index.add_to_group(&state, task)?;
            self.note_due(&state);
            index.finish(&lock, &state, seq, Some(&task.id)).map(drop)
        };
        let _ = noted();
        Ok(true)
    }

    /// Refuses a task whose idempotency key belongs to another one, unless a submit could have made both:
    /// with the same content, and one of them ended.
    fn check_key(&self, index: &Index<'_>, task: &Task) -> Result<()> {
        let Some(key) = task.spec.key.as_ref().filter(|_| task.retried_as.is_none()) else { return Ok(()) };
        let Some(id) = index.known_holder(&task.spec.workspace_id, key)? else { return Ok(()) };
        let Some(holder) = self.scan_one(&id)? else { return Ok(()) };
        let is_retry = task.spec.retry_of.as_deref() == Some(id.as_str())
            || holder.spec.retry_of.as_deref() == Some(task.id.as_str());
        let same = holder.bookkeeping.content_sha256 == task.bookkeeping.content_sha256;
        let ended = holder.status.is_terminal() || task.status.is_terminal();
        if is_retry || (same && ended) {
            return Ok(());
        }
        let what = if same { "is open as well" } else { "has other content" };
        Err(Error::refused(format!(
            "the idempotency key '{}' belongs to {id}, which {what}",
            printable(key.as_str())
        ))
        .with_hint("remove 'idempotency_key' from the line to import it without the key"))
    }

    /// Returns whether `task` was created after the task that a name leads to.
    fn is_newer(&self, holder: Option<TaskId>, task: &Task) -> bool {
        let holder = holder.and_then(|id| self.scan_one(&id).ok().flatten());
        holder.is_none_or(|holder| holder.created_at <= task.created_at)
    }
}

fn exists_with_other_content(id: &TaskId) -> Error {
    Error::refused(format!("{id} is in the store already with other content"))
}

fn stage<'a>(
    tmp: &'a Dir,
    item: &ImportItem,
    n: usize,
    group: &mut SyncGroup,
) -> Result<(StagedEntry<'a>, StagedEntry<'a>)> {
    let files: Vec<(&str, &[u8], bool)> =
        item.files.iter().map(|(path, content)| (path.as_str(), content.as_slice(), true)).collect();
    let dir = StagedEntry::directory_in_group(tmp, &files, n, group)?;
    let correlation = StagedEntry::file_in_group(tmp, correlation_content(&item.task).as_bytes(), n, group)?;
    Ok((dir, correlation))
}

/// Returns whether a path stays inside a task's directory and names neither a hidden nor a reserved file.
fn is_safe(path: &str) -> bool {
    let reserved = [TASK_FILE, EVENTS_FILE, RESPONSE_FILE].contains(&path)
        || (path.starts_with("response.") && path.ends_with(".json"));
    !reserved
        && path.split('/').count() <= MAX_DEPTH
        && path.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.contains('\0'))
}

fn event_lines(events: Option<Value>) -> Result<String> {
    let no_list = || Error::invalid_here("'events' must be a list of objects");
    let events = match events {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(events)) => events,
        Some(_) => return Err(no_list()),
    };
    let (mut lines, mut seen) = (String::new(), HashSet::new());
    for event in &events {
        let event = event.as_object().ok_or_else(no_list)?;
        let line = json::to_ascii_line(event);
        lines.push_str(&line);
        // Other writers write lines without a number, of which two may be equal.
        if event.contains_key("n") && !seen.insert(line) {
            return Err(Error::invalid_here("'events' contains one event twice"));
        }
    }
    Ok(lines)
}

fn next_line(input: &mut dyn BufRead) -> Result<Option<Vec<u8>>> {
    use std::io::Read;
    let mut line = Vec::new();
    let mut bounded = input.take(MAX_LINE);
    bounded.read_until(b'\n', &mut line).map_err(|error| Error::io("read", "the import", error))?;
    if line.len() as u64 == MAX_LINE {
        return Err(Error::invalid_here(format!("a line of the import is longer than {MAX_LINE} bytes")));
    }
    Ok((!line.is_empty()).then_some(line))
}
