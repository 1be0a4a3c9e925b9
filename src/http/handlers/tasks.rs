//! Tasks: showing, listing and changing them.

use std::ops::ControlFlow;

use serde_json::Value;

use super::events;
use super::listing::SUMMARY;
use crate::error::{Error, Result};
use crate::http::api::params::{Params, missing};
use crate::http::api::views::public_task;
use crate::http::context::{App, Call, HandlerResult};
use crate::http::transport::response::{HttpResponse, members, ok};
use crate::http::transport::service::Reply;
use crate::model::bridge::{BRIDGE, CARD_MOVE};
use crate::model::json::Object;
use crate::model::names;
use crate::model::task::object;
use crate::model::task_summary::TaskSummary;
use crate::model::transition::check_redrive;
use crate::model::{Command, Effect, LaneName, ListEdit, Task, TaskEdit, TaskId, TaskText, limits};
use crate::store::{Store, SubmittedTask};
use crate::workspace::{attempt_objects, check_edit};

/// `GET /tasks/{id}`: the task, and next to it the fields that boards expect; or the task in brief.
pub(crate) fn show(call: &Call<'_>) -> HandlerResult {
    let id = call.id()?;
    if call.query.str("fields") == Some(SUMMARY) {
        return Ok(ok([("task", Value::Object(summary(call.app, &id)?))]).into());
    }
    let task = call.app.store.task(&id)?;
    Ok(with_board_fields(call, &task)?.into())
}

/// Returns a task in brief.
fn summary(app: &App, id: &TaskId) -> Result<Object> {
    let mut found = None;
    let shown = app.store.shown_states();
    let read = |task: &TaskText<'_>| TaskSummary::of(task, &shown.status_of(task));
    app.store.scan_names(&[id.to_string()], read, &mut |_, seen| {
        found = Some(seen);
        ControlFlow::Break(())
    });
    let unknown = || Error::not_found(format!("unknown task: {id}"));
    Ok(found.ok_or_else(unknown)??.to_object(app.store.now().wall))
}

fn with_board_fields(call: &Call<'_>, task: &Task) -> Result<HttpResponse> {
    Ok(ok([
        ("task", public_task(&call.app.store, task)),
        ("id", task.id.as_str().into()),
        ("name", task.spec.name.clone().unwrap_or_else(|| task.spec.correlation_id.clone()).into()),
        ("description", task.description().into()),
        ("labels", task.spec.labels.clone().into()),
        ("assignees", task.assignees().into()),
        ("comments", events::comments(call.app, &task.id)?),
        ("queue", task.spec.lane.clone().into()),
        ("retry_count", task.attempt.saturating_sub(1).into()),
    ]))
}

/// `PATCH /tasks/{id}`
pub(crate) fn edit(call: &Call<'_>) -> HandlerResult {
    let body = &call.body;
    let edit = check_edit(TaskEdit {
        prompt: body.text("prompt"),
        priority: body.integer("priority").map(limits::check_priority).transpose()?,
        name: body.text("name"),
        description: body.text("description"),
        labels: body.texts("labels").map(ListEdit::Replace),
        assignees: body.texts("assignees").map(ListEdit::Replace),
    })?;
    let (task, _) = call.app.store.apply(&call.id()?, &edit)?;
    Ok(with_board_fields(call, &task)?.into())
}

/// `POST /tasks/{id}/cancel`
pub(crate) fn cancel(call: &Call<'_>) -> HandlerResult {
    let (task, effect) = call.app.store.apply(&call.id()?, &cancellation(&call.body))?;
    Ok(ok([("task", public_task(&call.app.store, &task)), ("changed", (effect == Effect::Changed).into())])
        .into())
}

/// Returns the cancellation that a body describes.
pub(super) fn cancellation(body: &Params) -> Command {
    Command::Cancel { reason: body.text("reason"), by: body.text_or("by", "api") }
}

/// `POST /tasks/{id}/retry`
pub(crate) fn retry(call: &Call<'_>) -> HandlerResult {
    let id = call.id()?;
    Ok(retried(&call.app.store, &id, &call.app.store.retry(&id, &call.body.text_or("by", "api"))?))
}

/// `POST /tasks/{id}/retry-with-dependents`
pub(crate) fn retry_with_dependents(call: &Call<'_>) -> HandlerResult {
    let retried = call.app.store.retry_with_dependents(&call.id()?, &call.body.text_or("by", "api"))?;
    let mut results = Vec::new();
    for submitted in &retried {
        let old = TaskId::parse(submitted.task.spec.retry_of.as_deref().unwrap_or_default())?;
        results.push(Value::Object(successor(&old, submitted)));
    }
    Ok(ok([("count", results.len().into()), ("results", results.into())]).into())
}

