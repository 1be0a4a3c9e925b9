//! Usage limits: recognising that a vendor wants a pause, and until when.
//!
//! A limit is a pause, not a failure: it costs no attempt, and the vendor is left alone until the
//! time its message names ([`super::reset`]). The words differ by vendor and version, so recognition goes by phrases.

use std::time::Duration;

use serde_json::Value;

/// Phrases that mean a limit wherever an agent says them.
const CERTAIN: [&str; 12] = [
    "usage limit",
    "hit your limit",
    "session limit reached",
    "weekly limit reached",
    "5-hour limit reached",
    "hit your session limit",
    "hit your weekly limit",
    "exhausted your capacity",
    "resource_exhausted",
    "insufficient_quota",
    "credit balance is too low",
    "out of credits",
];

/// Phrases that mean a limit when the vendor's service is known to be the speaker: a program under
/// test may well print them too.
const LIKELY: [&str; 7] = [
    "rate limit",
    "rate_limit",
    "too many requests",
    "quota",
    "resource has been exhausted",
    "overloaded",
    "limit reached",
];

/// Who said the words that are searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// The agent program, about its own run.
    Agent,
    /// Anything that may have been running: standard error, say.
    Anyone,
}

/// Whether `text` or the HTTP status speaks of a usage limit.
pub fn is_usage_limit(text: &str, speaker: Speaker, status: Option<u16>) -> bool {
    // 529 is one vendor's "overloaded": waiting helps, and the task is not to blame.
    if matches!(status, Some(429 | 529)) {
        return true;
    }
    let text = text.to_ascii_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
    says(&CERTAIN) || (speaker == Speaker::Agent && says(&LIKELY))
}

/// How long a limit lasts at most, by the word that its notice calls it.
const LONGEST: [(&str, Duration); 7] = [
    ("five_hour", FIVE_HOURS),
    ("5-hour", FIVE_HOURS),
    ("5 hour", FIVE_HOURS),
    ("session limit", FIVE_HOURS),
    ("seven_day", SEVEN_DAYS),
    ("weekly", SEVEN_DAYS),
    ("7-day", SEVEN_DAYS),
];
const FIVE_HOURS: Duration = Duration::from_secs(5 * 3600);
const SEVEN_DAYS: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long the limit that `text` speaks of lasts at most, if its kind is known.
pub fn longest(text: &str) -> Option<Duration> {
    let text = text.to_ascii_lowercase();
    LONGEST.iter().find(|(word, _)| text.contains(word)).map(|(_, longest)| *longest)
}

/// The last event of `events` that tells of a call refused because of a limit.
pub fn refusal(events: &[Value]) -> Option<&Value> {
    let told = |event: &'_ Value| event.get("rate_limit_info").cloned();
    let refused = |info: &Value| {
        let says = |key: &str, word: &str| {
            info.get(key).and_then(Value::as_str).is_some_and(|v| v.starts_with(word))
        };
        // What goes beyond a limit may be paid for; then nothing is refused.
        says("status", "rejected") && !says("overageStatus", "allowed")
    };
    events.iter().rfind(|event| told(event).is_some_and(|info| refused(&info)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likely_words_count_only_from_the_agent_itself() {
        let certain = "You've hit your usage limit.";
        assert!(is_usage_limit(certain, Speaker::Anyone, None));
        let likely = "test failed: rate limit of the fake server";
        assert!(is_usage_limit(likely, Speaker::Agent, None));
        assert!(!is_usage_limit(likely, Speaker::Anyone, None));
        assert!(is_usage_limit("", Speaker::Anyone, Some(429)));
        assert!(!is_usage_limit("", Speaker::Agent, Some(500)));
    }
}
