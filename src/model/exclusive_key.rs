//! Exclusive keys: names of things that one claimed task at a time may use.

use serde::Serialize;

use super::limits::{self, MAX_SHORT_TEXT};
use super::text_type::{parsed_text, text_type};
use crate::error::{Error, Result};

/// The largest number of exclusive keys that a submit may give.
pub(crate) const MAX_EXCLUSIVE_KEYS: usize = 8;

/// The name of something that at most one claimed task of the store may use: not blank, one line of at most 1,000
/// bytes, no control or invisible characters, no leading `-` (it would read as a flag).
///
/// Every name that a caller gives is checked. A name from a file of the store is kept as it is, byte for byte.
///
/// ```
/// # use lanes::ExclusiveKey;
/// assert_eq!(ExclusiveKey::new("database staging")?.as_str(), "database staging");
/// assert!(ExclusiveKey::new(" ").is_err());
/// # Ok::<(), lanes::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ExclusiveKey(String);

text_type!(ExclusiveKey);
parsed_text!(ExclusiveKey);

impl ExclusiveKey {
    /// Checks a name.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid), with the reason, if it breaks the rule.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        limits::check_line_argument("the exclusive key", &name, MAX_SHORT_TEXT).map(|()| Self(name))
    }

    /// Checks the keys of a task; one that is given twice counts once.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the first name that breaks the rule, and if there are too many.
    pub(crate) fn check_all(names: Vec<String>) -> Result<Vec<Self>> {
        let mut keys: Vec<Self> = Vec::new();
        for name in names {
            let key = Self::new(name)?;
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        check_count(keys.len()).map(|()| keys)
    }
}

/// Checks the number of exclusive keys of a task.
///
/// # Errors
/// `Invalid` if there are more than [`MAX_EXCLUSIVE_KEYS`].
pub(crate) fn check_count(count: usize) -> Result<()> {
    if count <= MAX_EXCLUSIVE_KEYS {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{count} exclusive keys are too many; a task can have at most {MAX_EXCLUSIVE_KEYS}"
    ))
    .with_hint("give one key for what is used together"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_single_bounded_lines() {
        for good in ["k", "database staging", "/w/a b", "ü", &"x".repeat(MAX_SHORT_TEXT)] {
            assert_eq!(ExclusiveKey::new(good).unwrap(), good);
        }
        for bad in ["", " ", "-x", "a\nb", "a\u{7f}", "a\u{200b}", &"x".repeat(MAX_SHORT_TEXT + 1)] {
            let error = bad.parse::<ExclusiveKey>().unwrap_err().to_string();
            assert!(error.starts_with("the exclusive key") && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn eight_different_keys_are_accepted_and_no_more() {
        let names = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
        let twice = [names(8), names(8)].concat();
        assert_eq!(ExclusiveKey::check_all(twice).unwrap().len(), 8);
        let error = ExclusiveKey::check_all(names(9)).unwrap_err();
        assert!(error.to_string().starts_with("9 exclusive keys are too many"), "{error}");
    }
}
