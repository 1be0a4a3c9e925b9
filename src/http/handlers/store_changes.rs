//! What a remote store changes: each change passes the same checks as over the routes for tasks, lanes and vendors, whose
//! functions it uses, and is carried out once even if a client that has lost the reply repeats it.

use std::ops::ControlFlow;

use serde_json::Value;

use super::store_reads::{refusal, whole};
use super::{claims, events, messages, questions, responses, submit, tasks};
use crate::error::{Error, ErrorKind, Result};
use crate::http::api::fields::{
    ANSWER, ASK, CANCEL, MOVE, NOTE, READ_MESSAGES, RELEASE, RENEW, RESPOND, STORE_EDIT, STORE_SUBMIT, TELL,
};
use crate::http::api::params::{Params, missing};
use crate::http::change_replies::{ChangeReplies, KnownRequest};
use crate::http::context::{Call, HandlerResult};
use crate::http::submit_draft::SubmitDraft;
use crate::http::transport::response::{HttpResponse, members, ok};
use crate::http::transport::service::Reply;
use crate::model::cooldown::pause_end;
use crate::model::limits::{self, DEFAULT_LEASE};
use crate::model::{
    ClaimToken, Command, Effect, Filter, LaneName, ListEdit, NewRequest, NewTask, Owner, Task, TaskEdit,
    TaskId, TaskText,
};
use crate::store::{ClaimRequest, LaneQuery, Store, SubmittedTask, wire};
use crate::workspace::check_edit;

/// `POST /store/v1/change`: one command for one task.
pub(crate) fn change(call: &Call<'_>) -> HandlerResult {
    once(call, || {
        let (store, id) = (&call.app.store, task_id(call)?);
        let command = command(store, &id, &call.body.needed("change")?, &call.body.map("fields").into())?;
        let (task, effect) = store.apply(&id, &command)?;
        let holder =
            call.body.map("fields").get("claim_token").and_then(Value::as_str).map(ClaimToken::from_text);
        Ok(ok([
            ("task", Value::Object(wire::task_object(&task, holder.as_ref()))),
            ("changed", (effect == Effect::Changed).into()),
        ]))
    })
}

/// Returns the command that the fields of a change describe, if a client may give it.
fn command(store: &Store, id: &TaskId, change: &str, fields: &Value) -> Result<Command> {
    let read = |known| Params::from_item(known, fields);
    Ok(match change {
        "renew" => claims::renewal(&read(RENEW)?)?,
        "release" => claims::giving_back(store, id, &read(RELEASE)?)?,
        "respond" => responses::answer(store, id, &read(RESPOND)?)?,
        "ask" => questions::question(&read(ASK)?)?,
        "answer" => questions::reply(&read(ANSWER)?)?,
        "tell" => messages::message(&read(TELL)?)?,
        "read" => {
            let body = read(READ_MESSAGES)?;
            let through = u32::try_from(body.count("through").unwrap_or(0)).unwrap_or(u32::MAX);
            let token = body.token("claim_token").ok_or_else(|| missing("claim_token"))?;
            Command::ReadMessages { token, through }
        }
        "note" => events::note(&read(NOTE)?),
        "cancel" => tasks::cancellation(&read(CANCEL)?),
        "move" => Command::Move { lane: LaneName::new(read(MOVE)?.needed("lane")?)? },
        "edit" => edit(&read(STORE_EDIT)?)?,
        _ => return Err(Error::invalid("this server does not know this change of a task")),
    })
}

/// Returns the edit that a body describes: lists are replaced as a whole, or changed.
fn edit(body: &Params) -> Result<Command> {
    let list = |name: &str| {
        let part = |word: &str| body.texts(&format!("{word}_{name}"));
        let (add, remove) = (part("add"), part("remove"));
        match (body.texts(name), add.is_some() || remove.is_some()) {
            (Some(whole), _) => Some(ListEdit::Replace(whole)),
            (None, true) => {
                Some(ListEdit::Change { add: add.unwrap_or_default(), remove: remove.unwrap_or_default() })
            }
            (None, false) => None,
        }
    };
    check_edit(TaskEdit {
        prompt: body.text("prompt"),
        priority: body.integer("priority").map(limits::check_priority).transpose()?,
        name: body.text("name"),
        description: body.text("description"),
        labels: list("labels"),
        assignees: list("assignees"),
    })
}

