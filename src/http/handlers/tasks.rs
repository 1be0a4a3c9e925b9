//! Tasks: showing, listing and changing them.

use std::ops::ControlFlow;

use serde_json::Value;

use super::events;
use crate::error::Result;
use crate::http::api::params::missing;
use crate::http::api::views::public_task;
use crate::http::context::{Call, HandlerResult};
use crate::http::transport::response::{HttpResponse, members, ok};
use crate::http::transport::service::Reply;
use crate::model::bridge::{BRIDGE, CARD_MOVE};
use crate::model::json::Object;
use crate::model::names;
use crate::model::task::object;
use crate::model::transition::check_redrive;
use crate::model::{Command, Effect, LaneName, Task, TaskId};
use crate::store::SubmittedTask;
use crate::workspace::{TaskEdit, check_edit};

/// The maximum number of tasks on one page.
pub(crate) const MAX_PAGE: i64 = 1000;
/// The number of tasks on a page by default.
const DEFAULT_PAGE: u64 = 100;

/// `GET /tasks/{id}`: the task, and next to it the fields that boards expect.
pub(crate) fn show(call: &Call<'_>) -> HandlerResult {
    let id = call.id()?;
    let task = call.app.store.task(&id)?;
    Ok(with_board_fields(call, &task)?.into())
}

fn with_board_fields(call: &Call<'_>, task: &Task) -> Result<HttpResponse> {
    Ok(ok([
        ("task", public_task(task)),
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
        name: body.text("name"),
        description: body.text("description"),
        labels: body.texts("labels"),
        assignees: body.texts("assignees"),
    })?;
    let (task, _) = call.app.store.apply(&call.id()?, &edit)?;
    Ok(with_board_fields(call, &task)?.into())
}

/// `POST /tasks/{id}/cancel`
pub(crate) fn cancel(call: &Call<'_>) -> HandlerResult {
    let by = call.body.text_or("by", "api");
    let cancel = Command::Cancel { reason: call.body.text("reason"), by };
    let (task, effect) = call.app.store.apply(&call.id()?, &cancel)?;
    Ok(ok([("task", public_task(&task)), ("changed", (effect == Effect::Changed).into())]).into())
}

/// `POST /tasks/{id}/retry`
pub(crate) fn retry(call: &Call<'_>) -> HandlerResult {
    let id = call.id()?;
    Ok(retried(&id, &call.app.store.retry(&id, &call.body.text_or("by", "api"))?))
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
    check_redrive(&call.app.store.task(&id)?)?;
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

fn retried(id: &TaskId, submitted: &SubmittedTask) -> Reply {
    let mut object = successor(id, submitted);
    object.insert("task".into(), public_task(&submitted.task));
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
    Ok(ok([
        ("task_id", task.id.as_str().into()),
        ("state", task.status.as_str().into()),
        ("reason", reason.code.into()),
        ("message", reason.sentence.into()),
    ])
    .into())
}

/// `GET /tasks/{id}/history`: the task with all of its events, and its response.
pub(crate) fn history(call: &Call<'_>) -> HandlerResult {
    let (id, store) = (call.id()?, &call.app.store);
    let task = store.task(&id)?;
    let events = store.events(&id)?.into_iter().map(|event| Value::Object(event.to_object()));
    let response = store.response(&task)?.map(|response| Value::Object(response.to_object()));
    Ok(ok([("task", public_task(&task)), ("events", events.collect()), ("response", response.into())]).into())
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

/// `GET /tasks`: one page, oldest first.
pub(crate) fn list(call: &Call<'_>) -> HandlerResult {
    let query = &call.query;
    let lanes = query.texts("lane").unwrap_or_default();
    let states = query.texts("state").unwrap_or_default();
    let groups: Vec<String> = query.text("group").into_iter().collect();
    let limit = usize::try_from(query.count("limit").unwrap_or(DEFAULT_PAGE)).unwrap_or(1);
    let cursor = query.text("cursor").map(|text| TaskId::parse(&text)).transpose()?;
    let (mut tasks, mut unreadable) = (Vec::new(), Vec::new());
    let mut last = None;
    let mut has_more = false;
    call.app.store.scan_after(cursor.as_ref(), &mut |name, task| {
        match task {
            Ok(task)
                if !is_selected(&lanes, task.spec.lane.as_str())
                    || !is_selected(&states, task.status.as_str())
                    || !is_selected(&groups, task.spec.group.as_ref().map_or("", |group| group.as_str())) => {
            }
            _ if tasks.len() + unreadable.len() >= limit => {
                has_more = true;
                return ControlFlow::Break(());
            }
            Ok(task) => {
                last = Some(name.to_string());
                tasks.push(public_task(&task));
            }
            // The client selects lanes, states or a group, and those of an unreadable task are unknown.
            Err(_) if !lanes.is_empty() || !states.is_empty() || !groups.is_empty() => {}
            Err(error) => {
                last = Some(name.to_string()).filter(|name| TaskId::is_valid(name)).or(last.take());
                unreadable
                    .push(Value::Object(members([("id", name.into()), ("error", error.to_string().into())])));
            }
        }
        ControlFlow::Continue(())
    })?;
    let count = tasks.len();
    Ok(ok([
        ("tasks", tasks.into()),
        ("count", count.into()),
        ("unreadable", unreadable.into()),
        ("next_cursor", last.filter(|_| has_more).into()),
    ])
    .into())
}

/// Returns whether a value is selected; without a selection, every value is.
fn is_selected(wanted: &[String], have: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|wanted| wanted == have)
}