/// `POST /tasks/{id}/redrive`: like retry, but only for dead tasks.
pub(crate) fn redrive(call: &Call<'_>) -> HandlerResult {
    let id = call.id()?;
    check_redrive(&call.app.store.read_settled(&id)?)?;
    retry(call)
}

/// `POST /lanes/{name}/redrive`: retries all dead tasks of a lane that have not been retried.
pub(crate) fn redrive_lane(call: &Call<'_>) -> HandlerResult {
    let lane = LaneName::new(call.parameter.as_str())?;
    let (store, by) = (&call.app.store, call.body.text_or("by", "api"));
    let mut results = Vec::new();
    // Unreadable tasks are shown by `GET /tasks`; the others are retried anyway.
    for id in store.dead_tasks(lane.as_str(), &mut |_| {})? {
        results.push(Value::Object(successor(&id, &store.retry(&id, &by)?)));
    }
    Ok(ok([("count", results.len().into()), ("results", results.into())]).into())
}

fn retried(store: &Store, id: &TaskId, submitted: &SubmittedTask) -> Reply {
    let mut object = successor(id, submitted);
    object.insert("task".into(), public_task(store, &submitted.task));
    let answer = HttpResponse::json(if submitted.existing { 200 } else { 201 }, &object);
    answer.with_header("Location", format!("/tasks/{}", submitted.task.id)).into()
}

pub(super) fn successor(id: &TaskId, submitted: &SubmittedTask) -> Object {
    members([
        ("retry_of", id.as_str().into()),
        ("task_id", submitted.task.id.as_str().into()),
        ("existing", submitted.existing.into()),
    ])
}

/// `GET /tasks/{id}/why`
pub(crate) fn why(call: &Call<'_>) -> HandlerResult {
    let task = call.app.store.task(&call.id()?)?;
    let reason = crate::workspace::why(&call.app.store, &task)?;
    let task = call.app.store.shown(task);
    Ok(ok([
        ("task_id", task.id.as_str().into()),
        ("state", task.status.as_str().into()),
        ("reason", reason.code.into()),
        ("message", reason.sentence.into()),
    ])
    .into())
}

/// `GET /tasks/{id}/history`: the task with all of its events, its attempts, and its response.
pub(crate) fn history(call: &Call<'_>) -> HandlerResult {
    let (id, store) = (call.id()?, &call.app.store);
    let task = store.task(&id)?;
    let events = store.events(&id)?;
    let attempts = attempt_objects(store, &task, &events)?;
    let response = store.response(&task)?.map(|response| Value::Object(response.to_object()));
    Ok(ok([
        ("task", public_task(store, &task)),
        ("events", events.iter().map(|event| Value::Object(event.to_object())).collect()),
        ("attempts", attempts.into()),
        ("response", response.into()),
    ])
    .into())
}

/// `POST /tasks/{id}/move`: into another lane; or, for the task of a card, a request to its bridge to move the card into
/// another queue of the board.
pub(crate) fn move_to(call: &Call<'_>) -> HandlerResult {
    let (id, queue) = (call.id()?, call.body.text("target_queue"));
    let change = match (call.body.text("lane"), queue) {
        (Some(lane), _) => Command::Move { lane: LaneName::new(lane)? },
        (None, None) => return Err(missing("lane").into()),
        // The names of lanes and of the queues of a board are not the same.
        (None, Some(queue)) if is_card(&call.app.store.task(&id)?) => move_card(queue)?,
        (None, Some(queue)) => Command::Move { lane: LaneName::new(queue)? },
    };
    let (task, _) = call.app.store.apply(&id, &change)?;
    Ok(with_board_fields(call, &task)?.into())
}

/// Returns whether a bridge made this task from a card of a board.
fn is_card(task: &Task) -> bool {
    task.spec.metadata.get(BRIDGE).is_some_and(Value::is_string)
}

/// Makes the change that asks the bridge to move the card.
fn move_card(queue: String) -> Result<Command> {
    names::check_visible("the queue", &queue)?;
    Ok(Command::Note {
        kind: CARD_MOVE.to_string(),
        message: format!("to {queue}"),
        data: object([("queue", queue.into())]),
        token: None,
    })
}
