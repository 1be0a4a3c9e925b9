//! Claims: next, claim, renew, release.

use crate::error::Result;
use crate::http::api::params::{Params, missing};
use crate::http::api::views::{claimed, public_task};
use crate::http::context::{Call, HandlerResult};
use crate::http::transport::response::ok;
use crate::http::wait_for::WaitFor;
use crate::model::limits::{DEFAULT_LEASE, DEFAULT_WAIT};
use crate::model::{ClaimToken, Command, FailureClass, Filter, LaneName, Owner, TaskId};
use crate::store::{LaneQuery, Store};
use crate::workspace::{check_release_is_not_verified_later, mark_messages_read, take_messages};

/// `GET /tasks/next`
pub(crate) fn next(call: &Call<'_>) -> HandlerResult {
    let lanes = call.query.texts("lane").filter(|lanes| !lanes.is_empty());
    let lanes = lanes.ok_or_else(|| missing("lane"))?;
    let filter = Filter::parse(&call.query.texts("match").unwrap_or_default())?;
    let wait = WaitFor::ClaimableTask(query(lanes, filter)?);
    call.wait(wait, call.query.duration("wait_seconds").unwrap_or(DEFAULT_WAIT))
}

/// `POST /tasks/claim`
pub(crate) fn claim_next(call: &Call<'_>) -> HandlerResult {
    let mut lanes = call.body.texts("lanes").unwrap_or_default();
    lanes.extend(call.body.text("lane"));
    if lanes.is_empty() {
        return Err(missing("lanes").into());
    }
    let filter = Filter::parse(&call.body.texts("match").unwrap_or_default())?;
    let wait = WaitFor::Claim {
        query: query(lanes, filter)?,
        owner: owner(call)?,
        lease: call.body.duration("lease_seconds").unwrap_or(DEFAULT_LEASE),
    };
    call.wait(wait, call.body.duration("wait_seconds").unwrap_or_default())
}

pub(super) fn query(lanes: Vec<String>, filter: Filter) -> Result<LaneQuery> {
    let lanes = lanes.into_iter().map(LaneName::new).collect::<Result<_>>()?;
    Ok(LaneQuery { lanes, filter })
}

pub(super) fn owner(call: &Call<'_>) -> Result<Owner> {
    Owner::new(call.body.text_or("owner", "worker"))
}

/// `POST /tasks/{id}/claim`
pub(crate) fn claim(call: &Call<'_>) -> HandlerResult {
    let lease = call.body.duration("lease_seconds").unwrap_or(DEFAULT_LEASE);
    let store = &call.app.store;
    let task = store.claim(&call.id()?, &owner(call)?, lease)?;
    if let Some(claim) = task.status.claim() {
        mark_messages_read(store, &task, &claim.token);
    }
    Ok(claimed(&task, &task.messages).into())
}

/// `POST /tasks/{id}/renew`
pub(crate) fn renew(call: &Call<'_>) -> HandlerResult {
    let token = token(&call.body)?;
    let (task, _) = call.app.store.apply(&call.id()?, &renewal(&call.body)?)?;
    Ok(claimed(&task, &take_messages(&call.app.store, &task, &token)).into())
}

/// Returns the renewal that a body describes.
pub(super) fn renewal(body: &Params) -> Result<Command> {
    Ok(Command::Renew { token: token(body)?, lease: body.duration("lease_seconds") })
}

fn token(body: &Params) -> Result<ClaimToken> {
    body.token("claim_token").ok_or_else(|| missing("claim_token"))
}

/// `POST /tasks/{id}/release`
pub(crate) fn release(call: &Call<'_>) -> HandlerResult {
    let (store, id) = (&call.app.store, call.id()?);
    let (task, _) = store.apply(&id, &giving_back(store, &id, &call.body)?)?;
    Ok(ok([("task", public_task(store, &task))]).into())
}

/// Returns the release that a body describes, if a client may make it.
pub(super) fn giving_back(store: &Store, id: &TaskId, body: &Params) -> Result<Command> {
    let token = token(body)?;
    check_release_is_not_verified_later(store, id, &token)?;
    Ok(Command::Release {
        token,
        reason: body.text("reason"),
        delay: body.duration("delay_seconds"),
        spent: body.text("failure_class").map(|word| FailureClass::parse(&word)),
    })
}
