//! Sees to it that coordinated work goes on while this server runs.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::aggregation::{self, Aggregation};
use super::coordinator::{Coordinator, Progress, cancel_steps, is_coordinated};
use super::dialogue;
use super::failure::ToolFailure;
use super::open_queue::OpenQueue;
use super::task_draft::PLAN_KEY;
use super::watched_tasks::WatchedTasks;
use crate::model::json::Object;
use crate::model::{AnswerOutcome, FailureClass, NewRequest, Status, Task, TaskId};

/// How often work is looked at when nothing is known to have changed.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// How often a step is tried that is refused: the settings may be changing just now.
const TRIES: u32 = 3;

/// Goes on with those of the tasks that are open coordinated work, unless this server does so already.
pub(super) fn go_on(queue: &Arc<OpenQueue>, tasks: &[Task]) {
    for task in tasks.iter().filter(|task| !task.status.is_terminal() && is_coordinated(task)) {
        if queue.driven.begin(&task.id) {
            tokio::spawn(drive(Arc::clone(queue), task.id.clone()));
        }
    }
}

/// Takes one step after the other until the work is over.
async fn drive(queue: Arc<OpenQueue>, id: TaskId) {
    let mut refusals = 0;
    loop {
        let (at, wanted) = (Arc::clone(&queue), id.clone());
        let looked = tokio::task::spawn_blocking(move || advance(&at, &wanted)).await;
        // A panic ends the process before this is seen.
        let Ok(looked) = looked else { break };
        let waiting_for = match looked {
            Ok(Progress::Over) => break,
            Ok(Progress::WaitingFor(ids)) => {
                refusals = 0;
                ids
            }
            Err(failure) => {
                refusals += u32::from(!matches!(failure.kind, "busy" | "io"));
                if refusals == TRIES {
                    let (at, wanted) = (Arc::clone(&queue), id.clone());
                    let _ = tokio::task::spawn_blocking(move || give_up(&at, &wanted, &failure)).await;
                    break;
                }
                Vec::new()
            }
        };
        wait_for_change(&queue, &id, waiting_for).await;
    }
    queue.driven.end(&id);
}

/// Returns when the work or one of the tasks that it waits for has ended, and at once or after a moment when that cannot be
/// told.
async fn wait_for_change(queue: &Arc<OpenQueue>, id: &TaskId, waiting_for: Vec<TaskId>) {
    let Ok(mut changes) = queue.changes() else { return tokio::time::sleep(CHECK_INTERVAL).await };
    changes.borrow_and_update();
    if waiting_for.is_empty() {
        return tokio::time::sleep(CHECK_INTERVAL).await;
    }
    let ids: Vec<TaskId> = std::iter::once(id.clone()).chain(waiting_for).collect();
    let at = Arc::clone(queue);
    let read = move || WatchedTasks::read(&at.store, &ids).inspect(|watched| attend(&at, watched));
    let read = tokio::task::spawn_blocking(read).await;
    let Ok(Ok(mut watched)) = read else { return tokio::time::sleep(CHECK_INTERVAL).await };
    while !watched.tasks().iter().any(|task| task.status.is_terminal()) {
        tokio::select! {
            _ = changes.changed() => {}
            () = tokio::time::sleep(CHECK_INTERVAL) => {}
        }
        changes.borrow_and_update();
        let at = Arc::clone(queue);
        let update = move || {
            watched.update(&at.store)?;
            attend(&at, &watched);
            crate::Result::Ok(watched)
        };
        match tokio::task::spawn_blocking(update).await {
            Ok(Ok(updated)) => watched = updated,
            _ => return,
        }
    }
}

/// Starts a dispatcher if a step needs one. What cannot be started now is tried again at the next look.
fn attend(queue: &OpenQueue, watched: &WatchedTasks) {
    let _ = queue.attend(watched.tasks());
}

/// Takes the next step of some work, if it can be taken.
fn advance(queue: &OpenQueue, id: &TaskId) -> Result<Progress, ToolFailure> {
    let task = queue.store.read_settled(id)?;
    if task.status.is_terminal() {
        if matches!(&task.status, Status::Failed { class: FailureClass::Cancelled, .. }) {
            cancel_steps(&queue.store, id)?;
        }
        return Ok(Progress::Over);
    }
    let work = Coordinator { queue, config: queue.config_now()?, task: &task };
    let no_plan = Object::new();
    let plan = task.spec.metadata.get(PLAN_KEY).and_then(Value::as_object).unwrap_or(&no_plan);
    let text = match queue.store.copy_request(&task)? {
        NewRequest::Text(text) => text,
        NewRequest::File { .. } => String::new(),
    };
    match plan.get("kind").and_then(Value::as_str) {
        Some(dialogue::KIND) => {
            if let Some(plan) = dialogue::from_plan(plan, text) {
                return dialogue::advance(&work, &plan);
            }
        }
        Some(aggregation::KIND) => {
            if let Some(plan) = Aggregation::from_plan(plan) {
                return aggregation::advance(&work, &plan, &text);
            }
        }
        _ => {}
    }
    let what = format!("{id}: its plan cannot be read");
    Err(ToolFailure { kind: "invalid", what, remedy: Some("begin it again".to_string()) })
}

/// Ends work of which a step is refused.
fn give_up(queue: &OpenQueue, id: &TaskId, failure: &ToolFailure) -> Result<(), ToolFailure> {
    let task = queue.store.task(id)?;
    let work = Coordinator { queue, config: queue.config.clone(), task: &task };
    work.end(AnswerOutcome::Failed(FailureClass::Error), failure.text(), Object::new())?;
    Ok(())
}
