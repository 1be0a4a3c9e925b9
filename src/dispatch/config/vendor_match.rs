//! Who serves a lane, and whether that vendor can do what is said about it.
//!
//! What a route itself names wins, then the command line, then the default of the file. Settings are
//! written in the words of the vendor they stand beside. One that limits an agent must never get lost
//! because another vendor serves the lane: the dispatcher does not start then.

use super::DispatchConfig;
use super::options::Options;
use super::route::{Level, Route, Runner};
use crate::Result;
use crate::dispatch::output::Format;
use crate::dispatch::vendor::{COMMAND, Vendor};
use crate::error::printable;

/// Settings that limit what an agent may do.
const LIMITS: [&str; 4] = ["permission_mode", "setting_sources", "disallowed_tools", "max_budget_usd"];
/// Settings that a vendor may have no place for.
const PLACES: [&str; 9] = [
    "permission_mode",
    "setting_sources",
    "disallowed_tools",
    "max_budget_usd",
    "allowed_tools",
    "model",
    "mcp_config",
    "add_dirs",
    "args",
];

/// Who serves a lane.
#[derive(Debug)]
pub enum Choice {
    /// What the route or the file's default says.
    Route,
    /// What the command line says.
    Asked(Runner),
    /// The route names another vendor than the command line.
    Another(String),
    /// Nothing says it.
    Nobody,
}

/// A route's own word wins; then comes the command line, then the default of the file. A dispatcher
/// for one vendor leaves lanes alone that are meant for another.
pub fn choose(route: &Route, options: &Options) -> Choice {
    let asked = match (&options.vendor, options.command.first()) {
        (Some(vendor), _) => Runner::Vendor(vendor.clone()),
        (None, Some(program)) => {
            Runner::Command { program: program.to_string_lossy().into_owned(), format: Format::Text }
        }
        (None, None) if route.runner.is_some() => return Choice::Route,
        (None, None) => return Choice::Nobody,
    };
    match &route.runner {
        Some(own) if route.names_runner() && *own == asked => Choice::Route,
        Some(Runner::Vendor(own)) if route.names_runner() => Choice::Another(own.clone()),
        // No vendor's: any dispatcher may run it.
        Some(Runner::Command { .. }) if route.names_runner() => Choice::Route,
        _ => Choice::Asked(asked),
    }
}

/// Makes sure that nothing that limits the agents of a lane gets lost with `vendor`. What may get
/// lost is returned, as lines for the user.
///
/// # Errors
/// `Config`, naming the setting that `vendor` cannot keep to.
pub fn check(config: &DispatchConfig, route: &Route, vendor: &Vendor, is_asked: bool) -> Result<Vec<String>> {
    let lane = printable(&route.lane);
    let name = match vendor.name.as_str() {
        COMMAND => printable(&vendor.command),
        name => name.to_string(),
    };
    let is_own = |key: &str| route.given.get(key) == Some(&Level::Own);
    let mut lost: Vec<String> = Vec::new();
    let dropped =
        route.dropped.iter().flat_map(|dropped| dropped.keys.iter().map(|key| (&dropped.vendor, *key)));
    for (before, key) in dropped {
        let before = printable(before);
        if !is_own(key) && !LIMITS.contains(&key) {
            lost.push(format!("{key} of dispatch, which is meant for {before}"));
            continue;
        }
        let reason = format!("is meant for {before}, but {name} would serve lane {lane}");
        let hint = match is_asked {
            true => format!(
                "leave the lane to {before} with `vendor: {before}` in its route, or choose others with --lane"
            ),
            false => format!("say `{key}` in the route, in the words of {name}; `null` is its own default"),
        };
        return Err(config.error(route, key, &reason).with_hint(hint));
    }
    // The arguments of a program without a vendor are its own business.
    let places = PLACES.iter().filter(|key| **key != "args" || vendor.name != COMMAND);
    for key in places.filter(|key| route.has(key) && !vendor.takes(key)) {
        if *key == "allowed_tools" && route.allowed_tools.clone().or(Vec::new()).is_empty() {
            continue;
        }
        if !is_own(key) && !LIMITS.contains(key) {
            lost.push(format!("{key}, which {name} has no place for"));
            continue;
        }
        let reason = format!("{name}, which serves lane {lane}, has no place for it");
        let hint = match is_own(key) {
            true => "take it out, or let another vendor serve the lane".to_string(),
            false => format!("`{key}: null` in the route runs the lane without"),
        };
        return Err(config.error(route, key, &reason).with_hint(hint));
    }
    Ok(lost.into_iter().map(|lost| format!("lane {lane} runs without {lost}")).collect())
}
