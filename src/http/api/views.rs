//! Tasks as JSON, for several handlers and the threads behind them.

use serde_json::Value;

use crate::http::transport::response::{HttpResponse, members, ok};
use crate::model::message::messages_value;
use crate::model::{Task, TaskMessage};
use crate::store::{Store, SubmittedTask};

/// Returns a task in the state in which it is shown, without the token of its claim, as every client may see it.
pub(crate) fn public_task(store: &Store, task: &Task) -> Value {
    shown_task(&store.shown(task.clone()))
}

/// Returns a task with the state that is shown of it, without the token of its claim.
pub(crate) fn shown_task(task: &Task) -> Value {
    Value::Object(task.to_public_object())
}

/// Returns the response to a client that has claimed a task or presented its claim token, with messages for it. No other
/// response contains a token.
pub(crate) fn claimed(task: &Task, messages: &[TaskMessage]) -> HttpResponse {
    let token = task.status.claim().map(|claim| claim.token.as_str().to_string());
    ok([
        ("task", Value::Object(task.to_holder_object())),
        ("task_id", task.id.as_str().into()),
        ("claim_token", token.into()),
        ("messages", messages_value(messages)),
    ])
}

/// Returns the response to a submit that is durable, whose task has the state that is shown of it.
pub(crate) fn submitted(submitted: &SubmittedTask, warnings: Vec<String>) -> HttpResponse {
    let status = if submitted.existing { 200 } else { 201 };
    let response = HttpResponse::json(
        status,
        &members([
            ("task", shown_task(&submitted.task)),
            ("task_id", submitted.task.id.as_str().into()),
            ("existing", submitted.existing.into()),
            ("warnings", warnings.into()),
            // Boards look for these in the response to their own form.
            ("id", submitted.task.id.as_str().into()),
            ("name", submitted.task.spec.name.clone().map_or(Value::Null, Value::from)),
            ("queue", submitted.task.spec.lane.clone().into()),
        ]),
    );
    response.with_header("Location", format!("/tasks/{}", submitted.task.id))
}
