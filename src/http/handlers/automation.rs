//! What the queue does by itself: its schedules, what is spent of its budgets, and the statistics of runs.

use serde_json::Value;

use crate::error::Error;
use crate::http::context::{Call, HandlerResult};
use crate::http::transport::response::{HttpResponse, ok};
use crate::model::spending::{BudgetScope, BudgetUnit};
use crate::model::{LaneName, limits};
use crate::workspace::schedule_reports;

/// `GET /schedules`
pub(crate) fn schedules(call: &Call<'_>) -> HandlerResult {
    let store = &call.app.store;
    let config = call.app.config.reload(Some(store.address()))?;
    let list: Vec<Value> =
        schedule_reports(store, &config)?.iter().map(|report| report.to_object().into()).collect();
    Ok(ok([("count", list.len().into()), ("schedules", list.into())]).into())
}

/// `GET /stats`
pub(crate) fn stats(call: &Call<'_>) -> HandlerResult {
    let store = &call.app.store;
    let config = call.app.config.reload(Some(store.address()))?;
    let days = call.query.count("days").and_then(|days| u32::try_from(days).ok());
    Ok(HttpResponse::json(200, &(call.app.run_stats)(&config, store, days)?).into())
}

/// `GET /budget`
pub(crate) fn budgets(call: &Call<'_>) -> HandlerResult {
    let store = &call.app.store;
    let config = call.app.config.reload(Some(store.address()))?;
    let list: Vec<Value> = (call.app.budgets.show)(&config, store)?.into_iter().map(Value::Object).collect();
    Ok(ok([("count", list.len().into()), ("budgets", list.into())]).into())
}

/// `POST /budget`: raises a budget until the end of its day or week. As a wider limit of a route, that needs the right to
/// choose what runs.
pub(crate) fn add_to_budget(call: &Call<'_>) -> HandlerResult {
    if !call.app.route_rules.programs {
        let text = "a budget is a limit, and this would allow more; start with --allow-route-programs to have it raised over HTTP";
        return Err(HttpResponse::error(403, "programs_disabled", text));
    }
    let scope = match (call.body.text("lane"), call.body.text("vendor")) {
        (Some(_), Some(_)) => return Err(Error::invalid("give 'lane' or 'vendor', not both").into()),
        (Some(lane), None) => BudgetScope::Lane(LaneName::new(lane)?),
        (None, Some(vendor)) => BudgetScope::Vendor(limits::check_name(vendor)?),
        (None, None) => BudgetScope::Store,
    };
    let unit = call.body.text("of").and_then(|name| BudgetUnit::parse(&name)).unwrap_or(BudgetUnit::Usd);
    let store = &call.app.store;
    let config = call.app.config.reload(Some(store.address()))?;
    let amount = call.body.number("amount").unwrap_or_default();
    let raised = (call.app.budgets.raise)(&config, store, &scope, unit, amount)?;
    let list: Vec<Value> = raised.into_iter().map(Value::Object).collect();
    Ok(ok([("count", list.len().into()), ("budgets", list.into())]).into())
}