/// `POST /store/v1/claim`: claims a task, or the next of some lanes, with a token that the client has drawn. A client that
/// has lost the reply gets it again, and no second task.
pub(crate) fn claim(call: &Call<'_>) -> HandlerResult {
    once(call, || {
        let (store, body) = (&call.app.store, &call.body);
        let (owner, token) = (claims::owner(call)?, drawn_token(body)?);
        let lease = body.duration("lease_seconds").unwrap_or(DEFAULT_LEASE);
        let request = ClaimRequest { token: Some(token.clone()), ..ClaimRequest::of(&owner, lease) };
        let claimed = match body.text("task") {
            Some(_) => Some(claim_one(store, &task_id(call)?, &request)?),
            None => {
                let filter = Filter::parse(&body.texts("match").unwrap_or_default())?;
                let query = claims::query(body.texts("lanes").unwrap_or_default(), filter)?;
                if query.lanes.is_empty() {
                    return Err(missing("lanes"));
                }
                claim_next(store, &query, &owner, &token, &request, body.flag("is_repeated"))?
            }
        };
        let task = claimed.map(|task| Value::Object(wire::task_object(&task, Some(&token))));
        Ok(ok([("task", task.into())]))
    })
}

/// Returns the token that the client has drawn: as random as one of the store looks.
fn drawn_token(body: &Params) -> Result<ClaimToken> {
    let token = body.token("claim_token").ok_or_else(|| missing("claim_token"))?;
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if token.as_str().len() == 32 && token.as_str().bytes().all(is_hex) {
        return Ok(token);
    }
    Err(Error::invalid("'claim_token' must be 32 random hexadecimal digits"))
}

/// Claims a task by its id, unless this very request has claimed it already.
fn claim_one(store: &Store, id: &TaskId, request: &ClaimRequest<'_>) -> Result<Task> {
    let task = store.task(id)?;
    let is_ours = task.status.claim().is_some_and(|claim| Some(&claim.token) == request.token.as_ref());
    if is_ours && task.lease_is_live(&store.now()) { Ok(task) } else { store.claim_as(id, request) }
}

/// Claims the next task of some lanes, unless a request with this token has claimed one already.
fn claim_next(
    store: &Store,
    query: &LaneQuery,
    owner: &Owner,
    token: &ClaimToken,
    request: &ClaimRequest<'_>,
    is_repeated: bool,
) -> Result<Option<Task>> {
    if is_repeated && let Some(task) = claimed_with(store, query, owner, token)? {
        return Ok(Some(task));
    }
    store.claim_next_as(query, request)
}

