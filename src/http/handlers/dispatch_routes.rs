//! Dispatch routes: which vendor or command serves which lane.
//!
//! The routes of handoff.yaml belong to a person and are never changed here. Routes set over HTTP are in
//! routes.json in the store, where each replaces the file's route of the same lane; dispatchers reload them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::error::{Error, Result, printable};
use crate::http::api::params::missing;
use crate::http::context::{App, Call, HandlerResult};
use crate::http::transport::response::{HttpResponse, members, ok};
use crate::model::json::Object;
use crate::model::{AgentName, LaneName};
use crate::workspace::{Agent, AgentSource, Config, agents};

/// The route of one lane that is in effect.
struct EffectiveRoute {
    settings: Object,
    /// Whether it is in routes.json; otherwise it is in handoff.yaml.
    is_stored: bool,
}

/// `GET /routes`
pub(crate) fn list(call: &Call<'_>) -> HandlerResult {
    let routes: Vec<Value> =
        routes_in_effect(call.app)?.iter().map(|(lane, route)| visible_route(lane, route)).collect();
    Ok(ok([("count", routes.len().into()), ("routes", routes.into())]).into())
}

/// `GET /routes/{lane}`
pub(crate) fn show(call: &Call<'_>) -> HandlerResult {
    Ok(route_response(call.app, &call.parameter, 200)?.into())
}

/// `POST /routes`
pub(crate) fn create(call: &Call<'_>) -> HandlerResult {
    let lane = call.body.text("lane").or_else(|| call.body.text("queue_name"));
    let lane = LaneName::new(lane.ok_or_else(|| missing("lane"))?)?;
    if routes_in_effect(call.app)?.contains_key(&lane) {
        return Err(Error::refused(format!("lane {} already has a route", printable(lane.as_str())))
            .with_hint("PATCH changes it")
            .into());
    }
    refuse_lane_of_agent(call.app, &lane)?;
    let settings = call.body.map("settings");
    check_change(call.app, &lane, &Value::Null, &settings)?;
    put_route(call.app, &lane, settings, None)?;
    Ok(route_response(call.app, lane.as_str(), 201)?
        .with_header("Location", format!("/routes/{}", percent_encoded(lane.as_str())))
        .into())
}

/// `PATCH /routes/{lane}`: keys that are not named stay as they are.
pub(crate) fn edit(call: &Call<'_>) -> HandlerResult {
    let (lane, route) = route_of(call)?;
    let (before, changes) = (route.is_stored.then(|| route.settings.clone()), call.body.map("settings"));
    let old = Value::Object(route.settings.clone());
    let mut settings = route.settings;
    settings.extend(changes);
    check_change(call.app, &lane, &old, &settings)?;
    put_route(call.app, &lane, settings, before)?;
    Ok(route_response(call.app, lane.as_str(), 200)?.into())
}

/// `DELETE /routes/{lane}`: deletes a route of routes.json; the file's route applies again, if it has one.
pub(crate) fn delete(call: &Call<'_>) -> HandlerResult {
    let (lane, route) = route_of(call)?;
    if !route.is_stored {
        return Err(Error::refused(format!(
            "the route of lane {} is in handoff.yaml",
            printable(lane.as_str())
        ))
        .with_hint("edit that file, or PATCH the route")
        .into());
    }
    change_routes(call.app, |routes| {
        routes.remove(lane.as_str());
        Ok(())
    })?;
    Ok(HttpResponse::no_content().into())
}

/// Refuses a route for a lane that an agent serves: dispatchers do not start with both.
fn refuse_lane_of_agent(app: &App, lane: &LaneName) -> Result<()> {
    let Some(name) = AgentName::of_lane(lane) else { return Ok(()) };
    let is_agent = |agent: &Agent| !matches!(agent.source, AgentSource::Route | AgentSource::Lane);
    match agents(&reload_config(app), Some(&app.store))?.get(&name).is_some_and(is_agent) {
        true => Err(Error::refused(format!("lane {} is that of an agent", printable(lane.as_str())))
            .with_hint("change the agent instead: `lanes agents` lists it")),
        false => Ok(()),
    }
}

/// Returns the lane and the route that the path names.
fn route_of(call: &Call<'_>) -> Result<(LaneName, EffectiveRoute)> {
    let lane = call.parameter.as_str();
    routes_in_effect(call.app)?.remove_entry(lane).ok_or_else(|| unknown_route(lane))
}

