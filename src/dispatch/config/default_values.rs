//! What the settings of a dispatcher are where no file sets them, for people.

use std::time::Duration;

use serde_json::Value;

use super::plan::DEFAULT_LEASE;
use super::route::{DEFAULT_SILENCE, ROUTE_KEYS};
use super::{DispatchConfig, PROCESS_KEYS};
use crate::dispatch::vendor::Vendor;
use crate::model::duration;
use crate::workspace::Override;

/// Returns the keys under `dispatch:` that have an effect where no file sets them, with their values.
pub(crate) fn default_values(config: &DispatchConfig) -> Vec<(&'static str, Value)> {
    let keys = PROCESS_KEYS.into_iter().chain(ROUTE_KEYS);
    let values = keys.map(|key| (key, default_value(config, key).unwrap_or_default()));
    values.filter(|(_, value)| !value.is_null()).collect()
}

/// Returns the value of a key that no file sets; null if it has no effect then, and `None` for a key that is unknown.
fn default_value(config: &DispatchConfig, key: &str) -> Option<Value> {
    let route = &config.defaults;
    let span = |length: Duration| Value::from(duration::format_coarse(length));
    let of_vendor = |list: fn(&Vendor) -> &Vec<String>| {
        let list = vendor_of(config).map(list).filter(|list| !list.is_empty());
        list.map_or(Value::Null, |list| list.clone().into())
    };
    Some(match key {
        "max_concurrent" => config.max_concurrent.into(),
        "max_depth" => config.max_depth.into(),
        "lease_seconds" => span(config.lease.unwrap_or(DEFAULT_LEASE)),
        "grace" => span(config.grace),
        "linger" => span(config.linger),
        "priority" => route.position.into(),
        "timeout" => route.timeout.map(span).into(),
        "silence_timeout" => match &route.silence_timeout {
            Override::Inherit => span(DEFAULT_SILENCE),
            Override::Off => Value::Null,
            Override::Value(length) => span(*length),
        },
        "poll_interval" => span(route.poll_interval),
        "max_retries" => route.max_retries.into(),
        "retry_delay" => span(route.retry_delay),
        "retry_delay_max" => span(route.retry_delay_max),
        "max_hops" => route.follow_ups.max_hops.into(),
        "verify_timeout" => route.verify.timeout.map(span).into(),
        "verify_rounds" => route.verify.rounds.into(),
        "permission_prompts" => if route.permission_prompts.asks { "ask" } else { "deny" }.into(),
        "permission_expires" => span(route.permission_prompts.expires),
        "git_writable" => route.git_writable.into(),
        "allow_cycles" => route.allow_cycles.into(),
        "mcp" => route.mcp.as_str().into(),
        "wants_json" => route.wants_json.into(),
        "model" => vendor_of(config).and_then(|vendor| vendor.model.clone()).into(),
        "effort" => vendor_of(config).and_then(|vendor| vendor.effort.clone()).into(),
        "permission_mode" => vendor_of(config).and_then(|vendor| vendor.permission_mode.clone()).into(),
        "setting_sources" => of_vendor(|vendor| &vendor.setting_sources),
        "allowed_tools" => of_vendor(|vendor| &vendor.allowed_tools),
        "disallowed_tools" => of_vendor(|vendor| &vendor.disallowed_tools),
        // They are off, or their default is known only when a dispatcher starts.
        "owner" | "drain" | "lanes" | "worktree_roots" | "vendors" | "prices" | "budget" | "routes"
        | "vendor" | "command" | "args" | "format" | "resume_on" | "dead_letter_lane" | "prompt"
        | "on_success" | "on_failure" | "on_outcome" | "on_verdict" | "in_progress" | "concurrency"
        | "env" | "cwd" | "worktree" | "verify" | "exclusive" | "max_budget_usd" | "mcp_config"
        | "add_dirs" => Value::Null,
        _ => return None,
    })
}

/// Returns the vendor that serves lanes without a route of their own.
fn vendor_of(config: &DispatchConfig) -> Option<&Vendor> {
    let name = config.defaults.runner.as_ref()?.name();
    config.vendors.get(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::config::route_set::RouteSections;
    use crate::workspace::SourceText;

    fn config(text: &str) -> DispatchConfig {
        let value: serde_yaml::Value = serde_yaml::from_str(text).expect("valid YAML");
        let source = SourceText { file: "handoff.yaml", text };
        let sections = RouteSections { stored_routes: None, agents: Vec::new() };
        DispatchConfig::read(value.get("dispatch"), source, &sections).expect("valid")
    }

    #[test]
    fn every_key_has_a_default_or_is_off() {
        let config = config("dispatch:\n");
        for key in PROCESS_KEYS.into_iter().chain(ROUTE_KEYS) {
            assert!(default_value(&config, key).is_some(), "{key}");
        }
        let values = default_values(&config);
        let value = |key: &str| values.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone());
        assert_eq!(value("timeout"), Some("6h".into()));
        assert_eq!(value("silence_timeout"), Some("30m".into()));
        assert_eq!(value("lease_seconds"), Some("15m".into()));
        assert_eq!(value("max_retries"), Some(0.into()));
        assert_eq!(value("permission_mode"), None, "there is no vendor");
    }

    #[test]
    fn the_defaults_of_a_vendor_are_those_of_its_profile() {
        let config = config("dispatch:\n  vendor: claude\n");
        let claude = config.vendors.get("claude").expect("built in");
        assert_eq!(
            default_value(&config, "permission_mode"),
            Some(claude.permission_mode.clone().into()),
            "{claude:?}"
        );
        assert_eq!(default_value(&config, "allowed_tools"), Some(claude.allowed_tools.clone().into()));
    }
}
