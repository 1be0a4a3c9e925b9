//! What the queue does by itself: its schedules, and what is spent of its budgets.

use serde_json::Value;

use crate::http::context::{Call, HandlerResult};
use crate::http::transport::response::ok;
use crate::workspace::schedule_reports;

/// `GET /schedules`
pub(crate) fn schedules(call: &Call<'_>) -> HandlerResult {
    let store = &call.app.store;
    let config = call.app.config.reload(Some(store.root()))?;
    let list: Vec<Value> =
        schedule_reports(store, &config)?.iter().map(|report| report.to_object().into()).collect();
    Ok(ok([("count", list.len().into()), ("schedules", list.into())]).into())
}

/// `GET /budget`
pub(crate) fn budgets(call: &Call<'_>) -> HandlerResult {
    let store = &call.app.store;
    let config = call.app.config.reload(Some(store.root()))?;
    let list: Vec<Value> = (call.app.budgets)(&config, store)?.into_iter().map(Value::Object).collect();
    Ok(ok([("count", list.len().into()), ("budgets", list.into())]).into())
}
