//! Lanes, which boards call queues.
//!
//! A lane need not be created: it exists once a task is submitted to it. Only its description is created.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::error::{Error, Result, printable};
use crate::http::api::params::missing;
use crate::http::context::{App, Call, HandlerResult};
use crate::http::count_cache::{Counts, LaneCounts};
use crate::http::transport::response::{HttpResponse, members, ok};
use crate::model::LaneName;
use crate::model::task::object;
use crate::store::Pause;

/// `GET /lanes`, `GET /queues`
pub(crate) fn list(call: &Call<'_>) -> HandlerResult {
    let lanes = lane_objects(call.app)?;
    let count = lanes.len();
    let lanes = Value::from(lanes);
    Ok(ok([("lanes", lanes.clone()), ("queues", lanes), ("count", count.into())]).into())
}

/// `GET /lanes/{name}`, `GET /queues/{name}`
pub(crate) fn show(call: &Call<'_>) -> HandlerResult {
    if call.parameter.is_empty() {
        return Err(missing("name").into());
    }
    Ok(lane_response(call.app, &LaneName::new(call.parameter.as_str())?, 200)?.into())
}

/// `POST /lanes`, `POST /queues`
pub(crate) fn create(call: &Call<'_>) -> HandlerResult {
    let name = LaneName::new(call.body.needed("name")?)?;
    if exists(call.app, &name)? {
        return Err(Error::refused(format!("lane {} already exists", printable(name.as_str()))).into());
    }
    let entry = object([("description", call.body.text_or("description", "").into())]);
    call.app.store.change_lane_descriptions(|lanes| {
        lanes.insert(name.to_string(), entry.into());
        Ok(())
    })?;
    Ok(lane_response(call.app, &name, 201)?.into())
}

/// `PATCH /lanes/{name}`, `PATCH /queues/{name}`
pub(crate) fn edit(call: &Call<'_>) -> HandlerResult {
    let store = &call.app.store;
    let old = check_exists(call.app, &call.parameter)?;
    let new = call.body.text("name").map_or_else(|| Ok(old.clone()), LaneName::new)?;
    if new != old {
        if exists(call.app, &new)? {
            return Err(Error::refused(format!("lane {} already exists", printable(new.as_str()))).into());
        }
        check_unused(call.app, &old, "rename")?;
    }
    if new != old || call.body.has("description") {
        store.change_lane_descriptions(|lanes| {
            let mut entry = lanes.remove(old.as_str()).unwrap_or_else(|| object([]).into());
            if let (Some(text), Value::Object(entry)) = (call.body.text("description"), &mut entry) {
                entry.insert("description".into(), text.into());
            }
            lanes.insert(new.to_string(), entry);
            Ok(())
        })?;
    }
    if call.body.has("paused") {
        if call.body.flag("paused") {
            store.pause(&new, call.body.text("reason").as_deref())?;
        } else {
            store.resume(&new)?;
        }
    }
    Ok(lane_response(call.app, &new, 200)?.into())
}

/// `DELETE /lanes/{name}`, `DELETE /queues/{name}`: only of a lane without tasks.
pub(crate) fn delete(call: &Call<'_>) -> HandlerResult {
    let name = check_exists(call.app, &call.parameter)?;
    check_unused(call.app, &name, "delete")?;
    call.app.store.change_lane_descriptions(|lanes| {
        lanes.remove(name.as_str());
        Ok(())
    })?;
    call.app.store.resume(&name)?;
    Ok(HttpResponse::no_content().into())
}

/// `POST /lanes/{name}/pause`: also for a lane that does not exist yet.
pub(crate) fn pause(call: &Call<'_>) -> HandlerResult {
    let name = LaneName::new(call.parameter.as_str())?;
    let changed = call.app.store.pause(&name, call.body.text("reason").as_deref())?;
    Ok(ok([("lane", name.into()), ("paused", true.into()), ("changed", changed.into())]).into())
}

