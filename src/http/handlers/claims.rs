//! Taking tasks, keeping them, giving them back: next, claim, renew, release.

use serde_json::Value;

use super::tasks::redacted;
use crate::error::{Error, Result};
use crate::http::context::{App, Call, Outcome};
use crate::http::long_poll::Wish;
use crate::http::response::{Answer, ok};
use crate::http::transport::service::Ticket;
use crate::model::{Command, FailureClass, Filter, Task};
use crate::store::Want;
use crate::workspace::check_lane;

/// How long a long poll lasts unless the client says otherwise, in seconds.
pub const DEFAULT_WAIT: f64 = 21_600.0;
/// How long a lease lasts unless the client says otherwise, in seconds.
const DEFAULT_LEASE: f64 = 7200.0;

/// The answer to whoever has just proved or been given a claim: the one place that shows a token.
pub fn proof(task: &Task) -> Answer {
    let token = task.status.claim().map(|claim| claim.token.as_str().to_string());
    ok([
        ("task", Value::Object(task.to_public_object())),
        ("task_id", task.id.as_str().into()),
        ("claim_token", token.into()),
    ])
}

/// `GET /tasks/next`
pub fn next(call: &Call<'_>) -> Outcome {
    let lanes = call.query.texts("lane").filter(|lanes| !lanes.is_empty());
    let lanes = lanes.ok_or_else(|| crate::http::api::params::missing("lane"))?;
    let filter = Filter::parse(&call.query.texts("match").unwrap_or_default())?;
    let wish = Wish::Next(want(lanes, filter)?);
    call.wait(wish, call.query.seconds("wait_seconds").unwrap_or(DEFAULT_WAIT))
}

/// `POST /tasks/claim`
pub fn claim_next(call: &Call<'_>) -> Outcome {
    let mut lanes = call.body.texts("lanes").unwrap_or_default();
    lanes.extend(call.body.text("lane"));
    if lanes.is_empty() {
        return Err(crate::http::api::params::missing("lanes").into());
    }
    let filter = Filter::parse(&call.body.texts("match").unwrap_or_default())?;
    let wish = Wish::Claim {
        want: want(lanes, filter)?,
        owner: owner(call)?,
        lease_seconds: call.body.seconds("lease_seconds").unwrap_or(DEFAULT_LEASE),
    };
    call.wait(wish, call.body.seconds("wait_seconds").unwrap_or(0.0))
}

/// Claims the next task for a client, unless that has gone; what was claimed by then is given back.
pub fn take(
    app: &App,
    ticket: Ticket,
    want: &Want,
    owner: &str,
    lease_seconds: f64,
) -> Result<Option<Answer>> {
    if !app.sockets.is_here(ticket) {
        return Ok(None);
    }
    let Some(task) = app.store.claim_next(want, owner, lease_seconds)? else { return Ok(None) };
    match task.status.claim() {
        Some(claim) if !app.sockets.is_here(ticket) => {
            let release = Command::Release {
                token: claim.token.clone(),
                reason: Some("the client had hung up".to_string()),
                delay_seconds: None,
                spent: None,
            };
            app.store.apply(&task.id, &release)?;
            Ok(None)
        }
        _ => Ok(Some(proof(&task))),
    }
}

fn want(lanes: Vec<String>, filter: Filter) -> Result<Want> {
    lanes.iter().try_for_each(|lane| check_lane(lane))?;
    Ok(Want { lanes, filter })
}

fn owner(call: &Call<'_>) -> Result<String> {
    let owner = call.body.text_or("owner", "worker");
    if owner.trim().is_empty() {
        return Err(Error::invalid("'owner' is empty"));
    }
    Ok(owner)
}

/// `POST /tasks/{id}/claim`
pub fn claim(call: &Call<'_>) -> Outcome {
    let seconds = call.body.seconds("lease_seconds").unwrap_or(DEFAULT_LEASE);
    Ok(proof(&call.app.store.claim(&call.id()?, &owner(call)?, seconds)?).into())
}

/// `POST /tasks/{id}/renew`
pub fn renew(call: &Call<'_>) -> Outcome {
    let token =
        call.body.token("claim_token").ok_or_else(|| crate::http::api::params::missing("claim_token"))?;
    let renew = Command::Renew { token, lease_seconds: call.body.seconds("lease_seconds") };
    let (task, _) = call.app.store.apply(&call.id()?, &renew)?;
    Ok(proof(&task).into())
}

/// `POST /tasks/{id}/release`
pub fn release(call: &Call<'_>) -> Outcome {
    let release = Command::Release {
        token: call
            .body
            .token("claim_token")
            .ok_or_else(|| crate::http::api::params::missing("claim_token"))?,
        reason: call.body.text("reason"),
        delay_seconds: call.body.seconds("delay_seconds"),
        spent: call.body.text("failure_class").map(|word| FailureClass::parse(&word)),
    };
    let (task, _) = call.app.store.apply(&call.id()?, &release)?;
    Ok(ok([("task", redacted(&task))]).into())
}