/// Returns the task of some lanes that is claimed with a token.
fn claimed_with(store: &Store, query: &LaneQuery, owner: &Owner, token: &ClaimToken) -> Result<Option<Task>> {
    for lane in &query.lanes {
        let names = match store.open_task_ids(Some(lane.as_str()))? {
            Some(names) => names,
            None => store.task_names()?,
        };
        let mut found = None;
        let extract = |task: &TaskText<'_>| {
            let is_claimed = task.state() == "claimed";
            let task = is_claimed.then(|| task.to_task())?;
            let claim = task.status.claim()?;
            (claim.token == *token && claim.owner == *owner).then_some(task)
        };
        store.scan_names(&names, extract, &mut |_, seen| {
            found = seen.ok().flatten();
            if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// `POST /store/v1/submit`: each task is accepted or refused on its own.
pub(crate) fn submit(call: &Call<'_>) -> HandlerResult {
    let items = call.body.items("tasks");
    if items.iter().any(|item| item.get("verify").is_some()) {
        submit::check_commands_are_allowed(call)?;
    }
    once(call, || {
        let store = &call.app.store;
        let checked: Vec<Result<(NewTask, Vec<String>)>> =
            items.iter().map(|item| new_task(call, item)).collect();
        let fine: Vec<NewTask> =
            checked.iter().filter_map(|checked| Some(checked.as_ref().ok()?.0.clone())).collect();
        // One task needs no staging directory.
        let mut stored = match <[NewTask; 1]>::try_from(fine) {
            Ok([new]) => vec![store.submit(new)],
            Err(several) => store.submit_batch(several)?,
        }
        .into_iter();
        let results: Vec<Value> = checked
            .into_iter()
            .map(|checked| {
                let result = checked.and_then(|(_, warnings)| {
                    let stored = stored.next().ok_or_else(|| Error::invalid_here("it was not stored"))?;
                    stored.map(|submitted| (submitted, warnings))
                });
                Value::Object(match result {
                    Ok((submitted, warnings)) => {
                        let mut object = submitted_object(&submitted);
                        object.insert("warnings".into(), warnings.into());
                        object
                    }
                    Err(error) => members([("error", Value::Object(wire::error_object(&error)))]),
                })
            })
            .collect();
        Ok(ok([("results", results.into())]))
    })
}

/// Reads a task of a submit and checks it as `POST /tasks` does. The text of a request file takes the place of the file.
fn new_task(call: &Call<'_>, item: &Value) -> Result<(NewTask, Vec<String>)> {
    let app = call.app;
    let body = Params::from_item(STORE_SUBMIT, item)?;
    let files = app.hashes();
    let draft = SubmitDraft::read(&app.config, &app.allowed_paths, &body, body.text("key"), &files)?;
    let checked = draft.check(&app.store)?;
    let mut task = checked.task;
    if let Some(text) = body.text("request_text") {
        limits::check_prompt(&text, false)?;
        task.request = NewRequest::Text(text);
    }
    Ok((task, checked.warnings))
}

/// `POST /store/v1/retry`
pub(crate) fn retry(call: &Call<'_>) -> HandlerResult {
    once(call, || {
        let (store, id, by) = (&call.app.store, task_id(call)?, call.body.text_or("by", "api"));
        let retried = match call.body.flag("with_dependents") {
            true => store.retry_with_dependents(&id, &by)?,
            false => vec![store.retry(&id, &by)?],
        };
        let results: Vec<Value> =
            retried.iter().map(|submitted| Value::Object(submitted_object(submitted))).collect();
        Ok(ok([("results", results.into())]))
    })
}

fn submitted_object(submitted: &SubmittedTask) -> crate::model::json::Object {
    members([("task", whole(&submitted.task)), ("existing", submitted.existing.into())])
}

/// `POST /store/v1/pause`: pauses or resumes a lane or a vendor.
pub(crate) fn pause(call: &Call<'_>) -> HandlerResult {
    once(call, || {
        let (store, body) = (&call.app.store, &call.body);
        let (is_paused, reason) = (body.flag("paused"), body.text("reason"));
        if let Some(reason) = &reason {
            limits::check_short_text("the reason", reason)?;
        }
        if let Some(lane) = body.text("lane") {
            let lane = LaneName::new(lane)?;
            let is_changed =
                if is_paused { store.pause(&lane, reason.as_deref())? } else { store.resume(&lane)? };
            return Ok(ok([("value", is_changed.into())]));
        }
        let vendor = limits::check_name(body.needed("vendor")?)?;
        let model = body.text("model").map(limits::check_name).transpose()?;
        let changed = if is_paused {
            let until = pause_end(store.now().wall, None, body.time("until"))?;
            vec![store.pause_vendor(&vendor, model.as_deref(), until, reason.as_deref())?]
        } else {
            store.resume_vendor(&vendor, model.as_deref())?
        };
        Ok(ok([("value", Value::Object(wire::cooldown_list(changed)))]))
    })
}

fn task_id(call: &Call<'_>) -> Result<TaskId> {
    TaskId::parse(&call.body.needed("task")?)
}

/// Carries a request out once: a repeated one gets the first reply. What another process prevented for the moment may be
/// tried again.
fn once(call: &Call<'_>, carry_out: impl FnOnce() -> Result<HttpResponse>) -> HandlerResult {
    let replies = &call.app.change_replies;
    let id = call.body.needed("request_id")?;
    match replies.begin(&id) {
        KnownRequest::New => {}
        KnownRequest::Done(reply) => return Ok(reply.into()),
        KnownRequest::Running => {
            let text = "this request is being carried out; repeat it for its reply";
            return Err(HttpResponse::error(503, "running", text).with_header("Retry-After", "1"));
        }
    }
    // If it panics, the request may be made again.
    let mut open = OpenRequest { replies, id: &id, reply: None };
    let result = carry_out();
    let reply = match &result {
        Ok(reply) => reply.clone(),
        Err(error) => refusal(error),
    };
    let may_pass = |error: &Error| matches!(error.kind(), ErrorKind::Locked | ErrorKind::Io);
    if !result.as_ref().is_err_and(may_pass) {
        open.reply = Some(reply.clone());
    }
    Ok(Reply::Response(reply))
}

/// A request that is carried out; when this is dropped, it has its reply, or may be made again.
struct OpenRequest<'a> {
    replies: &'a ChangeReplies,
    id: &'a str,
    reply: Option<HttpResponse>,
}

impl Drop for OpenRequest<'_> {
    fn drop(&mut self) {
        self.replies.finish(self.id, self.reply.take());
    }
}
