//! What a change of a route can do: the rule for doors that may order work but not choose what runs.

use serde_json::Value;

use super::route::{DEFAULT_SILENCE, Route};

/// What a key of a route decides about.
#[derive(Clone, Copy)]
enum Reach {
    /// Which program runs, as what, and with which rights.
    Program,
    /// How often, how long or for how much money; the function tells whether the second route may more.
    Limit(fn(&Route, &Route) -> bool),
    /// In what order, where results go, and how they are told.
    Order,
}

/// Every key of a route, each with what it decides about.
const REACH: &[(&str, Reach)] = &[
    ("vendor", Reach::Program),
    ("command", Reach::Program),
    ("args", Reach::Program),
    ("format", Reach::Program),
    ("env", Reach::Program),
    ("cwd", Reach::Program),
    ("model", Reach::Program),
    ("permission_mode", Reach::Program),
    ("setting_sources", Reach::Program),
    ("allowed_tools", Reach::Program),
    ("disallowed_tools", Reach::Program),
    ("mcp_config", Reach::Program),
    ("add_dirs", Reach::Program),
    ("git_writable", Reach::Program),
    ("timeout", Reach::Limit(|before, after| is_more(before.timeout, after.timeout))),
    (
        "silence_timeout",
        Reach::Limit(|before, after| {
            let limit = |route: &Route| route.silence_timeout.clone().over(Some(DEFAULT_SILENCE));
            is_more(limit(before), limit(after))
        }),
    ),
    ("max_retries", Reach::Limit(|before, after| after.max_retries > before.max_retries)),
    ("retry_delay", Reach::Limit(|before, after| after.retry_delay < before.retry_delay)),
    ("retry_delay_max", Reach::Limit(|before, after| after.retry_delay_max < before.retry_delay_max)),
    // A resumed run pays for reading its whole conversation.
    (
        "resume_on",
        Reach::Limit(|before, after| after.resume_on.iter().any(|cut| !before.resume_on.contains(cut))),
    ),
    ("concurrency", Reach::Limit(|before, after| is_more(before.concurrency, after.concurrency))),
    ("max_budget_usd", Reach::Limit(|before, after| is_more(before.max_budget_usd, after.max_budget_usd))),
    ("priority", Reach::Order),
    ("poll_interval", Reach::Order),
    ("dead_letter_lane", Reach::Order),
    // A task may bring words and an effort of its own.
    ("prompt", Reach::Order),
    ("effort", Reach::Order),
    ("on_success", Reach::Order),
    ("in_progress", Reach::Order),
    ("wants_json", Reach::Order),
];

/// Whether the second limit allows more than the first; nothing is no limit.
fn is_more<T: PartialOrd>(before: Option<T>, after: Option<T>) -> bool {
    match (before, after) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(before), Some(after)) => after > before,
    }
}

/// What is said of a route, as written and as it counts.
pub struct Said<'a> {
    /// Its settings as they are written.
    pub settings: &'a Value,
    /// The same with all defaults.
    pub route: &'a Route,
}

/// Why a change from one route to another needs the right to choose what runs; nothing when it does not.
pub fn widening(before: &Said<'_>, after: &Said<'_>) -> Option<String> {
    REACH.iter().find_map(|(key, reach)| {
        let is_changed = before.settings.get(key) != after.settings.get(key);
        match reach {
            Reach::Program if is_changed => Some(format!("'{key}' decides what runs on this machine")),
            Reach::Limit(is_wider) if is_wider(before.route, after.route) => {
                Some(format!("'{key}' is a limit, and this would allow more"))
            }
            Reach::Program | Reach::Limit(_) | Reach::Order => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::config::route::ROUTE_KEYS;

    #[test]
    fn every_key_of_a_route_decides_about_one_thing() {
        for key in ROUTE_KEYS {
            let count = REACH.iter().filter(|(have, _)| *have == key).count();
            assert_eq!(count, 1, "{key} must stand in REACH exactly once");
        }
        assert_eq!(REACH.len(), ROUTE_KEYS.len(), "REACH has keys that no route has");
    }

    #[test]
    fn without_a_limit_nothing_is_more() {
        assert!(is_more(Some(1), None) && is_more(Some(1), Some(2)));
        assert!(!is_more(None, Some(9)) && !is_more(Some(2), Some(2)) && !is_more(None::<u32>, None));
    }
}
