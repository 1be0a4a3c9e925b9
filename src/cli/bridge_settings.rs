//! The bridges of the configuration, for the commands that use them.

use super::context::CommandContext;
use super::env;
use crate::bridge::config;
use crate::bridge::settings::BridgeSettings;
use crate::dispatch::config::consent::ConsentPolicy;
use crate::dispatch::config::sensitive_settings::sensitive_files;
use crate::dispatch::config::settings_files::SettingsFiles;
use crate::error::{Error, Result, printable};
use crate::workspace::{Config, most_similar};

/// Reads the bridges of the configuration. A configuration that was found in a repository must have the user's consent,
/// since it chooses programs to run, and servers to which the user's keys are sent.
///
/// # Errors
/// `Config`, with file, line and key; `Refused` without consent.
pub(super) fn configured_bridges(context: &CommandContext) -> Result<(Config, Vec<BridgeSettings>)> {
    let workspace = context.config()?;
    let bridges = agreed_bridges(&workspace)?;
    Ok((workspace, bridges))
}

/// Reads the bridges of a configuration, to which the user must have agreed.
///
/// # Errors
/// As [`configured_bridges`].
pub(super) fn agreed_bridges(workspace: &Config) -> Result<Vec<BridgeSettings>> {
    let bridges = config::bridges(workspace)?;
    if !bridges.is_empty() {
        let files = sensitive_files(workspace, &SettingsFiles::default());
        ConsentPolicy::new(env::trust_records()).check(&files)?;
    }
    Ok(bridges)
}

/// Returns the bridge `name`.
///
/// # Errors
/// `NotFound`, with the bridges that there are.
pub(super) fn named_bridge(
    workspace: &Config,
    bridges: Vec<BridgeSettings>,
    name: &str,
) -> Result<BridgeSettings> {
    let names: Vec<String> = bridges.iter().map(|bridge| bridge.name.clone()).collect();
    if let Some(bridge) = bridges.into_iter().find(|bridge| bridge.name == name) {
        return Ok(bridge);
    }
    let file = workspace.path().map_or("handoff.yaml".into(), |path| path.to_string_lossy());
    let error = Error::not_found(format!("there is no bridge '{}' in {}", printable(name), printable(&file)));
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    Err(error.with_hint(match (most_similar(name, &known), known.as_slice()) {
        (_, []) => "add it under `bridges`, as docs/bridge.md shows".to_string(),
        (Some(similar), _) => format!("did you mean {similar}?"),
        (None, known) => format!("there is {}", known.join(", ")),
    }))
}
