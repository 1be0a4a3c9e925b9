//! Groups: changing all tasks of one.

use serde_json::Value;

use super::tasks::successor;
use crate::error::Result;
use crate::http::context::{Call, HandlerResult};
use crate::http::transport::response::ok;
use crate::model::{Command, GroupName, TaskId, TaskText};

/// Returns the tasks of the group in the path that `keep` accepts. Tasks that cannot be read are left out: `GET /tasks`
/// shows them.
fn members(call: &Call<'_>, keep: &(dyn Fn(&TaskText<'_>) -> bool + Sync)) -> Result<Vec<TaskId>> {
    call.app.store.group_members(&GroupName::new(call.parameter.as_str())?, keep, &mut |_| {})
}

/// `POST /groups/{name}/cancel`
pub(crate) fn cancel(call: &Call<'_>) -> HandlerResult {
    let (by, reason) = (call.body.text_or("by", "api"), call.body.text("reason"));
    let mut cancelled = Vec::new();
    for id in members(call, &|task| !task.is_terminal())? {
        call.app.store.apply(&id, &Command::Cancel { reason: reason.clone(), by: by.clone() })?;
        cancelled.push(Value::from(id.as_str()));
    }
    Ok(ok([("count", cancelled.len().into()), ("task_ids", cancelled.into())]).into())
}

/// `POST /groups/{name}/retry`
pub(crate) fn retry(call: &Call<'_>) -> HandlerResult {
    let (store, by) = (&call.app.store, call.body.text_or("by", "api"));
    let mut results = Vec::new();
    for id in members(call, &|task| task.state() == "failed" && task.retried_as.is_none())? {
        results.push(Value::Object(successor(&id, &store.retry(&id, &by)?)));
    }
    Ok(ok([("count", results.len().into()), ("results", results.into())]).into())
}
