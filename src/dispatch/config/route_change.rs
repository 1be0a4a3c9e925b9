//! Classifies changes of a route, for clients that may submit work but not choose what runs.

use serde_json::Value;

use super::route::{DEFAULT_SILENCE, Route};
use crate::dispatch::agent::mcp_access::McpAccess;

/// Whether a change of a key needs the permission to choose what runs.
#[derive(Clone, Copy)]
enum ChangeRule {
    /// Always: the key controls the program, its identity or its permissions.
    Restricted,
    /// Only if it raises a limit of attempts, time or cost; the function returns whether the second route allows
    /// more than the first.
    Limit(fn(&Route, &Route) -> bool),
    /// Never: the key controls the order of runs, or the destination and presentation of results.
    Free,
}

/// The rule for each key of a route.
const CHANGE_RULES: &[(&str, ChangeRule)] = &[
    ("vendor", ChangeRule::Restricted),
    ("command", ChangeRule::Restricted),
    ("args", ChangeRule::Restricted),
    ("format", ChangeRule::Restricted),
    ("env", ChangeRule::Restricted),
    ("cwd", ChangeRule::Restricted),
    ("worktree", ChangeRule::Restricted),
    ("verify", ChangeRule::Restricted),
    ("model", ChangeRule::Restricted),
    ("permission_mode", ChangeRule::Restricted),
    ("permission_prompts", ChangeRule::Restricted),
    // A slot is taken while the run waits.
    (
        "permission_expires",
        ChangeRule::Limit(|before, after| {
            after.permission_prompts.expires > before.permission_prompts.expires
        }),
    ),
    ("setting_sources", ChangeRule::Restricted),
    ("allowed_tools", ChangeRule::Restricted),
    ("disallowed_tools", ChangeRule::Restricted),
    ("mcp_config", ChangeRule::Restricted),
    ("add_dirs", ChangeRule::Restricted),
    ("git_writable", ChangeRule::Restricted),
    ("timeout", ChangeRule::Limit(|before, after| is_more(before.timeout, after.timeout))),
    (
        "silence_timeout",
        ChangeRule::Limit(|before, after| {
            let limit = |route: &Route| route.silence_timeout.clone().or_inherit(Some(DEFAULT_SILENCE));
            is_more(limit(before), limit(after))
        }),
    ),
    ("max_retries", ChangeRule::Limit(|before, after| after.max_retries > before.max_retries)),
    ("retry_delay", ChangeRule::Limit(|before, after| after.retry_delay < before.retry_delay)),
    ("retry_delay_max", ChangeRule::Limit(|before, after| after.retry_delay_max < before.retry_delay_max)),
    // A resumed run costs the tokens of its whole conversation.
    (
        "resume_on",
        ChangeRule::Limit(|before, after| after.resume_on.iter().any(|cut| !before.resume_on.contains(cut))),
    ),
    (
        "verify_timeout",
        ChangeRule::Limit(|before, after| is_more(before.verify.timeout, after.verify.timeout)),
    ),
    // Each round is another run of the agent.
    ("verify_rounds", ChangeRule::Limit(|before, after| after.verify.rounds > before.verify.rounds)),
    ("exclusive", ChangeRule::Limit(|before, after| !after.exclusive.contains_all(&before.exclusive))),
    ("concurrency", ChangeRule::Limit(|before, after| is_more(before.concurrency, after.concurrency))),
    (
        "max_budget_usd",
        ChangeRule::Limit(|before, after| is_more(before.max_budget_usd, after.max_budget_usd)),
    ),
    ("allow_cycles", ChangeRule::Limit(|before, after| after.allow_cycles && !before.allow_cycles)),
    ("mcp", ChangeRule::Limit(|before, after| before.mcp == McpAccess::Off && after.mcp != McpAccess::Off)),
    ("priority", ChangeRule::Free),
    ("poll_interval", ChangeRule::Free),
    ("dead_letter_lane", ChangeRule::Free),
    // A task may set its own prompt and effort.
    ("prompt", ChangeRule::Free),
    ("effort", ChangeRule::Free),
    ("on_success", ChangeRule::Free),
    ("on_failure", ChangeRule::Free),
    ("on_outcome", ChangeRule::Free),
    ("on_verdict", ChangeRule::Free),
    // Each of them is a run of an agent.
    ("max_hops", ChangeRule::Limit(|before, after| after.follow_ups.max_hops > before.follow_ups.max_hops)),
    ("in_progress", ChangeRule::Free),
    ("wants_json", ChangeRule::Free),
];

/// Returns whether the second limit allows more than the first; `None` means no limit.
fn is_more<T: PartialOrd>(before: Option<T>, after: Option<T>) -> bool {
    match (before, after) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(before), Some(after)) => after > before,
    }
}

/// A route before or after a change.
pub(crate) struct RouteVersion<'a> {
    /// Settings as written.
    pub settings: &'a Value,
    /// Effective route, with all defaults.
    pub route: &'a Route,
}

/// Returns the reason for which a change of a route needs the permission to choose what runs, or `None` if it does
/// not.
pub(crate) fn restricted_change(before: &RouteVersion<'_>, after: &RouteVersion<'_>) -> Option<String> {
    CHANGE_RULES.iter().find_map(|(key, rule)| {
        let is_changed = before.settings.get(key) != after.settings.get(key);
        match rule {
            ChangeRule::Restricted if is_changed => {
                Some(format!("'{key}' decides what runs on this machine"))
            }
            ChangeRule::Limit(is_wider) if is_wider(before.route, after.route) => {
                Some(format!("'{key}' is a limit, and this would allow more"))
            }
            ChangeRule::Restricted | ChangeRule::Limit(_) | ChangeRule::Free => None,
        }
    })
}

/// Returns the keys of a route that control a program, its identity or its permissions.
pub(crate) fn restricted_keys() -> impl Iterator<Item = &'static str> {
    let restricted = |(_, rule): &&(&str, ChangeRule)| matches!(rule, ChangeRule::Restricted);
    CHANGE_RULES.iter().filter(restricted).map(|(key, _)| *key)
}

/// Returns the first limit of a route that a change raises.
pub(crate) fn raised_limit(before: &Route, after: &Route) -> Option<&'static str> {
    CHANGE_RULES.iter().find_map(|(key, rule)| match rule {
        ChangeRule::Limit(is_wider) if is_wider(before, after) => Some(*key),
        ChangeRule::Restricted | ChangeRule::Limit(_) | ChangeRule::Free => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::config::route::ROUTE_KEYS;

    #[test]
    fn every_key_of_a_route_has_one_rule() {
        for key in ROUTE_KEYS {
            let count = CHANGE_RULES.iter().filter(|(have, _)| *have == key).count();
            assert_eq!(count, 1, "{key} must be in CHANGE_RULES exactly once");
        }
        assert_eq!(CHANGE_RULES.len(), ROUTE_KEYS.len(), "CHANGE_RULES has keys that no route has");
    }

    #[test]
    fn nothing_is_more_than_no_limit() {
        assert!(is_more(Some(1), None) && is_more(Some(1), Some(2)));
        assert!(!is_more(None, Some(9)) && !is_more(Some(2), Some(2)) && !is_more(None::<u32>, None));
    }
}
