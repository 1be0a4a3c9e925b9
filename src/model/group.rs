//! Names of groups, and the rule for them.

use serde::Serialize;

use super::limits::{self, MAX_KEY};
use super::text_type::{parsed_text, text_type};
use crate::error::Result;

/// The name of a group of tasks: not blank, one line of at most 200 bytes, no control or invisible characters, no
/// leading `-` (it would read as a flag).
///
/// Every name that a caller gives is checked. A name from a file of the store is kept as it is, byte for byte.
///
/// ```
/// # use lanes::GroupName;
/// assert_eq!(GroupName::new("release 4")?.as_str(), "release 4");
/// assert!(GroupName::new("-x").is_err());
/// # Ok::<(), lanes::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct GroupName(String);

text_type!(GroupName);
parsed_text!(GroupName);

impl GroupName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid), with the reason, if it breaks the rule.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        limits::check_line_argument("the group", &name, MAX_KEY).map(|()| Self(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_groups_are_single_bounded_lines() {
        for good in ["g", "release 4", "a/b", "ü", &"x".repeat(MAX_KEY)] {
            assert_eq!(GroupName::new(good).unwrap(), good);
        }
        for bad in ["", " ", "-x", "a\nb", "a\u{7f}", "a\u{200b}", "\u{202e}a", &"x".repeat(MAX_KEY + 1)] {
            let error = bad.parse::<GroupName>().unwrap_err().to_string();
            assert!(error.starts_with("the group") && !error.contains('\n'), "{error}");
        }
    }
}
