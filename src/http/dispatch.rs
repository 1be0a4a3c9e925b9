//! Dispatch routes: which program serves which lane.
//!
//! They are read from the configuration file, which stays a person's to change.

use serde_json::Value;

use super::answer::{Answer, ok};
use super::app::{App, Call, Outcome};
use crate::error::{Error, Result, printable};
use crate::model::json::Object;

/// `GET /routes`
pub fn list(call: &Call<'_>) -> Outcome {
    let routes = all(call.app);
    let count = routes.len();
    let routes: Vec<Value> = routes.into_iter().map(|(_, route)| route).collect();
    Ok(ok([("routes", routes.into()), ("count", count.into())]).into())
}

/// `GET /routes/{lane}`
pub fn show(call: &Call<'_>) -> Outcome {
    Ok(one(call.app, &call.parameter, 200)?.into())
}

fn one(app: &App, lane: &str, status: u16) -> Result<Answer> {
    let route = all(app).into_iter().find(|(name, _)| name == lane);
    let (_, route) =
        route.ok_or_else(|| Error::not_found(format!("no route for lane {}", printable(lane))))?;
    Ok(Answer::json(status, &super::answer::members([("route", route)])))
}

/// All routes by lane.
fn all(app: &App) -> Vec<(String, Value)> {
    let dispatch = app.config.dispatch.as_ref().and_then(|yaml| serde_json::to_value(yaml).ok());
    let mut routes: Vec<(String, Value)> = match dispatch.as_ref().and_then(|dispatch| dispatch.get("routes"))
    {
        Some(Value::Object(routes)) => {
            routes.iter().map(|(lane, route)| (lane.clone(), view(lane, route))).collect()
        }
        Some(Value::Array(routes)) => routes
            .iter()
            .filter_map(|route| Some((route.get("lane")?.as_str()?, route)))
            .map(|(lane, route)| (lane.to_string(), view(lane, route)))
            .collect(),
        _ => Vec::new(),
    };
    routes.sort_by(|a, b| a.0.cmp(&b.0));
    routes
}

/// A route without the values of its environment, which may be secrets.
fn view(lane: &str, settings: &Value) -> Value {
    let mut settings: Object = settings.as_object().cloned().unwrap_or_default();
    if let Some(Value::Object(env)) = settings.get_mut("env") {
        env.values_mut().for_each(|value| *value = Value::Null);
    }
    Value::Object(super::answer::members([
        ("lane", lane.into()),
        ("queue_name", lane.into()),
        ("source", "handoff.yaml".into()),
        ("settings", Value::Object(settings)),
    ]))
}
