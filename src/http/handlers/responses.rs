//! Answers to tasks: giving one, and waiting for one or several.

use serde_json::Value;

use super::claims::DEFAULT_WAIT;
use super::tasks::redacted;
use crate::error::Result;
use crate::http::context::{App, Call, Outcome};
use crate::http::long_poll::Wish;
use crate::http::response::{Answer, members, ok};
use crate::model::{Command, FailureClass, ResponseStatus, TaskId, Verdict};

/// `POST /tasks/{id}/response`
pub fn give(call: &Call<'_>) -> Outcome {
    let body = &call.body;
    // The fields' own lists have made sure that these words are known.
    let status = body.text("status").and_then(|word| ResponseStatus::parse(&word));
    let answer = crate::model::Answer {
        token: body.token("claim_token"),
        status: status.unwrap_or(ResponseStatus::Completed),
        class: body.text("failure_class").map_or(FailureClass::Error, |word| FailureClass::parse(&word)),
        verdict: body.text("verdict").and_then(|word| Verdict::parse(&word)),
        blocking_count: body.count("blocking_count"),
        nonblocking_count: body.count("nonblocking_count"),
        follow_up_required: body.flag("follow_up_required"),
        expect_sha256: body.text("expect_sha256"),
        metadata: body.map("metadata"),
        ..crate::model::Answer::completed(body.text_or("reviewer", "worker"), body.needed("body")?)
    };
    let id = call.id()?;
    super::submit::check_metadata(&answer.metadata)?;
    let (task, _) = call.app.store.apply(&id, &Command::Respond(answer))?;
    let response = call.app.store.response(&task)?;
    let response = response.map(|response| Value::Object(response.to_object()));
    Ok(ok([("response", response.into()), ("task", redacted(&task))]).into())
}

/// `GET /tasks/{id}/response`
pub fn wait_one(call: &Call<'_>) -> Outcome {
    let wish = Wish::Answered { ids: vec![call.id()?], all: true, is_single: true };
    call.wait(wish, call.query.seconds("wait_seconds").unwrap_or(DEFAULT_WAIT))
}

/// `GET /tasks/wait`
pub fn wait_several(call: &Call<'_>) -> Outcome {
    let ids = call.query.texts("id").filter(|ids| !ids.is_empty());
    let ids = ids.ok_or_else(|| crate::http::api::params::missing("id"))?;
    let ids = ids.iter().map(|id| TaskId::parse(id)).collect::<Result<Vec<_>>>()?;
    let all = call.query.text("mode").as_deref() != Some("any");
    let wish = Wish::Answered { ids, all, is_single: false };
    call.wait(wish, call.query.seconds("wait_seconds").unwrap_or(DEFAULT_WAIT))
}

/// The answer to a wait, once enough of the tasks are answered.
pub fn look(app: &App, ids: &[TaskId], all: bool, is_single: bool) -> Result<Option<Answer>> {
    let (mut answered, mut pending) = (Vec::new(), Vec::new());
    for id in ids {
        // Also declares dead what has run out of attempts meanwhile, so that the wait ends.
        let task = app.store.settle(id)?;
        match app.store.response(&task)? {
            Some(response) if is_single => {
                return Ok(Some(ok([("response", Value::Object(response.to_object()))])));
            }
            Some(response) => answered.push(Value::Object(members([
                ("task_id", id.as_str().into()),
                ("state", task.status.as_str().into()),
                ("response", Value::Object(response.to_object())),
            ]))),
            None if task.status.is_terminal() => answered.push(Value::Object(members([
                ("task_id", id.as_str().into()),
                ("state", task.status.as_str().into()),
                ("response", Value::Null),
            ]))),
            None => pending.push(Value::from(id.as_str())),
        }
    }
    if is_single && !answered.is_empty() {
        let text = format!("the response of {} is missing", ids.first().map_or("the task", TaskId::as_str));
        return Err(crate::Error::corrupt(text));
    }
    let is_enough = if all { pending.is_empty() } else { !answered.is_empty() };
    Ok(is_enough.then(|| ok([("answered", answered.into()), ("pending", pending.into())])))
}
