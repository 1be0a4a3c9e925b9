//! Idempotency keys, and the rule for them.

use serde::Serialize;

use super::id::TaskId;
use super::limits;
use super::text_type::{parsed_text, text_type};
use crate::error::Result;

/// The prefix of the key of a task that retries a task without one.
const RETRY_OF: &str = "retry-of";

/// A submitter's idempotency key: not blank, one line of at most 200 bytes, no control or invisible characters.
///
/// Every key that a caller gives is checked. A key from a file of the store is kept as it is, byte for byte, since
/// another implementation or an older version may have written it under other rules.
///
/// ```
/// # use lanes::IdempotencyKey;
/// assert_eq!(IdempotencyKey::new("build 4711")?.as_str(), "build 4711");
/// assert!(IdempotencyKey::new(" ").is_err());
/// # Ok::<(), lanes::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct IdempotencyKey(String);

text_type!(IdempotencyKey);
parsed_text!(IdempotencyKey);

impl IdempotencyKey {
    /// Checks a key.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid), with the reason, if it breaks the rule.
    pub fn new(key: impl Into<String>) -> Result<Self> {
        let key = key.into();
        limits::check_key(&key).map(|()| Self(key))
    }

    /// Makes the key of a task that retries the task `id`, which has none.
    pub(crate) fn retry_of(id: &TaskId) -> Self {
        Self::derived(RETRY_OF, id)
    }

    /// Makes the key of a task that follows from the task `id`. It may be longer than a caller's key, as an id may
    /// be.
    pub(crate) fn derived(prefix: &str, id: &TaskId) -> Self {
        Self(format!("{prefix}:{id}"))
    }

    /// Makes the key of the task that continues the work of the task `id`: the one that a dispatcher submits with its
    /// answer.
    pub(crate) fn continuation_of(id: &TaskId) -> Self {
        Self::derived("after", id)
    }

    /// Returns whether [`IdempotencyKey::retry_of`] makes it.
    pub(crate) fn is_retry_of(&self) -> bool {
        let id = self.0.strip_prefix(RETRY_OF).and_then(|rest| rest.strip_prefix(':'));
        id.is_some_and(TaskId::is_valid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::limits::MAX_KEY;

    #[test]
    fn a_key_is_one_bounded_line() {
        for good in ["k", "build 4711", "ключ", "-k", &"k".repeat(MAX_KEY)] {
            assert_eq!(IdempotencyKey::new(good).unwrap(), good);
            assert_eq!(good.parse::<IdempotencyKey>().unwrap().to_string(), good);
        }
        for bad in ["", " ", "a\nb", "a\u{7f}", "a\u{200b}", "\u{202e}a", &"k".repeat(MAX_KEY + 1)] {
            let error = IdempotencyKey::new(bad).unwrap_err().to_string();
            assert!(error.starts_with("key "), "{error}");
            assert!(bad.parse::<IdempotencyKey>().is_err(), "{bad:?}");
            let stored = IdempotencyKey::stored(bad);
            assert_eq!(stored, bad);
            assert_eq!(serde_json::to_value(&stored).unwrap(), bad);
            assert_eq!(serde_json::Value::from(stored), bad);
        }
    }

    #[test]
    fn the_key_of_a_retry_names_the_retried_task() {
        let key = IdempotencyKey::retry_of(&TaskId::parse("t-1").unwrap());
        assert_eq!(key, "retry-of:t-1");
        assert!(key.is_retry_of());
        for other in ["retry-of", "retry-of:", "retry-of:../x", "retry-oft-1", "after:t-1"] {
            assert!(!IdempotencyKey::stored(other).is_retry_of(), "{other}");
        }
    }
}
