//! Dispatch routes: which program serves which lane.
//!
//! Those of the configuration file are shown and stay a person's to change. Those that programs
//! add are kept in the store's `board.json`, and go before the file's for the same lane.

use serde_json::Value;

use super::answer::{Answer, ok};
use super::app::{App, Call, Outcome};
use crate::error::{Error, Result, printable};
use crate::model::json::Object;
use crate::workspace::check_lane;

/// The board's section in which the routes are kept.
const SECTION: &str = "routes";

/// `GET /routes`
pub fn list(call: &Call<'_>) -> Outcome {
    let routes = all(call.app)?;
    let count = routes.len();
    let routes: Vec<Value> = routes.into_iter().map(|(_, route)| route).collect();
    Ok(ok([("routes", routes.into()), ("count", count.into())]).into())
}

/// `GET /routes/{lane}`
pub fn show(call: &Call<'_>) -> Outcome {
    Ok(one(call.app, &call.parameter, 200)?.into())
}

/// `POST /routes`
pub fn create(call: &Call<'_>) -> Outcome {
    let lane = call.body.needed("lane")?;
    check_lane(&lane)?;
    let settings = call.body.map("settings");
    call.app.store.change_board(SECTION, |routes| {
        if routes.contains_key(&lane) {
            return Err(Error::refused(format!("lane {} has a route", printable(&lane))));
        }
        routes.insert(lane.clone(), settings.into());
        Ok(())
    })?;
    Ok(one(call.app, &lane, 201)?.into())
}

/// `PATCH /routes/{lane}`
pub fn edit(call: &Call<'_>) -> Outcome {
    let lane = &call.parameter;
    let settings = call.body.map("settings");
    call.app.store.change_board(SECTION, |routes| {
        let Some(Value::Object(route)) = routes.get_mut(lane) else { return Err(not_ours(lane)) };
        for (key, value) in settings {
            // Null takes a setting away.
            if value.is_null() {
                route.remove(&key)
            } else {
                route.insert(key, value)
            };
        }
        Ok(())
    })?;
    Ok(one(call.app, lane, 200)?.into())
}

/// `DELETE /routes/{lane}`
pub fn delete(call: &Call<'_>) -> Outcome {
    let lane = &call.parameter;
    call.app.store.change_board(SECTION, |routes| match routes.remove(lane) {
        Some(_) => Ok(()),
        None => Err(not_ours(lane)),
    })?;
    Ok(Answer::empty().into())
}

fn not_ours(lane: &str) -> Error {
    Error::not_found(format!("no route for lane {} was added here", printable(lane)))
        .with_hint("a route of handoff.yaml is changed in that file")
}

fn one(app: &App, lane: &str, status: u16) -> Result<Answer> {
    let route = all(app)?.into_iter().find(|(name, _)| name == lane);
    let (_, route) =
        route.ok_or_else(|| Error::not_found(format!("no route for lane {}", printable(lane))))?;
    Ok(Answer::json(status, &super::answer::members([("route", route)])))
}

/// All routes by lane, those of boards before those of the file.
fn all(app: &App) -> Result<Vec<(String, Value)>> {
    let added = app.store.board(SECTION)?;
    let dispatch = app.config.dispatch.as_ref().and_then(|yaml| serde_json::to_value(yaml).ok());
    let named = dispatch.as_ref().and_then(|dispatch| dispatch.get("routes"));
    let mut routes: Vec<(String, Value)> =
        added.iter().map(|(lane, settings)| (lane.clone(), view(lane, settings, "board"))).collect();
    let from_file: Vec<(String, &Value)> = match named {
        Some(Value::Object(routes)) => routes.iter().map(|(lane, route)| (lane.clone(), route)).collect(),
        Some(Value::Array(routes)) => routes
            .iter()
            .filter_map(|route| Some((route.get("lane")?.as_str()?.to_string(), route)))
            .collect(),
        _ => Vec::new(),
    };
    for (lane, settings) in from_file {
        if !added.contains_key(&lane) {
            routes.push((lane.clone(), view(&lane, settings, "handoff.yaml")));
        }
    }
    routes.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(routes)
}

/// A route without the values of its environment, which may be secrets.
fn view(lane: &str, settings: &Value, source: &str) -> Value {
    let mut settings: Object = settings.as_object().cloned().unwrap_or_default();
    if let Some(Value::Object(env)) = settings.get_mut("env") {
        env.values_mut().for_each(|value| *value = Value::Null);
    }
    Value::Object(super::answer::members([
        ("lane", lane.into()),
        ("queue_name", lane.into()),
        ("source", source.into()),
        ("settings", Value::Object(settings)),
    ]))
}
