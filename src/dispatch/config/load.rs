//! Loads the settings of a dispatcher: `dispatch:` and `agents:` in `handoff.yaml`, which a person writes, and
//! `routes.json` and `agents.json` in the store, which programs write.

use std::path::Path;

use serde_yaml::Value;

use super::DispatchConfig;
use super::agent_sections;
use super::consent::ConsentPolicy;
use super::route::Runner;
use super::route_change::{RouteVersion, restricted_change};
use super::route_set::RouteSections;
use super::sensitive_settings::{SensitiveFile, sensitive_files};
use super::settings_files::{SettingsFile, SettingsFiles};
use super::vendor_match;
use crate::dispatch::vendor::Vendor;
use crate::error::printable;
use crate::model::LaneName;
#[cfg(feature = "mcp")]
use crate::model::RecursionLimits;
use crate::model::json::{self, Object};
use crate::store::Store;
use crate::workspace::{Config, Section, SourceText, check_nesting, notice_rules, schedules, why_not_yaml};
use crate::{Error, Result};

/// Reads the current settings, and refuses those that `consent` does not allow.
///
/// # Errors
/// `Config`, naming file, line and key; `Corrupt` or `Io` for routes.json; as [`ConsentPolicy::check`](super::consent::ConsentPolicy::check).
pub(crate) fn load(workspace: &Config, store: &Store, consent: &ConsentPolicy) -> Result<DispatchConfig> {
    load_files(workspace, Some(store), consent)
}

/// As [`load`], also where there is no store yet.
///
/// # Errors
/// As [`load`].
pub(crate) fn load_files(
    workspace: &Config,
    store: Option<&Store>,
    consent: &ConsentPolicy,
) -> Result<DispatchConfig> {
    let files = SettingsFiles::read(workspace, store)?;
    let config = read_settings(workspace, &files)?;
    schedules(workspace)?;
    notice_rules(workspace)?;
    // Checks the texts that were read above, not the current content of the files.
    consent.check(&sensitive_files(workspace, &files))?;
    Ok(config)
}

/// Returns what the current settings allow to agents that submit tasks to `lane`. They need no consent for this: a
/// dispatcher, which does the work, checks them again.
///
/// # Errors
/// `Config`, naming file, line and key; `Corrupt` or `Io` for routes.json.
#[cfg(feature = "mcp")]
pub(crate) fn recursion_limits(
    workspace: &Config,
    store: &Store,
    lane: &LaneName,
) -> Result<RecursionLimits> {
    let files = SettingsFiles::read(workspace, Some(store))?;
    Ok(read_settings(workspace, &files)?.recursion_limits(lane))
}

/// Returns the settings of the configuration files that choose what runs, and whether they need consent.
///
/// # Errors
/// As [`SettingsFiles::read`].
pub(crate) fn current_sensitive_files(
    workspace: &Config,
    store: Option<&Store>,
) -> Result<Vec<SensitiveFile>> {
    Ok(sensitive_files(workspace, &SettingsFiles::read(workspace, store)?))
}

/// Checks a route before it is written to routes.json.
///
/// # Errors
/// `Config`, naming the key of the route.
pub(crate) fn check_route(workspace: &Config, lane: &LaneName, route: &serde_json::Value) -> Result<()> {
    let config = with_route(workspace, lane, route)?;
    let route = config.route(lane);
    let vendor = match &route.runner {
        None => return Ok(()),
        Some(Runner::Vendor(name)) => config.vendors.get(name)?.clone(),
        Some(Runner::Command { program, .. }) => Vendor::command(program, &[]),
    };
    vendor_match::check_settings(&config, &route, &vendor, false).map(drop)
}

/// Returns why a change of a lane's route needs the permission to choose what runs, or `None` if it does not.
/// `before` is null for a lane without a route.
///
/// # Errors
/// As [`check_route`].
pub(crate) fn restricted_route_change(
    workspace: &Config,
    lane: &LaneName,
    before: &serde_json::Value,
    after: &serde_json::Value,
) -> Result<Option<String>> {
    let (old, new) = (with_route(workspace, lane, before)?, with_route(workspace, lane, after)?);
    let before = RouteVersion { settings: before, route: &old.route(lane) };
    Ok(restricted_change(&before, &RouteVersion { settings: after, route: &new.route(lane) }))
}

/// Returns the settings with `route` as the only stored route; null stands for no route.
fn with_route(workspace: &Config, lane: &LaneName, route: &serde_json::Value) -> Result<DispatchConfig> {
    let routes = Object::from_iter([(lane.to_string(), route.clone())]);
    let text = json::to_text(&Object::from_iter([("routes".to_string(), routes.into())]));
    let value = parse("the route", &text)?;
    // Without a text, error messages name no line; there is no file.
    let source = SourceText { file: "the route", text: "" };
    let stored_routes = Some(Section::new(source, &[], Some(&value))?.section("routes")?);
    read(workspace, RouteSections { stored_routes, agents: Vec::new() })
}