/// `POST /lanes/{name}/resume`
pub(crate) fn resume(call: &Call<'_>) -> HandlerResult {
    let name = LaneName::new(call.parameter.as_str())?;
    let changed = call.app.store.resume(&name)?;
    Ok(ok([("lane", name.into()), ("paused", false.into()), ("changed", changed.into())]).into())
}

/// Refuses to delete or rename (`verb`) a lane that is in use.
fn check_unused(app: &App, name: &LaneName, verb: &str) -> Result<()> {
    if app.config.lanes.contains_key(name) {
        return Err(Error::refused(format!(
            "cannot {verb} lane {}; handoff.yaml names it",
            printable(name.as_str())
        ))
        .with_hint("edit that file"));
    }
    if app.store.lane_has_tasks(name)? {
        return Err(Error::refused(format!("cannot {verb} lane {}; it has tasks", printable(name.as_str()))));
    }
    Ok(())
}

fn exists(app: &App, name: &LaneName) -> Result<bool> {
    Ok(app.config.lanes.contains_key(name)
        || app.store.lane_descriptions()?.contains_key(name.as_str())
        || app.store.paused()?.contains_key(name)
        || app.store.lane_has_tasks(name)?)
}

/// Returns the name of a lane that exists; refuses any other.
fn check_exists(app: &App, name: &str) -> Result<LaneName> {
    let name = LaneName::new(name)?;
    if exists(app, &name)? { Ok(name) } else { Err(unknown_lane(&name)) }
}

fn unknown_lane(name: &LaneName) -> Error {
    Error::not_found(format!("unknown lane: {}", printable(name.as_str())))
}

/// Returns the response that shows one lane.
fn lane_response(app: &App, name: &LaneName, status: u16) -> Result<HttpResponse> {
    if !exists(app, name)? {
        return Err(unknown_lane(name));
    }
    let descriptions = app.store.lane_descriptions()?;
    let paused = app.store.paused()?;
    let counts = app.counts.read(&app.store)?;
    let lane = lane_object(app, name.as_str(), descriptions.get(name.as_str()), paused.get(name), &counts);
    // The second form is the one that boards read.
    let mut object = members([("lane", lane.clone()), ("queue", lane.clone())]);
    if let Value::Object(fields) = lane {
        object.extend(fields);
    }
    Ok(HttpResponse::json(status, &object))
}

/// Returns all lanes: those that the configuration names or a board has described, that are paused, or that have
/// tasks.
pub(crate) fn lane_objects(app: &App) -> Result<Vec<Value>> {
    let descriptions = app.store.lane_descriptions()?;
    let paused = app.store.paused()?;
    let counts = app.counts.read(&app.store)?;
    let names = app.config.lanes.keys().chain(paused.keys()).chain(counts.keys()).map(LaneName::as_str);
    let names: BTreeSet<&str> = names.chain(descriptions.keys().map(String::as_str)).collect();
    Ok(names
        .into_iter()
        .map(|name| lane_object(app, name, descriptions.get(name), paused.get(name), &counts))
        .collect())
}

/// Returns a lane as it is shown.
fn lane_object(
    app: &App,
    name: &str,
    entry: Option<&Value>,
    pause: Option<&Pause>,
    counts: &Counts,
) -> Value {
    let described = entry.and_then(|entry| entry.get("description")).and_then(Value::as_str);
    let description = described.or(app.config.lanes.get(name).map(String::as_str)).unwrap_or_default();
    let LaneCounts { states, cancelled } = counts.get(name).cloned().unwrap_or_default();
    let pause = pause.map(|pause| {
        Value::Object(members([
            ("since", pause.since.to_string().into()),
            ("reason", pause.reason.clone().into()),
        ]))
    });
    Value::Object(members([
        ("name", name.into()),
        ("description", description.into()),
        ("paused", pause.is_some().into()),
        ("pause", pause.into()),
        ("task_count", states.values().sum::<u64>().into()),
        ("cancelled", cancelled.into()),
        ("tasks_by_state", states.into_iter().map(|(state, n)| (state, Value::from(n))).collect::<Value>()),
    ]))
}
