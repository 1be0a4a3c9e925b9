//! The limits on what a submit or another command may request. They apply to an import too.

use std::time::Duration;

use serde_json::Value;

use super::duration::{self, LONGEST};
use super::json::Object;
use super::names;
use crate::error::{Error, Result};

/// The range of priorities is from minus this value to plus this value.
pub(crate) const MAX_PRIORITY: i32 = 1000;
/// The largest number of attempts that a task may be allowed.
pub(crate) const MAX_ATTEMPTS: u32 = 1000;
/// The longest run: 30 days.
pub(crate) const MAX_TIMEOUT: Duration = Duration::from_secs(30 * 24 * 3600);
/// The longest lease: 30 days.
pub(crate) const MAX_LEASE: Duration = Duration::from_secs(30 * 24 * 3600);
/// The lease of a claim that requests none: two hours. Dispatchers and chats, which renew, request shorter ones.
pub(crate) const DEFAULT_LEASE: Duration = Duration::from_secs(2 * 3600);
/// The longest wait of a command or request that sets no timeout: six hours.
pub(crate) const DEFAULT_WAIT: Duration = Duration::from_secs(6 * 3600);
/// The longest delay of a task: ten years.
pub(crate) const MAX_DELAY: Duration = LONGEST;
/// The longest idempotency key and the longest name, in bytes.
pub(crate) const MAX_KEY: usize = 200;
/// The longest name of a schedule, in bytes.
#[cfg(feature = "cli")]
pub(crate) const MAX_SCHEDULE_NAME: usize = 64;
/// The longest type of an event, in bytes.
pub(crate) const MAX_EVENT_TYPE: usize = 64;
/// The longest label, in bytes.
pub(crate) const MAX_LABEL: usize = 100;
/// The largest number of labels of a task.
pub(crate) const MAX_LABELS: usize = 50;
/// The longest correlation id, source agent and branch, in bytes.
pub(crate) const MAX_SHORT_TEXT: usize = 1000;
/// The largest prompt that accompanies a request file, in bytes (1 MiB).
pub(crate) const MAX_PROMPT: usize = 1024 * 1024;
/// The largest prompt that is the whole request, in bytes (8 MiB).
pub(crate) const MAX_PROMPT_ONLY: usize = 8 * 1024 * 1024;

/// Checks a priority: at most [`MAX_PRIORITY`] in either direction.
///
/// # Errors
/// `Invalid` when it is out of range.
pub(crate) fn check_priority(wanted: i64) -> Result<i32> {
    i32::try_from(wanted)
        .ok()
        .filter(|priority| (-MAX_PRIORITY..=MAX_PRIORITY).contains(priority))
        .ok_or_else(|| {
            Error::invalid(format!(
                "priority {wanted} is out of range; give -{MAX_PRIORITY} to {MAX_PRIORITY}"
            ))
        })
}

/// Checks a number of attempts: 1 to [`MAX_ATTEMPTS`].
///
/// # Errors
/// `Invalid` when it is out of range.
pub(crate) fn check_max_attempts(wanted: i64) -> Result<u32> {
    u32::try_from(wanted).ok().filter(|attempts| (1..=MAX_ATTEMPTS).contains(attempts)).ok_or_else(|| {
        Error::invalid(format!("max_attempts of {wanted} is out of range; give 1 to {MAX_ATTEMPTS}"))
    })
}

/// Converts the time limit of a run from seconds.
///
/// # Errors
/// `Invalid` unless it is more than 0 and at most [`MAX_TIMEOUT`].
pub(crate) fn timeout_from_seconds(seconds: f64) -> Result<Duration> {
    let length = duration::from_seconds(seconds).filter(|length| is_within(*length, MAX_TIMEOUT));
    length.ok_or_else(|| {
        Error::invalid(format!(
            "timeout of {seconds} seconds is out of range; give more than 0 and at most {} (30 days)",
            MAX_TIMEOUT.as_secs()
        ))
    })
}

/// Converts the length of a lease from seconds.
///
/// # Errors
/// As [`check_lease`].
pub(crate) fn lease_from_seconds(seconds: f64) -> Result<Duration> {
    let length = duration::from_seconds(seconds).filter(|length| is_within(*length, MAX_LEASE));
    length.ok_or_else(|| lease_out_of_range(seconds))
}

