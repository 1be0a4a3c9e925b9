//! Names of lanes, and the rule for them.

use serde::Serialize;

use super::names::first_hidden;
use super::text_type::{parsed_text, text_type};
use crate::error::{Error, Result, brief};

/// The longest lane name, in bytes.
pub(crate) const MAX_LANE: usize = 200;

/// What the names of the lanes of agents begin with: the lane of the agent `infra` is `agent/infra`.
pub(crate) const AGENT_LANES: &str = "agent/";

/// The name of a lane: not blank, at most 200 bytes, no control or invisible characters, no leading `-` (it would
/// read as a flag), and no part between slashes that is empty, `.` or `..`.
///
/// Every name that a caller gives is checked. A name from a file of the store is kept as it is, byte for byte, since
/// another implementation or an older version may have written it under other rules.
///
/// ```
/// # use lanes::LaneName;
/// assert_eq!(LaneName::new("review")?.as_str(), "review");
/// assert!(LaneName::new("--review").is_err());
/// # Ok::<(), lanes::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct LaneName(String);

text_type!(LaneName);
parsed_text!(LaneName);

impl LaneName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid), with the reason, if it breaks the rule.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        check(&name).map(|()| Self(name))
    }

    /// Returns the name of the agent whose lane this is, if it is one.
    pub(crate) fn agent(&self) -> Option<&str> {
        self.0.strip_prefix(AGENT_LANES)
    }
}

impl TryFrom<&str> for LaneName {
    type Error = Error;

    fn try_from(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

impl TryFrom<String> for LaneName {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        Self::new(name)
    }
}

impl From<&LaneName> for LaneName {
    fn from(name: &LaneName) -> Self {
        name.clone()
    }
}

/// Checks a name by the rule of [`LaneName`].
fn check(name: &str) -> Result<()> {
    let reason = if name.trim().is_empty() {
        "it is empty"
    } else if name.len() > MAX_LANE {
        "it is longer than 200 bytes"
    } else if name.chars().any(char::is_control) {
        "it has control characters"
    } else if first_hidden(name).is_some() {
        "it has invisible characters"
    } else if name.starts_with('-') {
        "it starts with '-'"
    } else if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        "it reads as a path that leads elsewhere"
    } else {
        return Ok(());
    };
    Err(Error::invalid(format!("invalid lane name '{}': {reason}", brief(name))))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{Task, json};

    /// What every way to check a name makes of it; they agree.
    fn checked(name: &str) -> std::result::Result<LaneName, String> {
        let all: [Result<LaneName>; 4] = [
            LaneName::new(name),
            name.parse(),
            LaneName::try_from(name),
            LaneName::try_from(name.to_string()),
        ];
        let mut all = all.map(|result| result.map_err(|error| error.to_string())).into_iter();
        let first = all.next().unwrap();
        assert!(all.all(|other| other == first), "{name:?}");
        first
    }

    #[test]
    fn ordinary_names_pass() {
        for good in ["review", "a b", "ü", "team/review", "...", "a/...", "a-b", &"x".repeat(MAX_LANE)] {
            assert_eq!(checked(good).unwrap(), good);
        }
    }

    #[test]
    fn hostile_names_are_refused_in_one_line() {
        let long = "x".repeat(MAX_LANE + 1);
        for (bad, reason) in [
            ("", "it is empty"),
            ("  ", "it is empty"),
            ("-x", "it starts with '-'"),
            (".", "it reads as a path"),
            ("..", "it reads as a path"),
            ("../x", "it reads as a path"),
            ("a/../x", "it reads as a path"),
            ("/x", "it reads as a path"),
            ("x/", "it reads as a path"),
            ("a//b", "it reads as a path"),
            ("a\nb", "it has control characters"),
            ("a\u{0}", "it has control characters"),
            ("\u{1b}[2J", "it has control characters"),
            ("re\u{200b}view", "it has invisible characters"),
            ("\u{202e}weiver", "it has invisible characters"),
            (&long, "it is longer than 200 bytes"),
        ] {
            let error = checked(bad).unwrap_err();
            assert!(error.starts_with("invalid lane name") && error.contains(reason), "{error}");
            assert!(!error.contains(['\n', '\u{1b}', '\0']), "{error}");
            assert!(error.len() < 200, "{error}");
        }
    }

    #[test]
    fn names_of_others_survive_byte_for_byte() {
        let long = "x".repeat(1000);
        for name in ["", " ", "-x", "../x", "a//b", "a\nb\u{0}", "\u{202e}weiver", &long] {
            assert!(checked(name).is_err(), "{name:?}");
            let text = serde_json::json!({
                "id": "t-1", "workspace_id": "w", "correlation_id": "c", "lane": name, "workspace_root": "/w",
                "request_path": "/w/r", "request_sha256": "ab12", "response_path": "/w/o", "state": "queued",
                "created_at": "2026-11-21T06:50:00Z", "updated_at": "2026-11-21T06:50:00Z",
            });
            let task = Task::from_object(json::parse_object(text.to_string().as_bytes()).unwrap()).unwrap();
            assert_eq!(task.spec.lane, name);
            assert_eq!(task.spec.lane.to_string(), name);
            assert_eq!(task.to_object()["lane"], name);
            assert_eq!(serde_json::to_string(&task.spec.lane).unwrap(), serde_json::to_string(name).unwrap());
            assert_eq!(BTreeMap::from([(task.spec.lane, 1)]).get(name), Some(&1));
        }
    }
}
