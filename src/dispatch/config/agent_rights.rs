//! Compares what an agent may do before and after a change, for clients that may change agents and not give them more
//! rights.

use super::route::Route;
use super::route_change::{raised_limit, restricted_keys};
use crate::dispatch::vendor::Vendor;
use crate::model::json::Object;
use crate::workspace::Override;

/// The modes in which a vendor's program asks for nothing and refuses nothing.
const BYPASS_MODES: [&str; 3] = ["bypassPermissions", "danger-full-access", "yolo"];
/// What the arguments contain that have the same effect.
const BYPASS_ARGUMENTS: [&str; 4] = ["dangerously", "yolo", "danger-full-access", "bypassPermissions"];

/// The modes by which a vendor restricts its agents, from the strictest on.
const MODES: [&[&str]; 3] = [
    &["plan", "default", "acceptEdits", "bypassPermissions"],
    &["read-only", "workspace-write", "danger-full-access"],
    &["plan", "default", "auto_edit", "yolo"],
];

/// Keys of a route that choose what runs, of which the values are compared. A directory is checked where it is set, and a
/// model is no right.
const COMPARED_KEYS: [&str; 6] =
    ["vendor", "cwd", "model", "permission_mode", "allowed_tools", "disallowed_tools"];

/// An agent before or after a change: its route, and the vendor that serves it.
pub(crate) struct AgentVersion<'a> {
    /// Settings as written.
    pub settings: &'a Object,
    /// Its route, with all defaults.
    pub route: &'a Route,
    /// The vendor.
    pub vendor: &'a Vendor,
}

impl AgentVersion<'_> {
    fn mode(&self) -> Option<&str> {
        match &self.route.permission_mode {
            Override::Inherit => self.vendor.permission_mode.as_deref(),
            Override::Off => None,
            Override::Value(mode) => Some(mode),
        }
    }

    fn allowed_tools(&self) -> Option<&[String]> {
        tools(&self.route.allowed_tools, &self.vendor.allowed_tools)
    }

    fn disallowed_tools(&self) -> Option<&[String]> {
        tools(&self.route.disallowed_tools, &self.vendor.disallowed_tools)
    }
}

/// Returns the effective list; `None` leaves it to the vendor's program.
fn tools<'a>(own: &'a Override<Vec<String>>, of_vendor: &'a [String]) -> Option<&'a [String]> {
    match own {
        Override::Inherit => Some(of_vendor),
        Override::Off => None,
        Override::Value(list) => Some(list),
    }
}

/// Returns the right by which an agent may do whatever its user can do, or `None` if it has none.
pub(crate) fn bypass(route: &Route, vendor: &Vendor) -> Option<String> {
    let mode = match &route.permission_mode {
        Override::Inherit => vendor.permission_mode.as_deref(),
        Override::Off => None,
        Override::Value(mode) => Some(mode.as_str()),
    };
    let mode = mode.filter(|mode| BYPASS_MODES.contains(mode));
    let is_bypass = |arg: &&String| BYPASS_ARGUMENTS.iter().any(|part| arg.contains(part));
    mode.or_else(|| route.args.iter().find(is_bypass).map(String::as_str)).map(str::to_string)
}

/// Returns why a change of an agent gives it more rights, or `None` if it does not.
pub(crate) fn widened_right(before: &AgentVersion<'_>, after: &AgentVersion<'_>) -> Option<String> {
    let mut fixed = restricted_keys().filter(|key| !COMPARED_KEYS.contains(key));
    if let Some(key) = fixed.find(|key| before.settings.get(*key) != after.settings.get(*key)) {
        return Some(format!("'{key}' decides what runs on this machine"));
    }
    if before.vendor.name != after.vendor.name {
        return Some("another vendor has other rights".to_string());
    }
    if !is_mode_at_most(after.mode(), before.mode()) {
        return Some("'permission_mode' would allow more, or cannot be compared".to_string());
    }
    let is_within = |list: Option<&[String]>, limit: Option<&[String]>| match (list, limit) {
        (None, None) => true,
        (Some(list), Some(limit)) => list.iter().all(|tool| limit.contains(tool)),
        (None, Some(_)) | (Some(_), None) => false,
    };
    if !is_within(after.allowed_tools(), before.allowed_tools()) {
        return Some("'allowed_tools' would allow more".to_string());
    }
    if !is_within(before.disallowed_tools(), after.disallowed_tools()) {
        return Some("'disallowed_tools' would refuse less".to_string());
    }
    raised_limit(before.route, after.route)
        .map(|key| format!("'{key}' is a limit, and this would allow more"))
}

