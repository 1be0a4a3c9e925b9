//! Questions of workers, their answers, and what else waits for a person.

use std::ops::ControlFlow;

use serde_json::Value;

use crate::error::Result;
use crate::http::api::params::{Params, missing};
use crate::http::api::views::public_task;
use crate::http::context::{Call, HandlerResult};
use crate::http::transport::response::{HttpResponse, members, ok};
use crate::model::inbox::InboxItem;
use crate::model::message::messages_value;
use crate::model::{Command, Effect, NewQuestion};
use crate::workspace::take_messages;

/// `POST /tasks/{id}/questions`
pub(crate) fn ask(call: &Call<'_>) -> HandlerResult {
    let token = call.body.token("claim_token").ok_or_else(|| missing("claim_token"))?;
    let store = &call.app.store;
    let (task, _) = store.apply(&call.id()?, &question(&call.body)?)?;
    let messages = take_messages(store, &task, &token);
    let number = task.questions.last().map_or(0, |question| question.number);
    let object = members([
        ("question", number.into()),
        ("task", public_task(store, &task)),
        ("messages", messages_value(&messages)),
    ]);
    Ok(HttpResponse::json(201, &object).into())
}

/// Returns the question that a body describes.
pub(super) fn question(body: &Params) -> Result<Command> {
    let default = match (body.text("default"), body.duration("expires_seconds")) {
        (Some(_), None) => return Err(missing("expires_seconds")),
        (None, Some(_)) => return Err(missing("default")),
        (text, after) => text.zip(after),
    };
    let question = NewQuestion {
        text: body.needed("question")?,
        choices: body.texts("choices").unwrap_or_default(),
        default,
        keeps_claim: body.flag("keep_claim"),
        tool: None,
    };
    let token = body.token("claim_token").ok_or_else(|| missing("claim_token"))?;
    Ok(Command::Ask { token, question })
}

/// `POST /tasks/{id}/answer`
pub(crate) fn answer(call: &Call<'_>) -> HandlerResult {
    let (task, effect) = call.app.store.apply(&call.id()?, &reply(&call.body)?)?;
    Ok(ok([("task", public_task(&call.app.store, &task)), ("changed", (effect == Effect::Changed).into())])
        .into())
}

/// Returns the answer to a question that a body describes.
pub(super) fn reply(body: &Params) -> Result<Command> {
    Ok(Command::AnswerQuestion {
        number: body.count("question").map(|number| u32::try_from(number).unwrap_or(u32::MAX)),
        text: body.needed("answer")?,
        is_choice: body.flag("choice"),
        by: body.text_or("by", "api"),
    })
}

/// `GET /inbox`
pub(crate) fn inbox(call: &Call<'_>) -> HandlerResult {
    let store = &call.app.store;
    let (lane, now, shown) = (call.query.text("lane"), store.now().wall, store.shown_states());
    let names = store.task_names()?;
    let extract = |task: &crate::model::TaskText<'_>| {
        let is_wanted = lane.as_ref().is_none_or(|lane| task.spec.lane.is(lane));
        if is_wanted { InboxItem::of(task, &shown.status_of(task), now) } else { Vec::new() }
    };
    let mut items: Vec<InboxItem> = Vec::new();
    // Unreadable tasks are shown by `GET /tasks`.
    store.scan_names(&names, extract, &mut |_, seen: Result<Vec<InboxItem>>| {
        items.extend(seen.into_iter().flatten());
        ControlFlow::Continue(())
    });
    items.sort_by(|a, b| (a.since, &a.task_id).cmp(&(b.since, &b.task_id)));
    let objects: Vec<Value> = items.iter().map(|item| Value::Object(item.to_object())).collect();
    Ok(ok([("count", objects.len().into()), ("items", objects.into())]).into())
}
