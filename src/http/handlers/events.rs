//! The events of tasks: adding one, and streaming them as server-sent events.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::http::api::params::Params;
use crate::http::context::{App, Call, HandlerResult};
use crate::http::transport::response::{HttpResponse, members};
use crate::http::wait_for::WaitFor;
use crate::model::json::Object;
use crate::model::message::messages_value;
use crate::model::task::object;
use crate::model::{Command, TaskId};
use crate::workspace::take_messages;

/// `POST /tasks/{id}/events`
pub(crate) fn add(call: &Call<'_>) -> HandlerResult {
    let store = &call.app.store;
    let (task, _) = store.apply(&call.id()?, &note(&call.body))?;
    let mut reply = members([("ok", true.into())]);
    // Only the holder of the task has messages to read.
    if let Some(token) = call.body.token("claim_token") {
        reply.insert("messages".into(), messages_value(&take_messages(store, &task, &token)));
    }
    Ok(HttpResponse::json(200, &reply).into())
}

/// Returns the event that a body describes.
pub(super) fn note(body: &Params) -> Command {
    Command::Note {
        kind: body.text_or("type", "note"),
        message: body.text_or("message", ""),
        data: body.map("data"),
        token: body.token("claim_token"),
    }
}

/// `POST /tasks/{id}/comments`
pub(crate) fn comment(call: &Call<'_>) -> HandlerResult {
    let note = Command::Note {
        kind: COMMENT.to_string(),
        message: call.body.needed("comment")?,
        data: object([("author", call.body.text("author").into())]),
        token: None,
    };
    let id = call.id()?;
    call.app.store.apply(&id, &note)?;
    Ok(HttpResponse::json(201, &members([("comments", comments(call.app, &id)?)])).into())
}

/// The type of the events that boards show as comments.
const COMMENT: &str = "comment";

/// Returns the comments of a task, oldest first.
pub(crate) fn comments(app: &App, id: &TaskId) -> Result<Value> {
    let comments = app.store.events(id)?.into_iter().filter(|event| event.kind == COMMENT).map(|event| {
        let mut object = Object::new();
        object.insert("comment".into(), event.message.into());
        object.insert("author".into(), event.data.get("author").cloned().unwrap_or_default());
        object.insert("created_at".into(), event.created_at.to_string().into());
        Value::Object(object)
    });
    Ok(comments.collect())
}

/// `GET /tasks/{id}/events`
pub(crate) fn follow_task(call: &Call<'_>) -> HandlerResult {
    let id = call.id()?;
    let task = call.app.store.task(&id)?;
    let since = last_seen(call)?;
    let mut sent = usize::try_from(since.unwrap_or(0)).unwrap_or(usize::MAX);
    let mut begin = begin();
    if since.is_some() {
        let end = call.app.store.events(&id)?.len();
        if task.status.is_terminal() && end == sent {
            // After a 204 a browser does not reconnect.
            return Ok(HttpResponse::no_content().into());
        }
        if sent > end {
            begin.body.extend_from_slice(gap_after_end(end as u64).as_bytes());
            sent = end;
        }
    }
    call.stream(WaitFor::TaskEvents { id, sent }, begin)
}

/// `GET /events`
pub(crate) fn follow_all(call: &Call<'_>) -> HandlerResult {
    // In this order, because the end of the feed only moves forward.
    let seen = last_seen(call)?;
    let end = call.app.store.feed_end()?;
    let since = seen.unwrap_or(end).min(end);
    let mut begin = begin();
    if seen.is_some_and(|seen| seen > end) {
        begin.body.extend_from_slice(gap_after_end(end).as_bytes());
    }
    if let Some(first) = call.app.store.feed_start()?
        && since + 1 < first
    {
        // Entries that `gc` has removed cannot be sent, but the client is notified.
        begin.body.extend_from_slice(format!("event: gap\ndata: {{\"first\": {first}}}\n\n").as_bytes());
    }
    call.stream(WaitFor::Feed { since, lane: call.query.text("lane") }, begin)
}

/// Returns the event for a client whose last event is newer than any in the feed, for example since the store was
/// replaced. It contains the position at which the stream continues, and its id makes a browser that reconnects
/// continue there.
fn gap_after_end(end: u64) -> String {
    format!("event: gap\nid: {end}\ndata: {{\"first\": {}}}\n\n", end + 1)
}

/// Returns the number of the last event that the client has, by its header or its query.
fn last_seen(call: &Call<'_>) -> Result<Option<u64>> {
    match call.request.header("last-event-id") {
        None => Ok(call.query.count("since")),
        Some(text) => {
            let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
            // The largest value is that of `since`.
            let number = text.parse().ok().filter(|n| is_plain && i64::try_from(*n).is_ok());
            number.map(Some).ok_or_else(|| Error::invalid("Last-Event-ID is not a valid event number"))
        }
    }
}

/// Returns the beginning of a stream of server-sent events.
fn begin() -> HttpResponse {
    let mut answer = HttpResponse::stream("text/event-stream");
    answer.body = b"retry: 1000\n\n".to_vec();
    answer
}