/// Refuses settings that the dispatcher could not use, and changes that this server does not allow.
fn check_change(
    app: &App,
    lane: &LaneName,
    before: &Value,
    after: &Object,
) -> std::result::Result<(), HttpResponse> {
    let (config, after) = (reload_config(app), Value::Object(after.clone()));
    (app.route_rules.check)(&config, lane, &after)?;
    if app.route_rules.programs {
        return Ok(());
    }
    match (app.route_rules.restricted_change)(&config, lane, before, &after)? {
        None => Ok(()),
        Some(why) => {
            let text = format!("{why}; start with --allow-route-programs to have it set over HTTP");
            Err(HttpResponse::error(403, "programs_disabled", &text))
        }
    }
}

/// Writes a route, unless it has been changed since it was `before`.
fn put_route(app: &App, lane: &LaneName, settings: Object, before: Option<Object>) -> Result<()> {
    change_routes(app, |routes| {
        if routes.get(lane.as_str()).and_then(Value::as_object) != before.as_ref() {
            return Err(Error::refused(format!(
                "the route of lane {} has been changed meanwhile",
                printable(lane.as_str())
            ))
            .with_hint("read it again before you change it"));
        }
        routes.insert(lane.to_string(), settings.into());
        Ok(())
    })
}

/// Changes routes.json.
fn change_routes(app: &App, make: impl FnOnce(&mut Object) -> Result<()>) -> Result<()> {
    app.store.change_routes(|routes| {
        let before = routes.clone();
        make(routes)?;
        (app.route_rules.agree)(&reload_config(app), &app.store.routes_path(), &before, routes);
        Ok(())
    })
}

fn unknown_route(lane: &str) -> Error {
    Error::not_found(format!("no route for lane {}", printable(lane)))
}

fn route_response(app: &App, lane: &str, status: u16) -> Result<HttpResponse> {
    let routes = routes_in_effect(app)?;
    let (lane, route) = routes.get_key_value(lane).ok_or_else(|| unknown_route(lane))?;
    Ok(HttpResponse::json(status, &members([("route", visible_route(lane, route))])))
}

/// Reads the configuration again; returns the one from the start if it cannot be read any more.
fn reload_config(app: &App) -> Config {
    app.config.reload(None).unwrap_or_else(|_| app.config.clone())
}

/// Returns the routes in effect, by lane.
fn routes_in_effect(app: &App) -> Result<BTreeMap<LaneName, EffectiveRoute>> {
    let dispatch =
        reload_config(app).dispatch.and_then(|yaml| serde_json::to_value(yaml).ok()).unwrap_or_default();
    let of_file = dispatch.get("routes").and_then(Value::as_object).cloned().unwrap_or_default();
    let route = |settings: Value, is_stored| EffectiveRoute {
        settings: settings.as_object().cloned().unwrap_or_default(),
        is_stored,
    };
    let mut routes: BTreeMap<LaneName, EffectiveRoute> = of_file
        .into_iter()
        .map(|(lane, settings)| (LaneName::stored(lane), route(settings, false)))
        .collect();
    for (lane, settings) in app.store.routes()? {
        if settings.is_null() {
            routes.remove(lane.as_str());
        } else {
            routes.insert(LaneName::stored(lane), route(settings, true));
        }
    }
    Ok(routes)
}

/// Returns a route as it is shown, without what may be secret: the values of its environment, and servers that are
/// described in the route itself and not in a file.
fn visible_route(lane: &LaneName, route: &EffectiveRoute) -> Value {
    let mut settings = route.settings.clone();
    if let Some(Value::Object(env)) = settings.get_mut("env") {
        env.values_mut().for_each(|value| *value = Value::Null);
    }
    if let Some(servers) = settings.get_mut("mcp_config")
        && servers.as_str().is_some_and(|text| text.trim_start().starts_with('{'))
    {
        *servers = Value::Null;
    }
    Value::Object(members([
        ("lane", lane.into()),
        ("queue_name", lane.into()),
        ("source", if route.is_stored { "routes.json" } else { "handoff.yaml" }.into()),
        ("settings", Value::Object(settings)),
    ]))
}

/// Percent-encodes a name as part of a path.
fn percent_encoded(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
