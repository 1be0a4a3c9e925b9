//! Responses to tasks: submitting one, and waiting for one or several.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::http::api::params::{Params, missing};
use crate::http::api::views::public_task;
use crate::http::context::{Call, HandlerResult};
use crate::http::transport::response::ok;
use crate::http::wait_for::WaitFor;
use crate::model::limits::DEFAULT_WAIT;
use crate::model::{
    Answer, AnswerOutcome, Command, FailureClass, GroupName, ResponseStatus, TaskId, Verdict,
};
use crate::store::Store;
use crate::workspace::{check_client_metadata, check_is_not_verified_later};

/// `POST /tasks/{id}/response`
pub(crate) fn respond(call: &Call<'_>) -> HandlerResult {
    let (store, id) = (&call.app.store, call.id()?);
    let (task, _) = store.apply(&id, &answer(store, &id, &call.body)?)?;
    let response = store.response(&task)?;
    let response = response.map(|response| Value::Object(response.to_object()));
    Ok(ok([("response", response.into()), ("task", public_task(store, &task))]).into())
}

/// Returns the answer that a body describes, if a client may give it.
pub(super) fn answer(store: &Store, id: &TaskId, body: &Params) -> Result<Command> {
    // The parameters were checked: these values are valid.
    let outcome = match body.text("status").and_then(|word| ResponseStatus::parse(&word)) {
        None | Some(ResponseStatus::Completed) => AnswerOutcome::Completed,
        Some(ResponseStatus::Failed) => {
            let class = body.text("failure_class");
            AnswerOutcome::Failed(class.map_or(FailureClass::Error, |word| FailureClass::parse(&word)))
        }
    };
    let answer = Answer {
        token: body.token("claim_token"),
        outcome,
        verdict: body.text("verdict").and_then(|word| Verdict::parse(&word)),
        blocking_count: body.count("blocking_count"),
        nonblocking_count: body.count("nonblocking_count"),
        follow_up_required: body.flag("follow_up_required"),
        expect_sha256: body.text("expect_sha256"),
        metadata: body.map("metadata"),
        ..Answer::completed(body.text_or("reviewer", "worker"), body.needed("body")?)
    };
    check_client_metadata(&answer.metadata)?;
    check_is_not_verified_later(store, id, &answer)?;
    Ok(Command::Respond(answer))
}

/// `GET /tasks/{id}/response`
pub(crate) fn wait_one(call: &Call<'_>) -> HandlerResult {
    let wait = WaitFor::Response(call.id()?);
    call.wait(wait, call.query.duration("wait_seconds").unwrap_or(DEFAULT_WAIT))
}

/// `GET /tasks/wait`
pub(crate) fn wait_several(call: &Call<'_>) -> HandlerResult {
    let ids = call.query.texts("id").filter(|ids| !ids.is_empty());
    let ids = match (ids, call.query.text("group")) {
        (Some(ids), None) => ids.iter().map(|id| TaskId::parse(id)).collect::<Result<Vec<_>>>()?,
        (None, Some(group)) => call.app.store.counted_members(&GroupName::new(group)?, &mut |_| {})?,
        (None, None) => return Err(missing("id").into()),
        (Some(_), Some(_)) => return Err(Error::invalid("give 'id' or 'group', not both").into()),
    };
    let all = call.query.text("mode").as_deref() != Some("any");
    let wait = WaitFor::Responses { ids, all };
    call.wait(wait, call.query.duration("wait_seconds").unwrap_or(DEFAULT_WAIT))
}