/// Checks the length of a lease.
///
/// # Errors
/// `Invalid` unless it is more than 0 and at most [`MAX_LEASE`].
pub(crate) fn check_lease(length: Duration) -> Result<Duration> {
    if is_within(length, MAX_LEASE) { Ok(length) } else { Err(lease_out_of_range(duration::seconds(length))) }
}

fn lease_out_of_range(seconds: f64) -> Error {
    Error::invalid(format!(
        "lease of {seconds} seconds is out of range; give more than 0 and at most {} (30 days)",
        MAX_LEASE.as_secs()
    ))
}

/// Converts a delay from seconds.
///
/// # Errors
/// As [`check_delay`].
pub(crate) fn delay_from_seconds(seconds: f64) -> Result<Duration> {
    duration::from_seconds(seconds)
        .filter(|length| *length <= MAX_DELAY)
        .ok_or_else(|| delay_out_of_range(seconds))
}

/// Checks a delay.
///
/// # Errors
/// `Invalid` if it is more than [`MAX_DELAY`].
pub(crate) fn check_delay(length: Duration) -> Result<Duration> {
    if length <= MAX_DELAY { Ok(length) } else { Err(delay_out_of_range(duration::seconds(length))) }
}

fn delay_out_of_range(seconds: f64) -> Error {
    Error::invalid(format!("delay of {seconds} seconds is out of range; give 0 to {}", MAX_DELAY.as_secs()))
}

/// Checks after which time the default answer to a question counts.
///
/// # Errors
/// `Invalid` unless it is more than 0 and at most [`MAX_DELAY`].
pub(crate) fn check_expiry(length: Duration) -> Result<()> {
    if is_within(length, MAX_DELAY) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "expiry of {} seconds is out of range; give more than 0 and at most {}",
        duration::seconds(length),
        MAX_DELAY.as_secs()
    )))
}

/// Returns whether a duration is more than 0 and at most `most`.
fn is_within(length: Duration, most: Duration) -> bool {
    !length.is_zero() && length <= most
}

/// Returns the largest prompt, in bytes, of a task with or without a request file.
pub(crate) fn max_prompt(has_request_file: bool) -> usize {
    if has_request_file { MAX_PROMPT } else { MAX_PROMPT_ONLY }
}

/// Checks the length of a prompt.
///
/// # Errors
/// `Invalid` if it is more than [`max_prompt`].
pub(crate) fn check_prompt(text: &str, has_request_file: bool) -> Result<()> {
    let max_bytes = max_prompt(has_request_file);
    if text.len() > max_bytes {
        let message = format!("the prompt is {} bytes long; at most {max_bytes} are accepted", text.len());
        return Err(
            Error::invalid(message).with_hint("write it to a file and name the file with --request-from")
        );
    }
    Ok(())
}

/// Checks an idempotency key.
///
/// # Errors
/// `Invalid` when it is empty, longer than [`MAX_KEY`] or not one line.
pub(crate) fn check_key(key: &str) -> Result<()> {
    check_one_line("key", key, MAX_KEY)
}

/// Checks a title.
///
/// # Errors
/// As [`check_key`].
pub(crate) fn check_name(name: String) -> Result<String> {
    check_one_line("name", &name, MAX_KEY).map(|()| name)
}

/// Checks the name of a new workspace; names that exist already are accepted as they are.
///
/// # Errors
/// As [`check_key`].
pub(crate) fn check_workspace_id(id: &str) -> Result<()> {
    check_one_line("the workspace id", id, MAX_KEY)
}

