//! Classifies changes of a route, for clients that may submit work but not choose what runs.

use serde_json::Value;

use super::route::{DEFAULT_SILENCE, Route};

/// The aspect of a run that a key of a route controls.
#[derive(Clone, Copy)]
enum Reach {
    /// The program, its identity and its permissions.
    Program,
    /// A limit of attempts, time or cost; the function returns whether the second route allows more than the first.
    Limit(fn(&Route, &Route) -> bool),
    /// The order of runs, and the destination and presentation of results.
    Order,
}

/// All keys of a route, with the aspect that each controls.
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
    // A resumed run costs the tokens of its whole conversation.
    (
        "resume_on",
        Reach::Limit(|before, after| after.resume_on.iter().any(|cut| !before.resume_on.contains(cut))),
    ),
    ("concurrency", Reach::Limit(|before, after| is_more(before.concurrency, after.concurrency))),
    ("max_budget_usd", Reach::Limit(|before, after| is_more(before.max_budget_usd, after.max_budget_usd))),
    ("priority", Reach::Order),
    ("poll_interval", Reach::Order),
    ("dead_letter_lane", Reach::Order),
    // A task may set its own prompt and effort.
    ("prompt", Reach::Order),
    ("effort", Reach::Order),
    ("on_success", Reach::Order),
    ("in_progress", Reach::Order),
    ("wants_json", Reach::Order),
];

/// Returns whether the second limit allows more than the first; `None` means no limit.
fn is_more<T: PartialOrd>(before: Option<T>, after: Option<T>) -> bool {
    match (before, after) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(before), Some(after)) => after > before,
    }
}

/// A route, as written and with defaults.
pub(crate) struct Said<'a> {
    /// Settings as written.
    pub settings: &'a Value,
    /// Effective route, with all defaults.
    pub route: &'a Route,
}

/// Returns the reason for which a change of a route needs the permission to choose what runs, or `None` if it does
/// not.
pub(crate) fn widening(before: &Said<'_>, after: &Said<'_>) -> Option<String> {
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
