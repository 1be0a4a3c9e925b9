//! Which vendor serves a lane, and whether it supports the lane's settings.
//!
//! The vendor named by the route takes precedence, then the command line, then the default of the file. A setting is
//! meant for the vendor that is named at the same level. A setting that limits an agent must not be lost because
//! another vendor serves the lane: in that case, the dispatcher does not start.

use super::DispatchConfig;
use super::options::{CommandLineRunner, DispatchOptions};
use super::route::{Route, Runner, SettingLevel};
use crate::Result;
use crate::dispatch::vendor::{COMMAND, Vendor};
use crate::error::printable;

/// Settings that limit what an agent may do.
const LIMITING_KEYS: [&str; 4] = ["permission_mode", "setting_sources", "disallowed_tools", "max_budget_usd"];
/// Settings that a vendor may not support.
const OPTIONAL_KEYS: [&str; 10] = [
    "permission_mode",
    "permission_prompts",
    "setting_sources",
    "disallowed_tools",
    "max_budget_usd",
    "allowed_tools",
    "model",
    "mcp_config",
    "add_dirs",
    "args",
];

/// What decides which vendor serves a lane.
#[derive(Debug)]
pub(crate) enum RunnerChoice {
    /// The route, or the default of the file.
    FromRoute,
    /// The command line.
    FromCommandLine(CommandLineRunner),
    /// The route names a different vendor than the command line.
    OtherVendor(String),
    /// Nothing names a vendor.
    Unconfigured,
}

/// Chooses the runner of a lane: that of its route, then of the command line, then the default of the file. A
/// dispatcher for one vendor does not serve lanes whose routes name another.
pub(crate) fn choose_runner(route: &Route, options: &DispatchOptions) -> RunnerChoice {
    match (&route.runner, &options.runner) {
        (None, None) => RunnerChoice::Unconfigured,
        (Some(_), None) => RunnerChoice::FromRoute,
        (Some(Runner::Vendor(own)), Some(given))
            if route.names_runner() && given.runner != Runner::Vendor(own.clone()) =>
        {
            RunnerChoice::OtherVendor(own.clone())
        }
        // The same vendor, or a program without a vendor, which any dispatcher may run.
        (Some(_), Some(_)) if route.names_runner() => RunnerChoice::FromRoute,
        (_, Some(given)) => RunnerChoice::FromCommandLine(given.clone()),
    }
}

/// Checks that `vendor` supports every setting that limits the agents of a lane. Returns warnings for other settings
/// that do not take effect.
///
/// # Errors
/// `Config`, naming the limiting setting that `vendor` does not support.
pub(crate) fn check_settings(
    config: &DispatchConfig,
    route: &Route,
    vendor: &Vendor,
    is_from_command_line: bool,
) -> Result<Vec<String>> {
    let lane = printable(route.lane.as_str());
    let name = match vendor.name.as_str() {
        COMMAND => printable(&vendor.command),
        name => name.to_string(),
    };
    let is_own = |key: &str| route.given.get(key) == Some(&SettingLevel::Own);
    let mut dropped_keys: Vec<String> = Vec::new();
    let dropped =
        route.dropped.iter().flat_map(|dropped| dropped.keys.iter().map(|key| (&dropped.vendor, *key)));
    for (before, key) in dropped {
        let before = printable(before);
        if !is_own(key) && !LIMITING_KEYS.contains(&key) {
            dropped_keys.push(format!("{key} of dispatch, which is meant for {before}"));
            continue;
        }
        let reason = format!("is meant for {before}, but {name} would serve lane {lane}");
        let hint = match is_from_command_line {
            true => format!(
                "leave the lane to {before} with `vendor: {before}` in its route, or choose others with --lane"
            ),
            false => {
                format!("set `{key}` in the route to a value for {name}; `null` means the default of {name}")
            }
        };
        return Err(config.error(route, key, &reason).with_hint(hint));
    }
    // The arguments of a program without a vendor are not checked.
    let optional = OPTIONAL_KEYS.iter().filter(|key| **key != "args" || vendor.name != COMMAND);
    for key in optional.filter(|key| route.has_value(key) && !vendor.supports(key)) {
        if *key == "allowed_tools" && route.allowed_tools.clone().or(Vec::new()).is_empty() {
            continue;
        }
        if !is_own(key) && !LIMITING_KEYS.contains(key) {
            dropped_keys.push(format!("{key}, which {name} does not support"));
            continue;
        }
        let reason = format!("{name}, which serves lane {lane}, does not support it");
        let hint = match is_own(key) {
            true => "remove it, or let another vendor serve the lane".to_string(),
            false => format!("`{key}: null` in the route runs the lane without it"),
        };
        return Err(config.error(route, key, &reason).with_hint(hint));
    }
    Ok(dropped_keys.into_iter().map(|key| format!("lane {lane} runs without {key}")).collect())
}