/// Checks labels and drops repeated ones.
///
/// # Errors
/// `Invalid` when there are too many, or one is empty, too long or not one line.
pub(crate) fn check_labels(wanted: Vec<String>) -> Result<Vec<String>> {
    let mut labels: Vec<String> = Vec::new();
    for label in wanted {
        check_one_line("label", &label, MAX_LABEL)?;
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    check_label_count(&labels)?;
    Ok(labels)
}

/// Checks the number of labels.
///
/// # Errors
/// `Invalid` if it is more than [`MAX_LABELS`].
pub(crate) fn check_label_count(labels: &[String]) -> Result<()> {
    if labels.len() > MAX_LABELS {
        return Err(Error::invalid(format!(
            "{} labels are too many; give at most {MAX_LABELS}",
            labels.len()
        )));
    }
    Ok(())
}

/// Checks free text that appears in lists and file names: bounded in length, without hidden characters.
///
/// # Errors
/// `Invalid` when it is longer than [`MAX_SHORT_TEXT`] or contains hidden characters.
pub(crate) fn check_short_text(what: &str, text: &str) -> Result<()> {
    check_at_most(what, text, MAX_SHORT_TEXT)?;
    names::check_visible(what, text)
}

/// Checks the name of a person or program that does something: the owner of a claim, or who cancels, answers, tells or
/// reviews. Others read it as the author of what was done.
///
/// # Errors
/// `Invalid` when it is empty, or [`check_short_text`] refuses it.
pub(crate) fn check_actor(what: &str, name: &str) -> Result<()> {
    check_one_line(what, name, MAX_SHORT_TEXT)
}

/// Checks the type of an event: one word.
///
/// # Errors
/// `Invalid` when it is empty or longer than [`MAX_EVENT_TYPE`], or has spaces or hidden characters.
pub(crate) fn check_event_type(kind: &str) -> Result<()> {
    if kind.is_empty() || kind.len() > MAX_EVENT_TYPE || kind.chars().any(char::is_whitespace) {
        return Err(Error::invalid(format!("an event type is one word of at most {MAX_EVENT_TYPE} bytes"))
            .with_hint("give one such as progress"));
    }
    names::check_visible("the event type", kind)
}

/// Checks the keys of metadata or of the data of an event, which are shown as names are; values may be any text.
///
/// # Errors
/// `Invalid` for a key that is empty, too long or not one line.
pub(crate) fn check_keys(what: &str, object: &Object) -> Result<()> {
    object.keys().try_for_each(|key| check_one_line(&format!("a key of {what}"), key, MAX_KEY))
}

/// Checks text that is passed to other programs, such as a branch: as [`check_short_text`], and it must not look
/// like a flag.
///
/// # Errors
/// `Invalid` when [`check_short_text`] refuses it, or it starts with a dash.
pub(crate) fn check_argument(what: &str, text: &str) -> Result<()> {
    check_short_text(what, text)?;
    names::check_argument(what, text)
}

/// The metadata keys that the dispatcher reads and passes to programs.
const METADATA_FOR_PROGRAMS: [&str; 6] =
    ["effort", "model", "model_class", "required_vendor", "session_id", "vendor"];

/// Checks the values in metadata that are passed to other programs.
///
/// # Errors
/// As [`check_argument`], for the first of them.
pub(crate) fn check_metadata(metadata: &Object) -> Result<()> {
    for key in METADATA_FOR_PROGRAMS {
        if let Some(text) = metadata.get(key).and_then(Value::as_str) {
            check_argument(&format!("metadata {key}"), text)?;
        }
    }
    Ok(())
}

/// Checks a text of one line without hidden characters.
///
/// # Errors
/// `Invalid` when it is empty, longer than `max_bytes` or not one line.
pub(super) fn check_one_line(what: &str, text: &str, max_bytes: usize) -> Result<()> {
    if text.trim().is_empty() {
        return Err(Error::invalid(format!("{what} is empty")));
    }
    check_at_most(what, text, max_bytes)?;
    names::check_visible(what, text)
}

/// Checks a text of one line, as [`check_one_line`] does, that is also the value of an argument.
///
/// # Errors
/// `Invalid` as well when it starts with a dash.
pub(super) fn check_line_argument(what: &str, text: &str, max_bytes: usize) -> Result<()> {
    check_one_line(what, text, max_bytes)?;
    names::check_argument(what, text)
}

/// Checks the length of a text, in bytes.
///
/// # Errors
/// `Invalid` if it is more than `max_bytes`.
pub(crate) fn check_at_most(what: &str, text: &str, max_bytes: usize) -> Result<()> {
    if text.len() > max_bytes {
        return Err(Error::invalid(format!("{what} is {} bytes long; give at most {max_bytes}", text.len())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_to_their_ranges() {
        assert_eq!(check_priority(-1000).unwrap(), -1000);
        assert_eq!(check_priority(1000).unwrap(), 1000);
        assert_eq!(check_max_attempts(1).unwrap(), 1);
        assert_eq!(check_max_attempts(1000).unwrap(), 1000);
        assert_eq!(timeout_from_seconds(0.001).unwrap(), Duration::from_millis(1));
        assert_eq!(timeout_from_seconds(2_592_000.0).unwrap(), MAX_TIMEOUT);
        assert_eq!(lease_from_seconds(2_592_000.0).and_then(check_lease).unwrap(), MAX_LEASE);
        assert_eq!(delay_from_seconds(315_360_000.0).and_then(check_delay).unwrap(), MAX_DELAY);
        assert_eq!(delay_from_seconds(-0.0).unwrap(), Duration::ZERO);
        for bad in [-1001, 1001, i64::MIN, i64::MAX] {
            assert!(check_priority(bad).is_err(), "{bad}");
        }
        for bad in [0, -1, 1001, i64::MIN, i64::MAX] {
            assert!(check_max_attempts(bad).is_err(), "{bad}");
        }
        for bad in [0.0, 1e-10, -1.0, f64::NAN, f64::INFINITY, 2_592_001.0, 1e300] {
            assert!(timeout_from_seconds(bad).is_err(), "{bad}");
            assert!(lease_from_seconds(bad).is_err(), "{bad}");
        }
        for bad in [-1.0, f64::NAN, f64::INFINITY, 315_360_001.0, 1e300] {
            assert!(delay_from_seconds(bad).is_err(), "{bad}");
        }
        let moment = Duration::from_nanos(1);
        assert!(check_lease(Duration::ZERO).is_err() && check_lease(MAX_LEASE + moment).is_err());
        assert!(check_delay(MAX_DELAY + moment).is_err());
    }

    #[test]
    fn texts_are_single_bounded_lines() {
        assert!(check_key(&"k".repeat(MAX_KEY)).is_ok());
        assert!(check_name("Ein Name, 名前".to_string()).is_ok());
        for bad in ["", " ", "a\nb", "a\u{7f}", "a\u{200b}", "\u{202e}a", &"k".repeat(MAX_KEY + 1)] {
            assert!(check_key(bad).is_err(), "{bad:?}");
            assert!(check_name(bad.to_string()).is_err(), "{bad:?}");
            assert!(check_labels(vec![bad.to_string()]).is_err(), "{bad:?}");
        }
        assert!(check_short_text("it", &"x".repeat(MAX_SHORT_TEXT + 1)).is_err());
    }

    #[test]
    fn names_of_those_who_act_are_not_empty_and_can_be_seen() {
        for good in ["me", "Ann B.", "名前", "-x", &"x".repeat(MAX_SHORT_TEXT)] {
            check_actor("the owner", good).unwrap();
        }
        for bad in ["", " ", "\t", "a\nb", "\u{202e}em", &"x".repeat(MAX_SHORT_TEXT + 1)] {
            let error = check_actor("the owner", bad).unwrap_err();
            assert!(error.is_misuse() && error.message().starts_with("the owner "), "{bad:?}: {error}");
        }
    }

    #[test]
    fn types_of_events_are_words_that_can_be_seen() {
        for good in ["note", "Fortschritt", "進捗", "a-b_c.d", &"x".repeat(MAX_EVENT_TYPE)] {
            check_event_type(good).unwrap();
        }
        for bad in
            ["", "a b", "a\nb", "a\u{7}", "\u{202e}eton", "no\u{200b}te", &"x".repeat(MAX_EVENT_TYPE + 1)]
        {
            check_event_type(bad).unwrap_err();
        }
    }

    #[test]
    fn keys_can_be_seen_and_values_are_free() {
        let object = |key: &str| Object::from_iter([(key.to_string(), "a\nb".into())]);
        check_keys("metadata", &object("session id")).unwrap();
        for bad in ["", " ", "a\nb", "\u{202e}x"] {
            let error = check_keys("metadata", &object(bad)).unwrap_err().to_string();
            assert!(error.starts_with("a key of metadata "), "{bad:?}: {error}");
        }
    }

    #[test]
    fn labels_are_counted_without_repetitions() {
        let text = |n: usize| format!("l{n}");
        assert_eq!(check_labels(vec![text(1), text(2), text(1)]).unwrap(), [text(1), text(2)]);
        let many: Vec<String> = (0..MAX_LABELS).map(text).collect();
        assert!(check_labels([many.clone(), many.clone()].concat()).is_ok());
        assert!(check_labels([many, vec!["x".to_string()]].concat()).is_err());
    }
}
