//! Work that a server does by delegating tasks, one step after the other.
//!
//! Such work is a task itself, in a lane of its own that no worker serves. Each step has an idempotency key, and its task
//! is noted in the history of the work. So every server that waits for it can go on where another one was killed, and two
//! of them at the same time delegate nothing twice.

use std::collections::BTreeMap;

use serde_json::Value;

use super::arguments::Arguments;
use super::catalog::task_schema;
use super::failure::ToolFailure;
use super::open_queue::OpenQueue;
use super::single_flight::step_key;
use super::task_draft::{COORDINATION_LANE, PLAN_KEY, TaskDraft, submit_all};
use crate::error::{ErrorKind, Result};
use crate::model::answer_cache::SESSION_KEY;
use crate::model::json::Object;
use crate::model::task::object;
use crate::model::{AgentChain, Answer, AnswerOutcome, Command, FailureClass, Status, Task, TaskId};
use crate::store::Store;
use crate::workspace::Config;

/// The name that answers it.
const REVIEWER: &str = "lanes mcp";

/// Returns whether a task is coordinated work.
pub(super) fn is_coordinated(task: &Task) -> bool {
    task.spec.lane == COORDINATION_LANE && task.spec.metadata.contains_key(PLAN_KEY)
}

/// What is left to do after a look at the work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// These tasks must end first.
    WaitingFor(Vec<TaskId>),
    /// Nothing.
    Over,
}

/// A look at such work, while it is open.
pub(super) struct Coordinator<'a> {
    /// The queue.
    pub queue: &'a OpenQueue,
    /// The workspace as it is now.
    pub config: Config,
    /// The work.
    pub task: &'a Task,
}

impl Coordinator<'_> {
    /// Returns the tasks of the steps so far, by the numbers of the steps.
    ///
    /// # Errors
    /// Whatever the store reports.
    pub(super) fn steps(&self) -> Result<BTreeMap<u64, TaskId>> {
        steps(&self.queue.store, &self.task.id)
    }

    /// Reads the task of a step, or of a part; `None` if it was removed.
    ///
    /// # Errors
    /// Whatever the store reports.
    pub(super) fn read(&self, id: &TaskId) -> Result<Option<Task>> {
        match self.queue.store.read_settled(id) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            task => task.map(Some),
        }
    }

    /// Delegates a step, on behalf of the chat that began the work, and notes its task. `message` describes it for
    /// people.
    ///
    /// # Errors
    /// The arguments are refused; otherwise whatever the store reports.
    pub(super) fn delegate(
        &self,
        step: u64,
        mut arguments: Object,
        message: &str,
    ) -> std::result::Result<TaskId, ToolFailure> {
        let metadata = &self.task.spec.metadata;
        let text = |key: &str| metadata.get(key).and_then(Value::as_str);
        let session = text(SESSION_KEY).unwrap_or_default();
        let chain = AgentChain::above_task(metadata)?;
        let chain = (chain.depth() > 0).then_some(&chain);
        let key = step_key(&self.task.id, step)?;
        arguments.insert("key".to_string(), String::from(&key).into());
        let arguments = Arguments::check(&task_schema()?, arguments)?;
        let draft = TaskDraft::of(self.queue, &self.config, &arguments, session, chain)?;
        self.queue.dispatch.check(&self.config, &self.queue.store, draft.lane())?;
        let submission = submit_all(self.queue, &self.config, &[draft], session)?;
        let Some(id) = submission.ids.into_iter().next() else {
            return Err(ToolFailure {
                kind: "io",
                what: "the step was not stored".to_string(),
                remedy: None,
            });
        };
        if self.steps()?.get(&step) != Some(&id) {
            let note = Command::Note {
                kind: "progress".to_string(),
                message: format!("{message}, task {id}"),
                data: object([("step", step.into()), ("task", id.as_str().into())]),
                token: None,
            };
            self.queue.store.apply(&self.task.id, &note)?;
        }
        Ok(id)
    }

    /// Answers the work. It may have been answered or cancelled meanwhile, which counts.
    ///
    /// # Errors
    /// Whatever the store reports.
    pub(super) fn end(&self, outcome: AnswerOutcome, body: String, metadata: Object) -> Result<Progress> {
        let answer = Answer { outcome, metadata, ..Answer::completed(REVIEWER, body) };
        match self.queue.store.apply(&self.task.id, &Command::Respond(answer)) {
            Err(error) if error.kind() != ErrorKind::Refused => Err(error),
            _ => Ok(Progress::Over),
        }
    }
}

/// Returns what a failed step means for the whole: the kinds that a caller can act on, and otherwise an error.
pub(super) fn outcome_after(task: &Task) -> AnswerOutcome {
    match &task.status {
        Status::Completed { .. } => AnswerOutcome::Completed,
        Status::Failed { class: class @ (FailureClass::Timeout | FailureClass::UsageLimit), .. } => {
            AnswerOutcome::Failed(class.clone())
        }
        _ => AnswerOutcome::Failed(FailureClass::Error),
    }
}

/// Returns the tasks of the steps that some work has taken so far, by the numbers of the steps.
///
/// # Errors
/// Whatever the store reports.
pub(super) fn steps(store: &Store, id: &TaskId) -> Result<BTreeMap<u64, TaskId>> {
    let mut steps = BTreeMap::new();
    for event in store.events(id)? {
        let step = event.data.get("step").and_then(Value::as_u64);
        let task = event.data.get("task").and_then(Value::as_str);
        if let (Some(step), Some(Ok(task))) = (step, task.map(TaskId::parse)) {
            steps.entry(step).or_insert(task);
        }
    }
    Ok(steps)
}

/// Cancels the steps of work that was cancelled.
///
/// # Errors
/// Whatever the store reports.
pub(super) fn cancel_steps(store: &Store, id: &TaskId) -> Result<()> {
    let cancel = Command::Cancel { reason: Some(format!("{id} was cancelled")), by: REVIEWER.to_string() };
    for step in steps(store, id)?.values() {
        // One that has ended, or is gone, stays as it is.
        match store.apply(step, &cancel) {
            Err(error) if !matches!(error.kind(), ErrorKind::Refused | ErrorKind::NotFound) => {
                return Err(error);
            }
            _ => {}
        }
    }
    Ok(())
}
