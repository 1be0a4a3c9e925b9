//! Tasks of the queue as tasks of the protocol, for clients that ask about a call instead of waiting for it.
//!
//! Both have the same id and state, and nothing else is kept, so a client can ask any server of the same queue.

use rmcp::model::{
    CreateTaskResult, DetailedTask, GetTaskResult, JsonObject, Task as ProtocolTask, TaskPayload, TaskStatus,
};

use super::call::ToolCall;
use super::coordination::go_on;
use super::coordinator::is_coordinated;
use super::failure::ToolFailure;
use super::report_text::ReportedState;
use super::summary::{report_of, reported_state};
use crate::model::TaskId;

/// The interval at which a client should ask again, in milliseconds.
const POLL_INTERVAL_MS: u64 = 2_000;

/// Returns the result that represents a task without an answer so far.
///
/// # Errors
/// Whatever the store reports.
pub(super) async fn handle_of(call: &ToolCall, id: TaskId) -> Result<CreateTaskResult, ToolFailure> {
    Ok(CreateTaskResult::new(state_of(call, id).await?))
}

/// Returns the state of a task. It ends as it does for the tools: a failed run is a result, marked as an error.
///
/// # Errors
/// Whatever the store reports.
pub(super) async fn state_of(call: &ToolCall, id: TaskId) -> Result<ProtocolTask, ToolFailure> {
    let asked = id.clone();
    let task = call.with_queue(move |queue| Ok(queue.store.read_settled(&asked)?)).await?;
    if is_coordinated(&task) {
        go_on(&call.open_queue().await?, std::slice::from_ref(&task));
    }
    call.with_queue(move |queue| {
        queue.attend(std::slice::from_ref(&task))?;
        let status = match reported_state(&task.status) {
            ReportedState::Cancelled => TaskStatus::Cancelled,
            ReportedState::Done | ReportedState::Failed => TaskStatus::Completed,
            // A person or another agent answers the question, not the client of this call.
            ReportedState::Queued | ReportedState::InputRequired | ReportedState::Running => {
                TaskStatus::Working
            }
        };
        let (created, updated) = (task.created_at.to_string(), task.updated_at.to_string());
        let state = ProtocolTask::new(id.to_string(), status, created, updated)
            .with_status_message(report_of(queue, &task)?.head());
        Ok(state.with_poll_interval_ms(POLL_INTERVAL_MS))
    })
    .await
}

/// Returns a state with its details; `result` is the result of the call, once the task has ended.
pub(super) fn detailed(state: ProtocolTask, result: JsonObject) -> GetTaskResult {
    let payload = match state.status {
        TaskStatus::Completed => TaskPayload::Completed { result },
        TaskStatus::Cancelled => TaskPayload::Cancelled,
        _ => TaskPayload::Working,
    };
    GetTaskResult::new(DetailedTask::new(state, payload))
}
