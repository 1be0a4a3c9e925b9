//! The tasks of a remote store: read, submitted, claimed, changed.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::encode::{command_fields, task_fields};
use super::{RemoteStore, wrong_reply};
use crate::error::{Error, ErrorKind, Result};
use crate::model::json::{Object, to_line, to_text};
use crate::model::task::object;
use crate::model::{
    ClaimToken, Command, Effect, Event, ExclusiveKey, GroupName, IdempotencyKey, NewRequest, NewTask, Owner,
    RequestCheck, Response, Sha256, Task, TaskId, TaskText,
};
use crate::store::blobs::RemoteBlobs;
use crate::store::groups::{self, EndedGroup};
#[cfg(feature = "cli")]
use crate::store::scan::TaskStamp;
use crate::store::scan::{self, TaskScan};
use crate::store::{ClaimRequest, HeldKey, LaneQuery, ShownStates, SubmittedTask, wire};

/// How many bytes of names fit into one request.
const MAX_NAMES: usize = 6000;
/// The largest number of tasks of one submit, and of the bytes of their requests.
const MAX_TASKS: usize = 200;
const MAX_TASK_BYTES: usize = 4 * 1024 * 1024;

impl RemoteStore {
    /// Returns a task with the paths of this machine in the place of those of the server.
    fn localized(&self, mut task: Task) -> Task {
        task.response_path = self.kept.response_path(&task.id);
        task
    }

    fn read_task(&self, name: &str, id: &TaskId) -> Result<Task> {
        let task = self.client.read(name, &[("id", id.as_str())])?;
        Ok(self.localized(wire::read_task(&task)?))
    }

    pub(crate) fn claim_next(
        &self,
        query: &LaneQuery,
        owner: &Owner,
        lease: Duration,
    ) -> Result<Option<Task>> {
        self.claim_next_as(query, &ClaimRequest::of(owner, lease))
    }

    pub(crate) fn claim_next_as(
        &self,
        query: &LaneQuery,
        request: &ClaimRequest<'_>,
    ) -> Result<Option<Task>> {
        let lanes: Vec<&str> = query.lanes.iter().map(|lane| lane.as_str()).collect();
        self.send_claim(request, [("lanes", lanes.into()), ("match", query.filter.conditions().into())])
    }

    pub(crate) fn claim(&self, id: &TaskId, owner: &Owner, lease: Duration) -> Result<Task> {
        self.claim_as(id, &ClaimRequest::of(owner, lease))
    }

    pub(crate) fn claim_as(&self, id: &TaskId, request: &ClaimRequest<'_>) -> Result<Task> {
        let claimed = self.send_claim(request, [("task", id.as_str().into())])?;
        claimed.map_or_else(|| wrong_reply("no task was claimed"), Ok)
    }

    /// Claims with a token that this process draws, so that a claim whose reply is lost is known by it.
    fn send_claim<const N: usize>(
        &self,
        request: &ClaimRequest<'_>,
        what: [(&str, Value); N],
    ) -> Result<Option<Task>> {
        crate::model::limits::check_lease(request.lease)?;
        let token = request.token.clone().unwrap_or_else(|| ClaimToken::from_random(self.random()));
        let mut body = object(what);
        body.extend(object([
            ("owner", request.owner.as_str().into()),
            ("lease_seconds", request.lease.as_secs_f64().into()),
            ("claim_token", token.as_str().into()),
        ]));
        let reply = self.client.change("claim", &self.request_id(), body)?;
        match reply.get("task") {
            None | Some(Value::Null) => Ok(None),
            Some(task) => {
                let mut task = self.localized(wire::read_task(task)?);
                // Without a copy, the path of the server stays, and the request can be read there.
                if let Ok(path) = self.request_copy(&task.id) {
                    task.request_path = path;
                }
                Ok(Some(task))
            }
        }
    }

    /// Fetches the request of a task, and returns the path of the copy.
    fn request_copy(&self, id: &TaskId) -> Result<String> {
        let text = self.client.read("request", &[("id", id.as_str())])?;
        self.kept.put_request(id, text.as_str().unwrap_or_default())
    }

