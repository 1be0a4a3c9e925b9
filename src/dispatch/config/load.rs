//! Loads the settings of a dispatcher: `dispatch:` in `handoff.yaml`, which a person writes, and `routes.json` in the
//! store, which programs write.

use serde_yaml::Value;

use super::DispatchConfig;
use super::consent::ConsentPolicy;
use super::reader::{Section, SourceText};
use super::route::Runner;
use super::route_change::{RouteVersion, restricted_change};
use super::sensitive_settings::{SensitiveFile, sensitive_files};
use super::vendor_match;
use crate::dispatch::vendor::Vendor;
use crate::error::printable;
use crate::model::LaneName;
use crate::model::json::{self, Object};
use crate::store::Store;
use crate::workspace::{Config, check_nesting};
use crate::{Error, Result};

/// Reads the current settings, and refuses those that `consent` does not allow.
///
/// # Errors
/// `Config`, naming file, line and key; `Corrupt` or `Io` for routes.json; as [`ConsentPolicy::check`](super::consent::ConsentPolicy::check).
pub(crate) fn load(workspace: &Config, store: &Store, consent: &ConsentPolicy) -> Result<DispatchConfig> {
    let routes = store.routes_text()?;
    let routes = routes.as_ref().map(|(path, text)| (path.as_path(), text.as_str()));
    let config = match routes {
        None => read(workspace, None)?,
        Some((path, text)) => {
            let file = path.to_string_lossy();
            read(workspace, Some(&overlay(SourceText { file: &file, text })?))?
        }
    };
    // Checks the text that was read above, not the current content of the file.
    consent.check(&sensitive_files(workspace, routes))?;
    Ok(config)
}

/// Returns the settings of the configuration files that choose what runs, and whether they need consent.
///
/// # Errors
/// `Corrupt` or `Io` for routes.json.
pub(crate) fn current_sensitive_files(
    workspace: &Config,
    store: Option<&Store>,
) -> Result<Vec<SensitiveFile>> {
    let routes = store.map(Store::routes_text).transpose()?.flatten();
    Ok(sensitive_files(workspace, routes.as_ref().map(|(path, text)| (path.as_path(), text.as_str()))))
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
    read(workspace, Some(&Section::new(source, &[], Some(&value))?.section("routes")?))
}

fn read(workspace: &Config, overlay: Option<&Section<'_>>) -> Result<DispatchConfig> {
    let file = workspace.path().map(|path| path.to_string_lossy().into_owned());
    let text = workspace.path().and_then(|path| std::fs::read_to_string(path).ok());
    let source = SourceText {
        file: file.as_deref().unwrap_or("handoff.yaml"),
        text: text.as_deref().unwrap_or_default(),
    };
    DispatchConfig::read(workspace.dispatch.as_ref(), source, overlay)
}

fn overlay(source: SourceText<'_>) -> Result<Section<'_>> {
    let value = parse(source.file, source.text)?;
    let file = Section::new(source, &[], Some(&value))?;
    file.refuse_unknown_keys(&["routes"])?;
    file.section("routes")
}

/// Parses JSON as YAML, which has the value types that this module reads.
fn parse(file: &str, text: &str) -> Result<Value> {
    let refuse = |why: &str| Error::config(format!("cannot parse {}: {}", printable(file), printable(why)));
    check_nesting(text).map_err(|why| refuse(&why))?;
    serde_yaml::from_str(text).map_err(|error| refuse(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "dispatch:\n  timeout: 5m\n  routes:\n    a: {vendor: claude, max_retries: 3}\n    b: {vendor: codex}\n    c: {vendor: claude}\n";

    fn read_both(routes: &str) -> Result<DispatchConfig> {
        let value: Value = serde_yaml::from_str(FILE).expect("valid YAML");
        let source = SourceText { file: "handoff.yaml", text: FILE };
        let overlay = overlay(SourceText { file: "routes.json", text: routes })?;
        DispatchConfig::read(value.get("dispatch"), source, Some(&overlay))
    }

    #[test]
    fn routes_of_programs_replace_those_of_the_file() {
        let config =
            read_both(r#"{"routes": {"a": {"vendor": "gemini"}, "b": null, "d": {"vendor": "claude"}}}"#)
                .expect("valid");
        let lanes: Vec<&str> = config.routes.iter().map(|route| route.lane.as_str()).collect();
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
        assert!(message("[1]").starts_with("routes.json: expected keys with values"));
        assert!(message("{").starts_with("cannot parse routes.json: "));
        let workspace =
            Config::store_only(std::path::Path::new("/q"), std::path::Path::new("/")).expect("one");
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
