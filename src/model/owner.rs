//! Names of workers, and the rule for them.

use serde::Serialize;

use super::limits;
use super::text_type::text_type;
use crate::error::Result;

/// The name under which a worker claims a task: not blank, at most 1000 bytes, no control or invisible characters. It
/// is not authenticated, and several workers may use the same one.
///
/// Every name that a caller gives is checked. A name from a file of the store is kept as it is, byte for byte, since
/// another implementation or an older version may have written it under other rules.
///
/// ```
/// # use lanes::Owner;
/// assert_eq!(Owner::new("worker-1")?.as_str(), "worker-1");
/// assert!(Owner::new(" ").is_err());
/// # Ok::<(), lanes::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Owner(String);

text_type!(Owner);

impl Owner {
    /// Checks a name.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid), with the reason, if it breaks the rule.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        limits::check_actor("the owner", &name).map(|()| Self(name))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{Task, json};

    #[test]
    fn ordinary_names_pass() {
        for good in ["worker", "ann b", "ü", "-x", "me@host:4711", "👩\u{200d}💻", &"x".repeat(1000)] {
            let owner = Owner::new(good).unwrap();
            assert_eq!(owner, good);
            assert_eq!(format!("{owner}"), good);
            assert_eq!(String::from(&owner), good);
        }
        assert_eq!(format!("{:<4}|", Owner::new("me").unwrap()), "me  |");
    }

    #[test]
    fn hostile_names_are_refused_in_one_line() {
        let long = "x".repeat(1001);
        for (bad, expected) in [
            ("", "the owner is empty"),
            (" \t", "the owner is empty"),
            ("a\nb", "the owner has control characters"),
            ("\u{1b}[2J", "the owner has control characters"),
            ("me\u{202e}", "the owner has invisible characters"),
            (&long, "the owner is 1001 bytes long"),
        ] {
            let error = Owner::new(bad).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains(['\n', '\u{1b}']) && error.len() < 200, "{error}");
        }
    }

    #[test]
    fn names_of_others_survive_byte_for_byte() {
        let long = "x".repeat(2000);
        for name in ["", " ", "a\nb\u{0}", "\u{202e}em", "\u{1f}\"\\/", &long] {
            let text = serde_json::json!({
                "id": "t-1", "workspace_id": "w", "correlation_id": "c", "lane": "l", "workspace_root": "/w",
                "request_path": "/w/r", "request_sha256": "ab12", "response_path": "/w/o", "state": "claimed",
                "claim_owner": name, "claim_token": "t", "claimed_at": "2026-11-21T06:50:00Z",
                "lease_expires_at": "2026-11-21T07:50:00Z",
                "created_at": "2026-11-21T06:50:00Z", "updated_at": "2026-11-21T06:50:00Z",
            });
            let task = Task::from_object(json::parse_object(text.to_string().as_bytes()).unwrap()).unwrap();
            let owner = &task.status.claim().unwrap().owner;
            assert_eq!(*owner, name);
            assert_eq!(task.to_object()["claim_owner"], name);
            assert_eq!(serde_json::to_string(owner).unwrap(), serde_json::to_string(name).unwrap());
            assert_eq!(BTreeMap::from([(owner.clone(), 1)]).get(name), Some(&1));
        }
        assert!(Owner::new(long).is_err());
    }
}