    pub(crate) fn peek_next(&self, query: &LaneQuery) -> Result<Option<Task>> {
        let conditions = query.filter.conditions();
        let lanes = query.lanes.iter().map(|lane| ("lane", lane.as_str()));
        let all: Vec<(&str, &str)> =
            lanes.chain(conditions.iter().map(|condition| ("match", condition.as_str()))).collect();
        match self.client.read("next", &all)? {
            Value::Null => Ok(None),
            task => Ok(Some(self.localized(wire::read_task(&task)?))),
        }
    }

    pub(crate) fn settle(&self, id: &TaskId) -> Result<Task> {
        self.read_settled(id)
    }

    pub(crate) fn read_settled(&self, id: &TaskId) -> Result<Task> {
        self.read_task("settled", id)
    }

    pub(crate) fn apply(&self, id: &TaskId, command: &Command) -> Result<(Task, Effect)> {
        let (change, fields) = command_fields(command)?;
        let body = object([
            ("task", id.as_str().into()),
            ("change", change.into()),
            ("fields", Value::Object(fields)),
        ]);
        let reply = self.client.change("change", &self.request_id(), body)?;
        let task = wire::read_task(reply.get("task").unwrap_or(&Value::Null))?;
        let is_changed = reply.get("changed").and_then(Value::as_bool).unwrap_or(true);
        Ok((self.localized(task), if is_changed { Effect::Changed } else { Effect::Unchanged }))
    }

    pub(crate) fn dependents(&self, id: &TaskId) -> Result<Vec<TaskId>> {
        let ids = wire::read_texts(&self.client.read("dependents", &[("id", id.as_str())])?)?;
        ids.iter().map(|id| TaskId::parse(id)).collect()
    }

    pub(crate) fn held_key(&self, task: &Task) -> Result<Option<HeldKey>> {
        if !task.needs_keys() {
            return Ok(None);
        }
        let held = self.client.read("held-key", &[("id", task.id.as_str())])?;
        let Some(key) = held.get("key").and_then(Value::as_str) else { return Ok(None) };
        let holder = held.get("holder").and_then(Value::as_str).unwrap_or_default();
        Ok(Some(HeldKey {
            key: ExclusiveKey::new(key)?,
            holder: TaskId::parse(holder)?,
            since: held.get("since").and_then(wire::read_time),
        }))
    }

