//! Serves the output of a task's runs, and what they changed.

use crate::error::{Error, Result};
use crate::http::context::{Call, HandlerResult};
use crate::http::log_follower::{LogFollower, LogPiece};
use crate::http::log_lines::OutputLines;
use crate::http::transport::response::HttpResponse;
use crate::http::wait_for::{RunLog, WaitFor};
use crate::workspace::PATCH_FILE;

/// The maximum number of bytes sent of a run that is not followed.
const MAX_WHOLE: usize = 8 * 1024 * 1024;
/// The largest patch that is sent, in bytes; those that are kept are smaller.
const MAX_PATCH: u64 = 16 * 1024 * 1024;
/// The media type of lines that are JSON objects.
const LINES: &str = "application/x-ndjson";
/// The media type of an output.
const TEXT: &str = "text/plain; charset=utf-8";
/// The value of `stream` for both outputs as lines.
const ALL: &str = "all";

/// `GET /tasks/{id}/log`
pub(crate) fn show(call: &Call<'_>) -> HandlerResult {
    let store = &call.app.store;
    store.task(&call.id()?)?;
    if call.query.str("stream") == Some(ALL) {
        return show_lines(call);
    }
    let stream = call.query.text_or("stream", "stdout");
    let mut follower = LogFollower::new(store, call.id()?, &stream, call.query.count("attempt"));
    match (call.query.str("since"), call.query.count("tail")) {
        (Some(_), Some(_)) => return Err(both_given().into()),
        (Some(since), None) => {
            let offset = since.parse().ok().filter(|offset: &u64| i64::try_from(*offset).is_ok());
            let wrong = || Error::invalid("'since' is the number of bytes that the client has");
            follower.go_to(offset.ok_or_else(wrong)?);
        }
        (None, Some(lines)) => follower.go_to_tail(store, lines)?,
        (None, None) => {}
    }
    if call.query.flag("follow") {
        return call.stream(WaitFor::RunLog(RunLog::Bytes(follower)), HttpResponse::stream(TEXT));
    }
    let Some(bytes) = follower.next_bytes(store, MAX_WHOLE)? else { return Err(no_output(call)?.into()) };
    Ok(HttpResponse::text(TEXT, bytes).into())
}

/// Shows both outputs as lines.
fn show_lines(call: &Call<'_>) -> HandlerResult {
    let (id, store, attempt) = (call.id()?, &call.app.store, call.query.count("attempt"));
    let mut lines = match (call.query.str("since"), call.query.count("tail")) {
        (Some(_), Some(_)) => return Err(both_given().into()),
        (Some(since), None) => OutputLines::after(id, since)?,
        (None, tail) => {
            let mut lines = OutputLines::new(store, id, attempt);
            if let Some(tail) = tail {
                lines.go_to_tail(store, tail)?;
            }
            lines
        }
    };
    if call.query.flag("follow") {
        return call.stream(WaitFor::RunLog(RunLog::Lines(lines)), HttpResponse::stream(LINES));
    }
    if lines.is_missing(store)? {
        return Err(no_output(call)?.into());
    }
    let mut bytes = Vec::new();
    while bytes.len() < MAX_WHOLE
        && let LogPiece::Bytes(more) = lines.read(store, MAX_WHOLE / 16)
    {
        bytes.extend(more);
    }
    Ok(HttpResponse::text(LINES, bytes).into())
}

/// `GET /tasks/{id}/diff`
pub(crate) fn diff(call: &Call<'_>) -> HandlerResult {
    let (id, store) = (call.id()?, &call.app.store);
    store.task(&id)?;
    let numbers = match call.query.count("attempt") {
        Some(number) => vec![number],
        None => store.blobs().attempt_numbers(&id)?,
    };
    for number in numbers.into_iter().rev() {
        let Some(attempt) = store.blobs().attempt(&id, number)? else { continue };
        if let Some(patch) = attempt.read(PATCH_FILE, MAX_PATCH)? {
            return Ok(HttpResponse::text(TEXT, patch).into());
        }
    }
    let of_run = match call.query.count("attempt") {
        Some(number) => format!("run {number} of {id}"),
        None => format!("a run of {id}"),
    };
    Err(Error::not_found(format!("no patch of {of_run} is kept"))
        .with_hint(
            "a run keeps one if the route of its lane has a worktree, and the changes are not too large",
        )
        .into())
}

fn both_given() -> Error {
    Error::invalid("give 'since' or 'tail', not both")
}

fn no_output(call: &Call<'_>) -> Result<Error> {
    Ok(Error::not_found(format!("no output of a run is stored for {}", call.id()?)))
}
