//! Exports tasks as JSON lines.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::FileType;
use serde_json::Value;

use super::{MAX_DEPTH, VERSION, encode};
use crate::error::{Error, Result, printable};
use crate::model::json::Object;
use crate::model::task::object;
use crate::model::{Task, TaskId, json};
use crate::store::dir::Dir;
use crate::store::layout::{EVENTS_FILE, NEXT_REQUEST_FILE, REQUEST_FILE, RESPONSE_FILE, TASK_FILE};
use crate::store::task_files::LoadedTask;
use crate::store::{FileStore, bounded_file, request_file, task_files};

/// How often a task that changes while it is read is read again.
const MAX_READS: usize = 100;

impl FileStore {
    pub(crate) fn export(
        &self,
        out: &mut dyn Write,
        keep: &dyn Fn(&Task) -> bool,
        unreadable: &mut dyn FnMut(&str, Error),
        left_out: &mut dyn FnMut(&str),
    ) -> Result<u64> {
        let mut count = 0;
        let mut names = self.layout.tasks.names()?;
        names.sort_unstable();
        for name in names {
            let line = TaskId::parse(&name).and_then(|id| self.export_one(&id, keep));
            match line {
                Ok(Some(line)) => {
                    out.write_all(line.text.as_bytes())
                        .map_err(|error| Error::io("write", "the export", error))?;
                    line.left_out.iter().for_each(|what| left_out(what));
                    count += 1;
                }
                Ok(None) => {}
                Err(error) => unreadable(&name, error),
            }
        }
        Ok(count)
    }

    fn export_one(&self, id: &TaskId, keep: &dyn Fn(&Task) -> bool) -> Result<Option<ExportLine>> {
        for _ in 0..MAX_READS {
            let Some(dir) = self.layout.task(id)? else { return Ok(None) };
            let Some(loaded) = task_files::task(&dir, id)? else {
                return Err(Error::corrupt(format!("{id} has no task.json")));
            };
            if !keep(&loaded.task) {
                return Ok(None);
            }
            let line = match export_line(&dir, &loaded) {
                // A task that is being removed may look damaged.
                Err(_) if self.layout.task(id)?.is_none() => return Ok(None),
                line => line,
            };
            if loaded.is_current(&dir)? {
                return line.map(Some);
            }
        }
        Err(Error::refused(format!("{id} changes faster than it can be read")))
    }
}

/// The export line of one task.
pub(in crate::store) struct ExportLine {
    pub(in crate::store) text: String,
    /// A sentence for each file that it cannot contain.
    pub(in crate::store) left_out: Vec<String>,
}

/// Makes the export line of one task.
///
/// # Errors
/// `Corrupt` when a file is not valid; `Io`.
pub(in crate::store) fn export_line(dir: &Dir, loaded: &LoadedTask) -> Result<ExportLine> {
    let task = &loaded.task;
    let response = task_files::response(dir, task)?.map(|response| Value::Object(response.to_object()));
    if response.is_none() && task.status.is_terminal() {
        let lost = format!("{} has ended and its answer is gone, so that no import would take it", task.id);
        return Err(Error::corrupt(lost).with_hint("`lanes gc` without --archive removes it"));
    }
    let (mut files, mut left_out) = (Object::new(), Vec::new());
    other_files(dir, "", 0, &mut files, &mut left_out)?;
    let next = files.remove(NEXT_REQUEST_FILE).filter(|_| request_file::is_next(dir, task));
    let request = files.remove(REQUEST_FILE);
    let request = next.or(request);
    let text = request.as_ref().and_then(|request| request.get("text")).cloned();
    if let (Some(request), None) = (request, &text) {
        files.insert(REQUEST_FILE.to_string(), request);
    }
    let mut line = object([
        ("lanes_export", VERSION.into()),
        ("task", Value::Object(task.to_object())),
        ("events", events(dir, task)?.into()),
        ("files", Value::Object(files)),
    ]);
    line.insert("response".into(), response.into());
    line.insert("request".into(), text.into());
    Ok(ExportLine { text: json::to_ascii_line(&line), left_out })
}

/// Returns the history with every key of its lines.
fn events(dir: &Dir, task: &Task) -> Result<Vec<Value>> {
    let content = bounded_file::read(dir, EVENTS_FILE, u64::MAX)?;
    let lines = content.iter().flat_map(|content| content.bytes.split(|byte| *byte == b'\n'));
    let mut events: Vec<Object> = lines.filter_map(|line| json::parse_object(line).ok()).collect();
    let numbers = events.iter().filter_map(|event| event.get("n")?.as_u64());
    let newest = numbers.filter(|n| *n <= task.bookkeeping.last_event).max().unwrap_or(0);
    let missing = task.bookkeeping.recent.iter().filter(|event| event.n > Some(newest));
    events.extend(missing.map(|event| event.to_object()));
    Ok(events.into_iter().map(Value::Object).collect())
}

fn other_files(
    dir: &Dir,
    path: &str,
    depth: usize,
    files: &mut Object,
    left_out: &mut Vec<String>,
) -> Result<()> {
    for (name, kind) in dir.entries()? {
        // A file that is being written.
        if name.as_bytes().starts_with(b".") {
            continue;
        }
        let mut leave_out = |why: &str| {
            let shown = dir.path().join(&name);
            left_out.push(format!("{} is left out: {why}", printable(&shown.to_string_lossy())));
        };
        let Some(name) = name.to_str() else {
            leave_out("its name is not UTF-8");
            continue;
        };
        let ours = [TASK_FILE, EVENTS_FILE, RESPONSE_FILE].contains(&name)
            || (name.starts_with("response.") && name.ends_with(".json"));
        if depth == 0 && ours {
            continue;
        }
        match kind {
            FileType::RegularFile => {
                if let Some(content) = bounded_file::read(dir, name, u64::MAX)? {
                    files.insert(format!("{path}{name}"), encode(content.bytes));
                }
            }
            FileType::Directory if depth + 1 < MAX_DEPTH => {
                if let Some(child) = dir.open_existing(name)? {
                    other_files(&child, &format!("{path}{name}/"), depth + 1, files, left_out)?;
                }
            }
            FileType::Directory => leave_out("directories are nested too deeply"),
            _ => leave_out("it is not a regular file"),
        }
    }
    Ok(())
}
