//! Adds new tasks, and new tasks that retry failed ones.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::ControlFlow;

use rustix::io::Errno;

use super::atomic::StagedEntry;
use super::correlation_file::correlation_file;
use super::dependencies::CheckedDependencies;
use super::index::Index;
use super::layout::{EVENTS_FILE, REQUEST_FILE, RESPONSE_BODY_FILE, TASK_FILE};
use super::{FileStore, feed, write_format};
use crate::error::{Error, Result, printable};
use crate::model::task::object;
use crate::model::transition::check_retry;
use crate::model::{
    Bookkeeping, Command, Dependency, DependencyOutcome, FailureClass, IdempotencyKey, NewRequest, NewTask,
    Sha256, Status, Task, TaskId, TaskText, Time, json,
};
use crate::sha256::sha256_bytes;

/// The result of a submit.
#[derive(Clone, Debug)]
pub struct SubmittedTask {
    /// The task.
    pub task: Task,
    /// Whether it existed already, with the same idempotency key and the same content.
    pub existing: bool,
}

impl FileStore {
    pub(crate) fn submit(&self, new: NewTask) -> Result<SubmittedTask> {
        new.check_sizes()?;
        self.add(new, None)
    }

    pub(crate) fn submit_again(&self, new: NewTask) -> Result<SubmittedTask> {
        self.add(new, None)
    }

    pub(crate) fn retry(&self, id: &TaskId, by: &str) -> Result<SubmittedTask> {
        // It may have ended by time alone, and be shown like that.
        let old = self.settle(id)?;
        check_retry(&old)?;
        if let Some(existing) = self.retried_already(&old)? {
            return Ok(SubmittedTask { task: existing, existing: true });
        }
        let request = self.copy_request(&old)?;
        let mut new = NewTask::with_spec_of(&old.spec, request);
        new.spec.after = self.dependencies_of_retry(&old)?;
        new.response_path = (!self.is_response_kept_in_store(&old)).then(|| old.response_path.clone());
        // The key lets a second retry find the first one.
        new.spec.key = Some(old.spec.key.clone().unwrap_or_else(|| IdempotencyKey::retry_of(id)));
        new.spec.retry_of = Some(id.to_string());
        let submitted = self.add(new, Some(id))?;
        let command = Command::Retried { new_id: submitted.task.id.to_string(), by: by.to_string() };
        self.apply(id, &command)?;
        Ok(submitted)
    }

