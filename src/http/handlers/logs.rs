//! Serves the output of a task's runs: `GET /tasks/{id}/log`.

use crate::error::Error;
use crate::http::context::{Call, HandlerResult};
use crate::http::log_follower::LogFollower;
use crate::http::transport::response::HttpResponse;
use crate::http::wait_for::WaitFor;

/// The maximum number of bytes sent of a run that is not followed.
const MAX_WHOLE: usize = 8 * 1024 * 1024;

/// `GET /tasks/{id}/log`
pub(crate) fn show(call: &Call<'_>) -> HandlerResult {
    let (id, store) = (call.id()?, &call.app.store);
    store.task(&id)?;
    let stream = call.query.text_or("stream", "stdout");
    let follower = LogFollower::new(store, id.clone(), &stream, call.query.count("attempt"));
    if call.query.flag("follow") {
        return call.stream(WaitFor::RunLog(follower), HttpResponse::stream("text/plain; charset=utf-8"));
    }
    let Some(bytes) = follower.first_bytes(store, MAX_WHOLE)? else {
        return Err(Error::not_found(format!("no output of a run is stored for {id}")).into());
    };
    Ok(HttpResponse::text("text/plain; charset=utf-8", bytes).into())
}