/// Reads the settings of a workspace and of the files beside handoff.yaml.
///
/// # Errors
/// `Config`, with file, line and key.
pub(crate) fn read_settings(workspace: &Config, files: &SettingsFiles) -> Result<DispatchConfig> {
    let names = |file: &Option<SettingsFile>| {
        file.as_ref().map(|file| file.path.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let (routes, imported, stored) =
        (names(&files.routes), names(&files.imported_agents), names(&files.stored_agents));
    let stored_routes = match &files.routes {
        Some(file) => Some(store_section(SourceText { file: &routes, text: &file.text }, "routes")?),
        None => None,
    };
    let mut agents = Vec::new();
    if let Some(file) = &files.imported_agents {
        let base = file.path.parent().unwrap_or(Path::new("/"));
        agents.push(imported_agents(SourceText { file: &imported, text: &file.text }, base)?);
    }
    if let Some(file) = &files.stored_agents {
        agents.push(store_section(SourceText { file: &stored, text: &file.text }, "agents")?);
    }
    read(workspace, RouteSections { stored_routes, agents })
}

/// Reads handoff.yaml, whose agents come before those of `sections`.
fn read(workspace: &Config, sections: RouteSections<'_>) -> Result<DispatchConfig> {
    let file = workspace.path().map(|path| path.to_string_lossy().into_owned());
    let text = workspace.path().and_then(|path| std::fs::read_to_string(path).ok());
    let source = SourceText {
        file: file.as_deref().unwrap_or("handoff.yaml"),
        text: text.as_deref().unwrap_or_default(),
    };
    let mut sections: RouteSections<'_> = sections;
    sections.agents.insert(0, Section::new(source, &["agents"], workspace.agents.as_ref())?);
    DispatchConfig::read(workspace.dispatch.as_ref(), source, &sections)
}

/// Reads a file of the store, which has one key.
fn store_section<'a>(source: SourceText<'a>, key: &str) -> Result<Section<'a>> {
    let value = parse(source.file, source.text)?;
    let file = Section::new(source, &[], Some(&value))?;
    file.refuse_unknown_keys(&[key])?;
    file.section(key)
}

/// Reads the agents of a file of agent-dispatch in the directory `base`.
///
/// # Errors
/// `Config`, with file, line and key.
pub(crate) fn imported_agents<'a>(source: SourceText<'a>, base: &Path) -> Result<Section<'a>> {
    let value = parse(source.file, source.text)?;
    agent_sections::imported(&Section::new(source, &[], Some(&value))?, base)
}

/// Parses JSON as YAML, which has the value types that this module reads.
fn parse(file: &str, text: &str) -> Result<Value> {
    let refuse = |why: &str| Error::config(format!("cannot parse {}: {}", printable(file), printable(why)));
    check_nesting(text).map_err(|why| refuse(&why))?;
    serde_yaml::from_str(text).map_err(|error| refuse(&why_not_yaml(&error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "dispatch:\n  timeout: 5m\n  routes:\n    a: {vendor: claude, max_retries: 3}\n    b: {vendor: codex}\n    c: {vendor: claude}\n";

    fn read_both(routes: &str) -> Result<DispatchConfig> {
        let value: Value = serde_yaml::from_str(FILE).expect("valid YAML");
        let source = SourceText { file: "handoff.yaml", text: FILE };
        let stored = store_section(SourceText { file: "routes.json", text: routes }, "routes")?;
        let sections = RouteSections { stored_routes: Some(stored), agents: Vec::new() };
        DispatchConfig::read(value.get("dispatch"), source, &sections)
    }

    #[test]
    fn routes_of_programs_replace_those_of_the_file() {
        let config =
            read_both(r#"{"routes": {"a": {"vendor": "gemini"}, "b": null, "d": {"vendor": "claude"}}}"#)
                .expect("valid");
        let lanes: Vec<&str> = config.routes().iter().map(|route| route.lane.as_str()).collect();
        assert_eq!(lanes, ["a", "c", "d"]);
        let a = config.route(&LaneName::stored("a"));
        assert_eq!(a.max_retries, 0, "the route as a whole is replaced");
        assert_eq!(a.timeout.map(|length| length.as_secs()), Some(300), "the defaults stay");
    }

    #[test]
    fn errors_name_the_file_and_the_key() {
        let message = |routes| read_both(routes).expect_err("a mistake").to_string();
        assert_eq!(
            message("{\n  \"routes\": {\n    \"a\": {\n      \"timeuot\": 5\n    }\n  }\n}\n"),
            "routes.json line 4: routes.a.timeuot: unknown key; did you mean timeout?"
        );
        assert!(message("{\"rutes\": {}}").contains("rutes: unknown key; did you mean routes?"));
        assert_eq!(
            message("{\"routes\": {\"a\": {\"vendor\": \"claude\", \"verify_rounds\": 21}}}"),
            "routes.json line 1: routes.a.verify_rounds: is at most 20: each round is a paid run of the agent"
        );
        assert!(message("[1]").starts_with("routes.json: expected keys with values"));
        assert!(message("{").starts_with("cannot parse routes.json: "));
        let workspace = Config::store_only(Path::new("/q"), Path::new("/")).expect("one");
        let check = |route: serde_json::Value| {
            check_route(&workspace, &LaneName::stored("a"), &route).map_err(|e| e.to_string())
        };
        assert_eq!(check(serde_json::json!({"vendor": "codex", "priority": 5})), Ok(()));
        assert_eq!(
            check(serde_json::json!({"on_success": {"move_to": "a"}})),
            Err("the route: routes.a.on_success: a lane cannot pass its tasks on to itself".to_string())
        );
        let unfit = check(serde_json::json!({"vendor": "codex", "disallowed_tools": ["web"]}));
        assert!(
            unfit
                .unwrap_err()
                .contains("routes.a.disallowed_tools: codex, which serves lane a, does not support it")
        );
    }
}
