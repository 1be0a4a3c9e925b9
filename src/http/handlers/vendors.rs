//! Vendors: their cooldowns, and pausing and resuming them.

use serde_json::Value;

use crate::error::Result;
use crate::http::context::{Call, HandlerResult};
use crate::http::transport::response::{HttpResponse, ok};
use crate::model::cooldown::pause_end;
use crate::model::json::Object;
use crate::model::{Cooldown, Cooldowns, limits};

/// `GET /vendors`: those that have a cooldown or are paused.
pub(crate) fn list(call: &Call<'_>) -> HandlerResult {
    let cooldowns = call.app.store.active_cooldowns()?;
    let count = cooldowns.len();
    Ok(ok([("parked", by_key(&cooldowns)), ("count", count.into())]).into())
}

/// `POST /vendors/{name}/pause`
pub(crate) fn pause(call: &Call<'_>) -> HandlerResult {
    let (vendor, model) = vendor_and_model(call)?;
    let reason = call.body.text("reason");
    if let Some(reason) = &reason {
        limits::check_short_text("the reason", reason)?;
    }
    let store = &call.app.store;
    let until = pause_end(store.now().wall, call.body.seconds("for_seconds"), call.body.time("until"))?;
    let pause = store.pause_vendor(&vendor, model.as_deref(), until, reason.as_deref())?;
    Ok(changed(&vendor, true, &[pause]).into())
}

/// `POST /vendors/{name}/resume`
pub(crate) fn resume(call: &Call<'_>) -> HandlerResult {
    let (vendor, model) = vendor_and_model(call)?;
    let ended = call.app.store.resume_vendor(&vendor, model.as_deref())?;
    Ok(changed(&vendor, false, &ended).into())
}

/// Returns all cooldowns as JSON, by their keys.
pub(crate) fn by_key(cooldowns: &Cooldowns) -> Value {
    let entries =
        cooldowns.iter().map(|(key, cooldown)| (key.to_string(), Value::Object(cooldown.to_object())));
    Value::Object(entries.collect::<Object>())
}

/// Returns the vendor of the path and the model of the body.
fn vendor_and_model(call: &Call<'_>) -> Result<(String, Option<String>)> {
    let model = call.body.text("model").map(limits::check_name).transpose()?;
    Ok((limits::check_name(call.parameter.clone())?, model))
}

/// Returns the response to a change of a vendor.
fn changed(vendor: &str, is_paused: bool, pauses: &[Cooldown]) -> HttpResponse {
    let list: Vec<Value> = pauses.iter().map(|pause| Value::Object(pause.to_object())).collect();
    ok([
        ("vendor", vendor.into()),
        ("paused", is_paused.into()),
        ("changed", (!list.is_empty()).into()),
        ("pauses", list.into()),
    ])
}
