//! Messages to the workers of tasks.

use serde_json::Value;

use crate::http::api::views::public_task;
use crate::http::context::{Call, HandlerResult};
use crate::http::transport::response::{HttpResponse, members};
use crate::model::{Command, TaskMessage};
use crate::workspace::message_delivery;

/// `POST /tasks/{id}/messages`
pub(crate) fn tell(call: &Call<'_>) -> HandlerResult {
    let tell = Command::Tell { text: call.body.needed("message")?, by: call.body.text_or("by", "api") };
    let store = &call.app.store;
    let (task, _) = store.apply(&call.id()?, &tell)?;
    let message = task.messages.last().map(TaskMessage::to_object);
    let object = members([
        ("message", message.map(Value::Object).into()),
        ("delivery", message_delivery(store, &task).as_str().into()),
        ("task", public_task(store, &task)),
    ]);
    Ok(HttpResponse::json(201, &object).into())
}
