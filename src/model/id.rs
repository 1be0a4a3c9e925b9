//! Ids of tasks and runs, and claim tokens.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::time::Time;
use crate::error::{Error, Result, printable};

/// The longest accepted id, in bytes: a file name has room for it and the suffixes added to it.
const MAX_ID: usize = 200;

/// The longest slug inside a generated id, in bytes.
const MAX_SLUG: usize = 80;

/// The id of a task: matches `[a-zA-Z0-9][a-zA-Z0-9._-]*`, does not contain `..`, and has at most 200 bytes,
/// so it is always a safe file name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskId(String);

impl TaskId {
    /// Parses a task id.
    ///
    /// # Errors
    /// `Invalid` if `text` is not a valid id.
    pub fn parse(text: &str) -> Result<Self> {
        if Self::is_valid(text) {
            Ok(Self(text.to_string()))
        } else {
            let shown: String = text.chars().take(80).collect();
            Err(Error::invalid_here(format!("invalid task_id: '{}'", printable(&shown))))
        }
    }

    /// Returns whether `text` is a valid id.
    pub fn is_valid(text: &str) -> bool {
        let bytes = text.as_bytes();
        bytes.len() <= MAX_ID
            && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
            && !text.contains("..")
    }

    /// Generates an id: the time, the slug of the correlation id, 12 hex digits of the request's hash, and six
    /// random hex digits, so that two submits within one microsecond differ and the last six digits
    /// suffice to name a task on the command line.
    pub fn generate(now: Time, correlation_id: &str, request_sha256: &str, random: u32) -> Self {
        // Cutting after the slug keeps the id valid: a slug never ends in the middle of `..`.
        let mut slug = slug(correlation_id);
        slug.truncate(MAX_SLUG);
        while slug.contains("..") {
            slug = slug.replace("..", ".");
        }
        let hash = &request_sha256[..request_sha256.len().min(12)];
        Self(format!("{}-{slug}-{hash}-{:06x}", now.compact(), random & 0xff_ffff))
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for TaskId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> Self {
        id.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The proof of a claim, new for every claim: 32 hex digits when `lanes` makes it, any text otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClaimToken(String);

impl ClaimToken {
    /// Makes a token of 128 random bits.
    pub fn from_random(random: u128) -> Self {
        Self(format!("{random:032x}"))
    }

    /// Wraps a token from a file or a caller; any text, since other implementations choose their own format.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the token as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The prefix that all claim tokens of a dispatcher share, which identifies its claims: 16 hex digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenPrefix(String);

impl TokenPrefix {
    /// The length in bytes. A shorter prefix would begin the tokens of others.
    const LENGTH: usize = 16;

    /// Makes a prefix of random bits.
    pub(crate) fn from_random(random: u128) -> Self {
        Self(format!("{:016x}", random as u64))
    }

    /// Wraps a prefix from a file; `None` unless it has the length of one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        (text.len() == Self::LENGTH).then(|| Self(text.to_string()))
    }

    /// Makes a token with this prefix.
    pub(crate) fn token(&self, random: u128) -> ClaimToken {
        ClaimToken(format!("{}{:016x}", self.0, random as u64))
    }

    /// Returns whether a token has this prefix.
    pub(crate) fn begins(&self, token: &ClaimToken) -> bool {
        token.0.starts_with(&self.0)
    }

    /// Returns the prefix as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The random id of a run: 32 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

impl RunId {
    /// Makes an id of random bits.
    pub fn from_random(random: u128) -> Self {
        Self(format!("{random:032x}"))
    }

    /// Parses a recorded id. Accepts only the format of [`RunId::from_random`].
    pub fn parse(text: &str) -> Option<Self> {
        let is_id = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_id.then(|| Self(text.to_string()))
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RunId {
    type Error = &'static str;

    fn try_from(text: String) -> std::result::Result<Self, Self::Error> {
        Self::parse(&text).ok_or("not the id of a run")
    }
}

impl From<RunId> for String {
    fn from(run: RunId) -> Self {
        run.0
    }
}

/// Converts `text` to a part of a file name: every run of characters outside `[A-Za-z0-9_.-]` becomes one
/// `-`, and `-` is trimmed from both ends; `item` if nothing is left.
pub(crate) fn slug(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut gap = false;
    for c in text.trim().chars() {
        if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') {
            if gap {
                out.push('-');
                gap = false;
            }
            out.push(c);
        } else {
            gap = true;
        }
    }
    if gap {
        out.push('-');
    }
    match out.trim_matches('-') {
        "" => "item".to_string(),
        trimmed => trimmed.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_ids_are_refused() {
        let long = "a".repeat(300);
        for bad in ["", "../x", "a..b", "-rf", "a b", "a\nb", "a/b", ".hidden", "é", long.as_str()] {
            let error = TaskId::parse(bad).unwrap_err().to_string();
            assert!(error.starts_with("invalid task_id: "), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn generated_ids_are_valid_whatever_the_correlation() {
        let now = Time::from_micros(1_795_244_400_000_000);
        for name in ["a b", "..", "../../etc", "ü", "", "-", &"x..".repeat(90)] {
            let id = TaskId::generate(now, name, "0123456789abcdef", 7);
            assert!(TaskId::is_valid(id.as_str()), "{id}");
            assert!(id.as_str().ends_with("-0123456789ab-000007"), "{id}");
        }
    }

    #[test]
    fn slugs_follow_the_rule() {
        assert_eq!(slug("a  b/c"), "a-b-c");
        assert_eq!(slug("--x--"), "x");
        assert_eq!(slug("äöü"), "item");
        assert_eq!(slug("v1.2_x"), "v1.2_x");
    }
}
