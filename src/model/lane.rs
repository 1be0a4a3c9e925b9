//! The rules for lane names.

use super::names::hidden;
use crate::error::{Error, Result, brief};

/// The longest lane name, in bytes.
pub(crate) const MAX_LANE: usize = 200;

/// Checks a lane's name: not blank, at most [`MAX_LANE`] bytes, no control or invisible characters, no leading
/// `-` (it would read as a flag), and no part between slashes that is empty, `.` or `..`.
///
/// # Errors
/// `Invalid`, with the reason.
pub(crate) fn check_lane(name: &str) -> Result<()> {
    let reason = if name.trim().is_empty() {
        "it is empty"
    } else if name.len() > MAX_LANE {
        "it is longer than 200 bytes"
    } else if name.chars().any(char::is_control) {
        "it has control characters"
    } else if hidden(name).is_some() {
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
    use super::*;

    #[test]
    fn ordinary_names_pass() {
        for good in ["review", "a b", "ü", "team/review", "...", "a/...", "a-b", &"x".repeat(MAX_LANE)] {
            assert!(check_lane(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn hostile_names_are_refused_in_one_line() {
        let long = "x".repeat(MAX_LANE + 1);
        for bad in [
            "",
            "  ",
            "-x",
            ".",
            "..",
            "../x",
            "a/../x",
            "/x",
            "x/",
            "a//b",
            "a\nb",
            "a\u{0}",
            "\u{1b}[2J",
            "re\u{200b}view",
            "\u{202e}weiver",
            &long,
        ] {
            let error = check_lane(bad).unwrap_err().to_string();
            assert!(error.starts_with("invalid lane name"), "{error}");
            assert!(!error.contains(['\n', '\u{1b}', '\0']), "{error}");
            assert!(error.len() < 200, "{error}");
        }
    }
}