    pub(crate) fn retry_with_dependents(&self, id: &TaskId, by: &str) -> Result<Vec<SubmittedTask>> {
        let mut dependents: HashMap<TaskId, Vec<TaskId>> = HashMap::new();
        let failed = |task: &TaskText<'_>| {
            let is_upstream = matches!(task.status(), Status::Failed { class: FailureClass::Upstream, .. });
            is_upstream.then(|| (task.id.clone(), task.spec.dependencies()))
        };
        self.scan_names(&self.task_names()?, failed, &mut |_, seen| {
            if let Ok(Some((dependent, after))) = seen {
                for dependency in after {
                    dependents.entry(dependency.task).or_default().push(dependent.clone());
                }
            }
            ControlFlow::Continue(())
        });
        // In breadth first order a task may come before one of its dependencies; it is then moved behind it.
        let mut order: Vec<TaskId> = Vec::new();
        let mut next = VecDeque::from([id.clone()]);
        let mut seen = HashSet::from([id.clone()]);
        while let Some(id) = next.pop_front() {
            next.extend(
                dependents.get(&id).into_iter().flatten().filter(|id| seen.insert((*id).clone())).cloned(),
            );
            order.push(id);
        }
        let mut retried = Vec::new();
        while !order.is_empty() {
            let waiting: HashSet<&TaskId> = order.iter().collect();
            let is_free = |task: &Task| !task.spec.after.iter().any(|it| waiting.contains(&it.task));
            let mut free = None;
            for (n, id) in order.iter().enumerate() {
                if is_free(&self.task(id)?) {
                    free = Some(n);
                    break;
                }
            }
            // Tasks cannot wait for each other in a circle.
            let id = order.remove(free.unwrap_or(0));
            retried.push(self.retry(&id, by)?);
        }
        Ok(retried)
    }

    /// Returns the dependencies of a task that retries `old`: in place of those that were retried, the tasks that retry
    /// them.
    ///
    /// # Errors
    /// `Refused` when one has failed and was not retried.
    fn dependencies_of_retry(&self, old: &Task) -> Result<Vec<Dependency>> {
        let mut after = old.spec.after.clone();
        for dependency in &mut after {
            dependency.task = self.newest_successor(&dependency.task)?;
        }
        if let Some(DependencyOutcome::Failed { task, reason }) = self.dependency_outcome(&after)? {
            return Err(Error::refused(format!("cannot retry {}; its dependency {task} {reason}", old.id))
                .with_hint(format!("`lanes retry {task} --with-dependents` submits both again")));
        }
        Ok(after)
    }

    fn retried_already(&self, old: &Task) -> Result<Option<Task>> {
        let Some(new_id) = old.retried_as.as_deref().and_then(|id| TaskId::parse(id).ok()) else {
            return Ok(None);
        };
        match self.layout.task(&new_id)? {
            Some(dir) => Ok(Some(self.load(&dir, &new_id)?.task)),
            None => Ok(None),
        }
    }

    pub(crate) fn copy_request(&self, old: &Task) -> Result<NewRequest> {
        let dir = self.task_dir(&old.id)?;
        let path = &old.request_path;
        if !super::request_file::is_own(old) {
            self.check_request_path(path)?;
            let sha256 = crate::sha256::sha256_file(path.as_ref())
                .map_err(|error| Error::io("read the request", path, error))?;
            return Ok(NewRequest::File { path: path.clone(), sha256 });
        }
        let name = super::request_file::own_name(&dir, old);
        let content = super::bounded_file::read(&dir, name, 64 * 1024 * 1024)?
            .ok_or_else(|| Error::refused(format!("the request of {} is missing ({path})", old.id)))?;
        let text = String::from_utf8(content.bytes)
            .map_err(|_| Error::corrupt(format!("{} is not UTF-8 text", printable(path))))?;
        Ok(NewRequest::Text(text))
    }

    pub(crate) fn task_with_key(&self, workspace_id: &str, key: &IdempotencyKey) -> Result<Option<Task>> {
        let holder = self.with_index(|index| {
            // A submit that was cut short may not have recorded its key yet.
            if index.state_if_current()?.is_none() {
                index.ensure(&self.lock_store()?)?;
            }
            index.key_holder(workspace_id, key)
        })?;
        let Some(id) = holder else { return Ok(None) };
        match self.layout.task(&id)? {
            Some(dir) => Ok(Some(self.load(&dir, &id)?.task)),
            None => Ok(None),
        }
    }

    fn add(&self, new: NewTask, takes_over: Option<&TaskId>) -> Result<SubmittedTask> {
        self.check_writable()?;
        let mut new = new;
        let (content, checked) = self.check_dependencies(&mut new)?;
        let index = Index::open(&self.layout)?;
        // Checking without the lock saves the writes below when the task exists already.
        if let Some(key) = &new.spec.key
            && index.state_if_current()?.is_some()
            && index.key_holder(&new.spec.workspace_id, key).is_ok()
            && let Some(existing) = self.task_with_same_key(&index, &new, &content, takes_over)?
        {
            self.sync_new(&[&existing])?;
            return Ok(SubmittedTask { task: existing, existing: true });
        }
        if self.version == 0 {
            write_format(&self.layout)?;
        }
        let tmp = self.layout.tmp()?;
        let (mut new, mut tries) = (new, 0);
        let submitted = loop {
            let draft = self.draft(new, content.clone(), self.now().wall, checked.as_ref());
            let staged = StagedEntry::directory(&tmp, &draft.files())?;
            let mut correlation = StagedEntry::copy(&tmp, draft.correlation.1.as_bytes())?;
            tries += 1;
            match self.publish(&index, &draft, staged, Some(&mut correlation), takes_over, checked.as_ref()) {
                Err(error) if is_id_taken(&error) && tries < MAX_ID_TRIES => new = draft.new,
                published => break published?,
            }
        };
        self.sync_new(&[&submitted.task])?;
        if !submitted.existing {
            self.ring([&submitted.task.spec.lane]);
        }
        // The task exists; what fails now, the next command completes.
        let _ = self.release_if_due();
        Ok(submitted)
    }

    /// Prepares everything about a new task that does not depend on the store.
    pub(super) fn draft(
        &self,
        new: NewTask,
        content: Sha256,
        now: Time,
        dependencies: Option<&CheckedDependencies>,
    ) -> PreparedTask {
        let (task, request) = self.build(new.clone(), content.clone(), now, dependencies);
        let text = json::to_text(&task.to_object());
        let events =
            task.bookkeeping.recent.iter().map(|event| json::to_ascii_line(&event.to_object())).collect();
        let correlation = correlation_file(&task);
        PreparedTask { new, content, task, text, events, request, correlation }
    }

    /// Makes a staged task visible, unless its key is taken. The caller then makes its name durable
    /// ([`FileStore::sync_new`]) and rings the doorbell, and tries again with another id when [`is_id_taken`] holds
    /// for the error.
    pub(super) fn publish(
        &self,
        index: &Index<'_>,
        draft: &PreparedTask,
        staged: StagedEntry<'_>,
        correlation: Option<&mut StagedEntry<'_>>,
        takes_over: Option<&TaskId>,
        dependencies: Option<&CheckedDependencies>,
    ) -> Result<SubmittedTask> {
        let PreparedTask { new, content, task, .. } = draft;
        let lock = self.lock_store()?;
        let mut state = index.ensure(&lock)?;
        if let Some(key) = &new.spec.key
            && index.heal_key(&lock, &new.spec.workspace_id, key)?
        {
            state = index.ensure(&lock)?;
        }
        if let Some(existing) = self.task_with_same_key(index, new, content, takes_over)? {
            return Ok(SubmittedTask { task: existing, existing: true });
        }
        let state = index.begin(&lock, &state, task)?;
        staged.publish(&self.layout.tasks, task.id.as_str())?;
        // The task exists from here on: an error would only lead to a second submit. Bookkeeping that fails
        // now is completed by the next change, which finds `busy` still set.
        let noted = || -> Result<()> {
            let seq = feed::append(&self.layout.root, task, &task.bookkeeping.recent, state.seq)?;
            if let Some(file) = correlation {
                file.publish_copy(&index.correlations()?, &draft.correlation.0)?;
            }
            index.set_key(task)?;
            index.update(&lock, None, task)?;
            // They were read before the lock was taken.
            let may_have_changed = dependencies.is_some_and(|checked| checked.may_have_changed(state.seq));
            let state = index.add_dependent(&state, task, may_have_changed)?;
            let state = index.add_to_group(&state, task)?;
            self.note_due(&state);
            index.finish(&lock, &state, seq, Some(&task.id)).map(|_| ())
        };
        let _ = noted();
        Ok(SubmittedTask { task: task.clone(), existing: false })
    }

    /// Returns the task that has the key of `new` already. Its content must be the same.
    pub(super) fn task_with_same_key(
        &self,
        index: &Index<'_>,
        new: &NewTask,
        content: &Sha256,
        takes_over: Option<&TaskId>,
    ) -> Result<Option<Task>> {
        let Some(key) = &new.spec.key else { return Ok(None) };
        let Some(id) = index.key_holder(&new.spec.workspace_id, key)? else {
            return Ok(None);
        };
        if takes_over == Some(&id) {
            return Ok(None);
        }
        let Some(dir) = self.layout.task(&id)? else {
            return Ok(None);
        };
        let existing = self.load(&dir, &id)?.task;
        if existing.bookkeeping.content_sha256.as_ref() == Some(content) {
            return Ok(Some(existing));
        }
        Err(Error::refused(format!(
            "the idempotency key '{}' belongs to {id}, which has other content",
            printable(key.as_str())
        ))
        .with_hint("submit the same content again, or choose another key"))
    }

    fn build(
        &self,
        new: NewTask,
        content: Sha256,
        now: Time,
        dependencies: Option<&CheckedDependencies>,
    ) -> (Task, Option<String>) {
        let random = self.options.entropy.next(now) as u32;
        let (sha256, path, text) = match new.request {
            NewRequest::File { path, sha256 } => (sha256, Some(path), None),
            NewRequest::Text(text) => (sha256_bytes(text.as_bytes()), None, Some(text)),
        };
        let id = TaskId::generate(now, &new.spec.correlation_id, sha256.as_str(), random);
        let own =
            |name: &str| self.layout.tasks.path().join(id.as_str()).join(name).to_string_lossy().into_owned();
        let request_path = path.unwrap_or_else(|| own(REQUEST_FILE));
        let response_path = new.response_path.unwrap_or_else(|| own(RESPONSE_BODY_FILE));
        let dependencies_met = dependencies.is_some_and(|checked| checked.are_met);
        let mut task = Task {
            id,
            spec: new.spec,
            request_path,
            request_sha256: sha256,
            response_path,
            status: Status::Queued,
            created_at: now,
            updated_at: now,
            attempt: 0,
            fence: 0,
            retried_as: None,
            questions: Vec::new(),
            messages: Vec::new(),
            bookkeeping: Bookkeeping {
                written_at: Some(now),
                content_sha256: Some(content),
                dependencies_met,
                ..Bookkeeping::default()
            },
            extra: json::Object::new(),
        };
        task.status = task.waiting_status(new.not_before, now);
        let data = object([
            ("lane", task.spec.lane.clone().into()),
            ("source_agent", task.spec.source_agent.clone().into()),
            ("retry_of", task.spec.retry_of.clone().into()),
        ]);
        let message = match &task.status {
            Status::Scheduled { until } => format!("submitted to {}, scheduled for {until}", task.spec.lane),
            Status::Blocked { .. } if task.waits_for_dependencies() => {
                format!("submitted to {}, waits for its dependencies", task.spec.lane)
            }
            _ => format!("submitted to {}", task.spec.lane),
        };
        task.record(now, "created", message, data);
        (task, text)
    }
}

/// How often another id is tried. A second one is hardly ever needed: ids contain the time in microseconds
/// and 24 random bits.
const MAX_ID_TRIES: u32 = 10;

/// Returns whether a task could not be published because another task has its id.
pub(super) fn is_id_taken(error: &Error) -> bool {
    let taken = [Errno::EXIST, Errno::NOTEMPTY].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|number| taken.contains(&number))
}

/// A new task with its files, before it is in the store.
pub(super) struct PreparedTask {
    pub(super) new: NewTask,
    content: Sha256,
    pub(super) task: Task,
    text: String,
    events: String,
    request: Option<String>,
    pub(super) correlation: (String, String),
}

impl PreparedTask {
    /// Returns the files of its directory, and which of them must be durable before it is visible.
    pub(super) fn files(&self) -> Vec<(&str, &[u8], bool)> {
        let mut files: Vec<(&str, &[u8], bool)> =
            vec![(TASK_FILE, self.text.as_bytes(), true), (EVENTS_FILE, self.events.as_bytes(), false)];
        if let Some(text) = &self.request {
            // A request that is only a prompt is in task.json already.
            files.push((REQUEST_FILE, text.as_bytes(), *text != self.task.spec.prompt));
        }
        files
    }
}