    pub(crate) fn group_members(
        &self,
        group: &GroupName,
        keep: &(dyn Fn(&TaskText<'_>) -> bool + Sync),
        unreadable: &mut dyn FnMut(Error),
    ) -> Result<Vec<TaskId>> {
        groups::members(self, group, keep, unreadable)
    }

    pub(crate) fn counted_members(
        &self,
        group: &GroupName,
        unreadable: &mut dyn FnMut(Error),
    ) -> Result<Vec<TaskId>> {
        groups::counted(self, group, unreadable)
    }

    pub(crate) fn newest_successor(&self, id: &TaskId) -> Result<TaskId> {
        let newest = self.client.read("newest-successor", &[("id", id.as_str())])?;
        newest.as_str().map_or_else(|| wrong_reply("an id"), TaskId::parse)
    }

    pub(crate) fn ended_group(&self, group: &GroupName) -> Result<Option<EndedGroup>> {
        groups::ended(self, group)
    }

    pub(crate) fn resolve(&self, text: &str) -> Result<TaskId> {
        TaskId::parse(text)?;
        let id = self.client.read("resolve", &[("text", text)])?;
        id.as_str().map_or_else(|| wrong_reply("an id"), TaskId::parse)
    }

    pub(crate) fn task(&self, id: &TaskId) -> Result<Task> {
        self.read_task("task", id)
    }

    pub(crate) fn response(&self, task: &Task) -> Result<Option<Response>> {
        if let Some(response) = task.bookkeeping.response.as_ref().filter(|_| task.status.is_terminal()) {
            return Ok(Some(response.clone()));
        }
        match self.client.read("response", &[("id", task.id.as_str())])? {
            Value::Null => Ok(None),
            response => wire::read_response(&response).map(Some),
        }
    }

    pub(crate) fn response_exists(&self, task: &Task) -> bool {
        let known = || self.client.read("response-exists", &[("id", task.id.as_str())]).ok()?.as_bool();
        task.status.is_terminal() && known().unwrap_or_default()
    }

    pub(crate) fn events(&self, id: &TaskId) -> Result<Vec<Event>> {
        let Value::Array(events) = self.client.read("events", &[("id", id.as_str())])? else {
            return wrong_reply("a history");
        };
        events.iter().map(wire::read_event).collect()
    }

    pub(crate) fn last_event(&self, task: &Task) -> Result<Option<Event>> {
        match self.client.read("last-event", &[("id", task.id.as_str())])? {
            Value::Null => Ok(None),
            event => wire::read_event(&event).map(Some),
        }
    }

    pub(crate) fn with_current_paths(&self, task: Task) -> Task {
        self.localized(task)
    }

    pub(crate) fn is_response_kept_in_store(&self, task: &Task) -> bool {
        self.kept.is_copy(&task.id, &task.response_path)
    }

    /// The server has made it durable before it gave it away.
    pub(crate) fn sync_response(&self, _task: &Task) -> Result<()> {
        Ok(())
    }

    /// A copy that cannot be written is no error: the answer can be printed nevertheless.
    pub(crate) fn copy_response(&self, task: &Task, response: &Response) -> Result<()> {
        let _ = self.kept.put_body(&task.id, &response.body);
        Ok(())
    }

    #[cfg(feature = "cli")]
    pub(crate) fn scan_stamped<T: Send>(
        &self,
        names: &[String],
        extract: impl Fn(&TaskText<'_>) -> T + Sync,
        visit: &mut dyn FnMut(&str, TaskStamp, Result<T>),
    ) {
        self.scan_names(names, extract, &mut |name, seen| {
            visit(name, None, seen);
            ControlFlow::Continue(())
        });
    }

    #[cfg(feature = "cli")]
    pub(crate) fn task_stamp(&self, _name: &str) -> TaskStamp {
        None
    }

    #[cfg(feature = "cli")]
    pub(crate) fn task_names_stamp(&self) -> TaskStamp {
        None
    }

    pub(crate) fn task_names(&self) -> Result<Vec<String>> {
        wire::read_texts(&self.client.read("names", &[])?)
    }

    pub(crate) fn task_names_of_group(&self, group: &GroupName) -> Result<Vec<String>> {
        wire::read_texts(&self.client.read("group", &[("group", group.as_str())])?)
    }

    pub(crate) fn scan_names<T: Send>(
        &self,
        names: &[String],
        extract: impl Fn(&TaskText<'_>) -> T + Sync,
        visit: &mut dyn FnMut(&str, Result<T>) -> ControlFlow<()>,
    ) {
        let mut rest = names;
        while !rest.is_empty() {
            let (page, after) = rest.split_at(page_length(rest));
            rest = after;
            let query: Vec<(&str, &str)> = page.iter().map(|name| ("id", name.as_str())).collect();
            let entries = match self.client.read("tasks", &query) {
                Ok(Value::Array(entries)) => entries,
                Ok(_) => Vec::new(),
                // What is wrong is said once, not for each task.
                Err(error) => {
                    let _ = visit(&page[0], Err(error));
                    return;
                }
            };
            for entry in &entries {
                let name = entry.get("name").and_then(Value::as_str).unwrap_or_default();
                if visit(name, read_entry(entry, &extract)).is_break() {
                    return;
                }
            }
        }
    }

    pub(crate) fn scan(&self, visit: &mut dyn FnMut(&str, Result<Task>)) -> Result<()> {
        let names = self.task_names()?;
        let extract = |task: &TaskText<'_>| self.localized(task.to_task());
        self.scan_names(&names, extract, &mut |name, task| {
            visit(name, task);
            ControlFlow::Continue(())
        });
        Ok(())
    }

    pub(crate) fn dead_tasks(&self, lane: &str, unreadable: &mut dyn FnMut(Error)) -> Result<Vec<TaskId>> {
        scan::dead_tasks(self, &self.shown_states(), lane, unreadable)
    }

    pub(crate) fn shown_states(&self) -> ShownStates<'_> {
        ShownStates::new(self.now(), |task| self.held_key(task).map_or(true, |key| key.is_some()))
    }

    pub(crate) fn shown(&self, task: Task) -> Task {
        self.shown_states().shown(task)
    }

    /// A file of the workspace over there is no file here: its text takes its place, as in a submit.
    pub(crate) fn copy_request(&self, old: &Task) -> Result<NewRequest> {
        self.request_text(old).map(NewRequest::Text)
    }

    pub(crate) fn submit(&self, new: NewTask) -> Result<SubmittedTask> {
        new.check_sizes()?;
        let results = self.submit_batch(vec![new])?;
        results.into_iter().next().unwrap_or_else(|| wrong_reply("no task"))
    }

    pub(crate) fn submit_batch(&self, new: Vec<NewTask>) -> Result<Vec<Result<SubmittedTask>>> {
        let mut results = Vec::with_capacity(new.len());
        let mut page: Vec<(NewTask, Object)> = Vec::new();
        let mut bytes = 0;
        for mut task in new {
            // By its key, a task is known whose reply was lost.
            if task.spec.key.is_none() {
                task.spec.key = IdempotencyKey::new(format!("submit-{}", self.request_id())).ok();
            }
            let fields = match task.check_sizes().and_then(|()| task_fields(&task)) {
                Ok(fields) => fields,
                Err(error) => {
                    results.extend(self.send_submit(std::mem::take(&mut page))?);
                    bytes = 0;
                    results.push(Err(error));
                    continue;
                }
            };
            let length = to_line(&fields).len();
            if page.len() >= MAX_TASKS || bytes + length > MAX_TASK_BYTES {
                results.extend(self.send_submit(std::mem::take(&mut page))?);
                bytes = 0;
            }
            bytes += length;
            page.push((task, fields));
        }
        results.extend(self.send_submit(page)?);
        Ok(results)
    }

    fn send_submit(&self, page: Vec<(NewTask, Object)>) -> Result<Vec<Result<SubmittedTask>>> {
        if page.is_empty() {
            return Ok(Vec::new());
        }
        let (tasks, fields): (Vec<NewTask>, Vec<Object>) = page.into_iter().unzip();
        let fields: Vec<Value> = fields.into_iter().map(Value::Object).collect();
        let reply = self.client.change("submit", &self.request_id(), object([("tasks", fields.into())]))?;
        let Some(Value::Array(results)) = reply.get("results") else { return wrong_reply("no results") };
        if results.len() != tasks.len() {
            return wrong_reply("not as many results as tasks");
        }
        Ok(tasks.iter().zip(results).map(|(new, result)| self.submitted(new, result)).collect())
    }

    /// Reads the result of a submit, and records on this machine where the answer goes.
    fn submitted(&self, new: &NewTask, result: &Value) -> Result<SubmittedTask> {
        if let Some(error) = result.get("error").and_then(Value::as_object) {
            return Err(wire::read_error(error).unwrap_or_else(|| wire::unusable("an error")));
        }
        let submitted = submitted(result)?;
        if let Some(path) = &new.response_path {
            self.kept.set_response_path(&submitted.task.id, path)?;
        }
        Ok(SubmittedTask { task: self.localized(submitted.task), existing: submitted.existing })
    }

    pub(crate) fn retry(&self, id: &TaskId, by: &str) -> Result<SubmittedTask> {
        let mut results = self.send_retry(id, by, false)?;
        results.pop().map_or_else(|| wrong_reply("no task"), Ok)
    }

    pub(crate) fn retry_with_dependents(&self, id: &TaskId, by: &str) -> Result<Vec<SubmittedTask>> {
        self.send_retry(id, by, true)
    }

    fn send_retry(&self, id: &TaskId, by: &str, with_dependents: bool) -> Result<Vec<SubmittedTask>> {
        let body = object([
            ("task", id.as_str().into()),
            ("by", by.into()),
            ("with_dependents", with_dependents.into()),
        ]);
        let reply = self.client.change("retry", &self.request_id(), body)?;
        let Some(Value::Array(results)) = reply.get("results") else { return wrong_reply("no results") };
        let read = |result: &Value| -> Result<SubmittedTask> {
            let SubmittedTask { task, existing } = submitted(result)?;
            // The answer goes where that of the old task was to go.
            if let Some(old) = task.spec.retry_of.as_deref().and_then(|old| TaskId::parse(old).ok()) {
                let path = self.kept.response_path(&old);
                if !self.kept.is_copy(&old, &path) {
                    self.kept.set_response_path(&task.id, &path)?;
                }
            }
            Ok(SubmittedTask { task: self.localized(task), existing })
        };
        results.iter().map(read).collect()
    }
}

impl RemoteBlobs for RemoteStore {
    fn response_copy(&self, id: &TaskId) -> PathBuf {
        let response = self.task(id).and_then(|task| self.response(&task)).ok().flatten();
        let text = response.map(|response| to_text(&response.to_object())).unwrap_or_default();
        self.kept.put_response(id, &text)
    }

    fn request_check(&self, task: &Task) -> RequestCheck {
        let checked = self.client.read("request-check", &[("id", task.id.as_str())]).unwrap_or_default();
        let text = |key: &str| checked.get(key).and_then(Value::as_str).map(str::to_string);
        let more = text("more");
        match text("state").as_deref() {
            Some("same") => RequestCheck::Same,
            Some("missing") => RequestCheck::Missing,
            Some("unreadable") => RequestCheck::Unreadable(more.unwrap_or_default()),
            Some("changed") => RequestCheck::Changed(Sha256::stored(more.unwrap_or_default())),
            _ => RequestCheck::Unchecked,
        }
    }

    fn stored_request(&self, task: &Task) -> Result<Option<File>> {
        let path = self.request_copy(&task.id)?;
        File::open(&path).map(Some).map_err(|error| Error::io("open", &path, error))
    }

    fn request_text(&self, task: &Task) -> Result<String> {
        let text = self.client.read("request", &[("id", task.id.as_str())])?;
        text.as_str().map_or_else(|| wrong_reply("a request"), |text| Ok(text.to_string()))
    }
}

impl TaskScan for RemoteStore {
    fn names(&self) -> Result<Vec<String>> {
        self.task_names()
    }

    fn names_of_group(&self, group: &GroupName) -> Result<Vec<String>> {
        self.task_names_of_group(group)
    }

    fn each<T: Send>(
        &self,
        names: &[String],
        extract: impl Fn(&TaskText<'_>) -> T + Sync,
        visit: &mut dyn FnMut(&str, Result<T>) -> ControlFlow<()>,
    ) {
        self.scan_names(names, extract, visit);
    }
}

/// Returns how many names fit into the next request: one at least.
fn page_length(names: &[String]) -> usize {
    let mut bytes = 0;
    let fit = names.iter().take_while(|name| {
        // What an id has needs no encoding.
        bytes += name
            .bytes()
            .map(|byte| if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) { 1 } else { 3 })
            .sum::<usize>()
            + 4;
        bytes <= MAX_NAMES
    });
    fit.count().clamp(1, names.len())
}

fn read_entry<T>(entry: &Value, extract: &impl Fn(&TaskText<'_>) -> T) -> Result<T> {
    if let Some(error) = entry.get("error").and_then(Value::as_object) {
        return Err(wire::read_error(error).unwrap_or_else(|| wire::unusable("an error")));
    }
    let Some(task) = entry.get("task").and_then(Value::as_object) else { return wrong_reply("a task") };
    TaskText::read(to_line(task).as_bytes(), extract)
        .map_err(|why| Error::new(ErrorKind::Corrupt, format!("a task of the server cannot be read: {why}")))
}

fn submitted(result: &Value) -> Result<SubmittedTask> {
    let task = wire::read_task(result.get("task").unwrap_or(&Value::Null))?;
    let existing = result.get("existing").and_then(Value::as_bool).unwrap_or_default();
    Ok(SubmittedTask { task, existing })
}