/// Returns whether `mode` allows at most what `limit` does; `None` is the default of the vendor's program.
fn is_mode_at_most(mode: Option<&str>, limit: Option<&str>) -> bool {
    if mode == limit {
        return true;
    }
    let (Some(mode), Some(limit)) = (mode, limit) else { return false };
    MODES.iter().any(|order| {
        let place = |mode: &str| order.iter().position(|known| *known == mode);
        matches!((place(mode), place(limit)), (Some(mode), Some(limit)) if mode <= limit)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dispatch::config::route::read_route;
    use crate::dispatch::vendor::Vendors;
    use crate::model::LaneName;
    use crate::workspace::{Section, SourceText};

    fn widened(before: serde_json::Value, after: serde_json::Value) -> Option<String> {
        let source = SourceText { file: "x", text: "" };
        let vendors = Vendors::with_overrides(&Section::new(source, &[], None).unwrap()).unwrap();
        let read = |settings: &serde_json::Value| {
            let text = settings.to_string();
            let value: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
            let section = Section::new(source, &[], Some(&value)).unwrap();
            read_route(Route::with_defaults(LaneName::stored("agent/a")), &section, &vendors).unwrap()
        };
        let (old, new) = (read(&before), read(&after));
        let vendor = |route: &Route| vendors.get(route.runner.as_ref().unwrap().name()).unwrap().clone();
        let (old_vendor, new_vendor) = (vendor(&old), vendor(&new));
        let version = |settings: &'_ serde_json::Value| settings.as_object().unwrap().clone();
        let (old_settings, new_settings) = (version(&before), version(&after));
        widened_right(
            &AgentVersion { settings: &old_settings, route: &old, vendor: &old_vendor },
            &AgentVersion { settings: &new_settings, route: &new, vendor: &new_vendor },
        )
    }

    #[test]
    fn rights_may_shrink_and_not_grow() {
        let with = |more: serde_json::Value| {
            let mut settings = json!({"vendor": "claude", "permission_mode": "acceptEdits", "max_budget_usd": 2,
                "allowed_tools": ["Read", "Edit"], "disallowed_tools": ["Web"], "timeout": "10m"});
            settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            settings
        };
        for narrower in [
            json!({}),
            json!({"permission_mode": "plan"}),
            json!({"permission_mode": "default", "allowed_tools": []}),
            json!({"disallowed_tools": ["Web", "Bash"], "max_budget_usd": 1, "timeout": 60}),
            json!({"model": "opus", "effort": "high", "prompt": "Be brief."}),
        ] {
            assert_eq!(widened(with(json!({})), with(narrower.clone())), None, "{narrower}");
        }
        for (wider, key) in [
            (json!({"permission_mode": "bypassPermissions"}), "permission_mode"),
            (json!({"permission_mode": "unheardOf"}), "permission_mode"),
            (json!({"permission_mode": null}), "permission_mode"),
            (json!({"allowed_tools": ["Read", "Edit", "Bash"]}), "allowed_tools"),
            (json!({"allowed_tools": null}), "allowed_tools"),
            (json!({"disallowed_tools": []}), "disallowed_tools"),
            (json!({"max_budget_usd": 3}), "max_budget_usd"),
            (json!({"max_budget_usd": null}), "max_budget_usd"),
            (json!({"timeout": "1h"}), "timeout"),
            (json!({"vendor": "claude", "args": ["--x"]}), "args"),
            (json!({"env": {"A": "1"}}), "env"),
            (json!({"add_dirs": ["/"]}), "add_dirs"),
            (json!({"mcp": "inherit"}), "mcp"),
            (json!({"allow_cycles": true}), "allow_cycles"),
        ] {
            let why = widened(with(json!({})), with(wider.clone()));
            assert!(why.as_ref().is_some_and(|why| why.contains(&format!("'{key}'"))), "{wider}: {why:?}");
        }
        let plain = |vendor: &str| json!({"vendor": vendor});
        assert!(widened(plain("claude"), plain("codex")).unwrap().contains("vendor"));
        // The list of the vendor is the limit where the agent has none.
        assert_eq!(widened(plain("claude"), json!({"vendor": "claude", "allowed_tools": []})), None);
        assert!(widened(plain("claude"), json!({"vendor": "claude", "allowed_tools": ["Bash"]})).is_some());
    }
}
