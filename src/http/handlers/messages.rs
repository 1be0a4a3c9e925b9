//! Messages to the workers of tasks.

use serde_json::Value;

use crate::error::Result;
use crate::http::api::params::Params;
use crate::http::api::views::public_task;
use crate::http::context::{Call, HandlerResult};
use crate::http::transport::response::{HttpResponse, members};
use crate::model::{Command, TaskMessage};
use crate::workspace::message_delivery;

/// `POST /tasks/{id}/messages`
pub(crate) fn tell(call: &Call<'_>) -> HandlerResult {
    let store = &call.app.store;
    let (task, _) = store.apply(&call.id()?, &message(&call.body)?)?;
    let message = task.messages.last().map(TaskMessage::to_object);
    let object = members([
        ("message", message.map(Value::Object).into()),
        ("delivery", message_delivery(store, &task).as_str().into()),
        ("task", public_task(store, &task)),
    ]);
    Ok(HttpResponse::json(201, &object).into())
}

/// Returns the message that a body describes.
pub(super) fn message(body: &Params) -> Result<Command> {
    Ok(Command::Tell { text: body.needed("message")?, by: body.text_or("by", "api") })
}
