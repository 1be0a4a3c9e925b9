//! Parses the reset time of a usage limit from a message: a machine-readable value, a duration, or a clock time.
//!
//! A clock time is written for people: without a date, without a time zone, and truncated to the minute. So it
//! is never treated as exact, and one that has just passed means "now", not "tomorrow".

mod prose_time;

use std::time::Duration;

use self::prose_time::ProseTime;
use jiff::tz::TimeZone;

use crate::dispatch::outcome::ResetTime;
use crate::dispatch::vendor::ResetFormat;
use crate::model::{Time, duration};

/// Words that may occur between the announcement and the time.
const FILLERS: [&str; 9] = ["s", "at", "on", "in", "after", "again", "time", "is", "your"];

/// Maximum time until a reset; a later one is treated as a parse error.
const MAX_RESET_DELAY: Duration = Duration::from_secs(32 * 86_400);
/// Maximum age of a time in a message: of the two possible dates of a time without one, the nearer is meant. A
/// wrong "now" costs a short cooldown and another refused call; a wrong "tomorrow" costs a day.
const MAX_AGE_SECONDS: f64 = 12.0 * 3600.0;
/// Tolerance beyond the maximum duration of a kind of limit, because clocks differ.
const TOLERANCE_SECONDS: f64 = 600.0;

/// Context of a message.
#[derive(Clone, Copy, Debug)]
pub struct MessageContext<'a> {
    /// Time at which the message was read.
    pub now: Time,
    /// Time zone of clock times without one.
    pub zone: &'a TimeZone,
    /// Maximum duration of this kind of limit.
    pub within: Option<Duration>,
    /// The vendor's phrases that precede a time, with its format.
    pub resets: &'a [(String, ResetFormat)],
}

impl MessageContext<'_> {
    /// Returns an exact time if it is plausible; one that has just passed means now.
    pub fn exact(&self, time: Time) -> Option<ResetTime> {
        self.plausible(time, ResetTime::Exact)
    }

    fn plausible(&self, time: Time, reset: fn(Time) -> ResetTime) -> Option<ResetTime> {
        let ahead = time.seconds_since(self.now);
        let furthest = self
            .within
            .map_or(MAX_RESET_DELAY.as_secs_f64(), |within| within.as_secs_f64() + TOLERANCE_SECONDS);
        if ahead > 0.0 {
            return (ahead <= furthest).then(|| reset(time));
        }
        (ahead > -MAX_AGE_SECONDS).then_some(ResetTime::Past)
    }
}

/// Returns the reset time in `text`, if any; a machine-readable value takes precedence over prose.
pub fn reset_in(text: &str, context: MessageContext<'_>) -> Option<ResetTime> {
    figure_in(text, context).or_else(|| prose_in(text, context))
}

/// Returns the last machine-readable value in `text`, which may contain JSON.
fn figure_in(text: &str, context: MessageContext<'_>) -> Option<ResetTime> {
    let instant = |value: &str| context.exact(instant_in(value)?);
    let seconds = |value: &str| context.exact(context.now.plus_seconds(value.parse().ok()?));
    let members = |wanted: ResetFormat| {
        let names = context.resets.iter().filter(move |(_, follows)| *follows == wanted);
        names.flat_map(|(name, _)| values(text, name))
    };
    let instants = members(ResetFormat::Instant).filter_map(|(at, value)| Some((at, instant(value)?)));
    let seconds = members(ResetFormat::Seconds).filter_map(|(at, value)| Some((at, seconds(value)?)));
    // A point in time, unlike a duration, does not age during transmission.
    let last =
        |found: Vec<(usize, ResetTime)>| found.into_iter().max_by_key(|(at, _)| *at).map(|(_, reset)| reset);
    last(instants.collect()).or_else(|| last(seconds.collect()))
}

/// Returns the values of the members called `name`, each with the byte offset of its name.
fn values<'t>(text: &'t str, name: &str) -> impl Iterator<Item = (usize, &'t str)> {
    text.match_indices(name).filter_map(move |(at, found)| {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            return None;
        }
        let rest = text[at + found.len()..].trim_start_matches(['"', '\\', ' ']);
        let rest = rest.strip_prefix([':', '='])?.trim_start_matches(['"', '\\', ' ']);
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || "-+:.".contains(c))).unwrap_or(rest.len());
        Some((at, rest[..end].trim_end_matches(['.', ':'])))
    })
}

/// Parses seconds or milliseconds since 1970, or RFC 3339 text.
pub(crate) fn instant_in(word: &str) -> Option<Time> {
    let digits = word.split_once('.').map_or(word, |(whole, _)| whole);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let number: i64 = digits.parse().ok()?;
        return match digits.len() {
            10 => Some(Time::from_micros(number * 1_000_000)),
            13 => Some(Time::from_micros(number * 1000)),
            _ => None,
        };
    }
    Time::parse(&word.to_ascii_uppercase()).ok()
}

fn prose_in(text: &str, context: MessageContext<'_>) -> Option<ResetTime> {
    // Programs print narrow and non-breaking spaces between a time and its "PM".
    let text: String = text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).collect();
    let lower = text.to_ascii_lowercase();
    let mut has_passed = false;
    for (word, _) in context.resets.iter().filter(|(_, follows)| *follows == ResetFormat::Text) {
        for (at, found) in lower.match_indices(word.as_str()) {
            match named_time(&text[at + found.len()..], context) {
                Some(ResetTime::Past) => has_passed = true,
                Some(reset) => return Some(reset),
                None => {}
            }
        }
    }
    has_passed.then_some(ResetTime::Past)
}

fn named_time(rest: &str, context: MessageContext<'_>) -> Option<ResetTime> {
    let mut rest = rest.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    while let Some(shorter) = without_filler(rest) {
        rest = shorter;
    }
    if let Some((length, _)) = duration::parse_prefix(rest) {
        let time = context.now.plus_seconds(length.as_secs_f64());
        // Without seconds, it is truncated to the minute, like a clock time.
        let is_cut = length.as_secs() % 60 == 0 && length.subsec_nanos() == 0;
        return context.plausible(time, if is_cut { ResetTime::Clock } else { ResetTime::Exact });
    }
    let word = rest.split_whitespace().next()?.trim_end_matches(['.', ',', ')', '"']);
    if let Some(time) = instant_in(word) {
        return context.exact(time);
    }
    if let Ok(seconds) = word.parse::<u32>()
        && !rest[word.len()..].trim_start().starts_with(|c: char| c.is_ascii_alphabetic())
    {
        // "retry-after: 120"; a number before a word is something else, such as "25 November".
        return context.exact(context.now.plus_seconds(f64::from(seconds)));
    }
    ProseTime::parse(rest).resolve(context)
}

fn without_filler(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_ascii_alphabetic())?;
    FILLERS
        .contains(&text[..end].to_ascii_lowercase().as_str())
        .then(|| text[end..].trim_start_matches(|c: char| !c.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::vendor::Vendors;

    /// 2026-11-21 is a Saturday.
    const NOW: &str = "2026-11-21T12:00:00Z";

    fn read_at(now: &str, text: &str, hours: Option<u64>) -> Option<String> {
        let berlin = TimeZone::fixed(jiff::tz::offset(1));
        let within = hours.map(|hours| Duration::from_secs(hours * 3600));
        let every = Vendors::built_in().expect("built-in profiles").common_messages();
        let (now, resets) = (Time::parse(now).expect("a time"), every.reset_markers());
        let context = MessageContext { now, zone: &berlin, within, resets };
        reset_in(text, context).map(|reset| match reset {
            ResetTime::Exact(time) => format!("exact {}", &time.to_string()[..19]),
            ResetTime::Clock(time) => format!("clock {}", &time.to_string()[..16]),
            ResetTime::Past => "passed".to_string(),
        })
    }

    fn read(text: &str) -> Option<String> {
        read_at(NOW, text, None)
    }

    #[test]
    fn lengths_of_time() {
        let cases = [
            (
                "You've hit your usage limit. Upgrade to Pro or try again in 2 hours 5 minutes.",
                "clock 2026-11-21T14:05",
            ),
            ("try again in 3 days 4 hours 5 minutes.", "clock 2026-11-24T16:05"),
            ("Your quota will reset after 3h20m10s.", "exact 2026-11-21T15:20:10"),
            ("Please retry in 90.07s.", "exact 2026-11-21T12:01:30"),
            ("retry-after: 120", "exact 2026-11-21T12:02:00"),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn points_in_time() {
        let cases = [
            ("Claude AI usage limit reached|1795269600", "exact 2026-11-21T14:00:00"),
            ("limit, resets at 2026-11-21T20:30:00Z", "exact 2026-11-21T20:30:00"),
            ("You've hit your limit · resets 3pm", "clock 2026-11-21T14:00"),
            ("resets 3:45pm (Etc/UTC)", "clock 2026-11-21T15:45"),
            ("weekly limit · resets Mon 12:00am", "clock 2026-11-22T23:00"),
            ("resets Nov 25 at 5am", "clock 2026-11-25T04:00"),
            ("try again at 3:05 PM.", "clock 2026-11-21T14:05"),
            ("try again at 3:05\u{202f}PM.", "clock 2026-11-21T14:05"),
            ("try again at 3:05 p.m. or buy more", "clock 2026-11-21T14:05"),
            ("try again at Nov 25th, 2026 3:05 PM.", "clock 2026-11-25T14:05"),
            ("Your limit will reset at 23:30 (UTC).", "clock 2026-11-21T23:30"),
            ("parked until 15:00", "clock 2026-11-21T14:00"),
            ("weekly limit · resets Dec 1, 2:38pm (UTC)", "clock 2026-12-01T14:38"),
            ("resets Dec 7, 2026, 2:38pm (America/New_York)", "clock 2026-12-07T19:38"),
            ("try again at Tue, 24 Nov 2026 14:05:00 GMT", "clock 2026-11-24T14:05"),
            ("available again tomorrow at 9am", "clock 2026-11-22T08:00"),
            ("resets at 15:00 UTC+2", "clock 2026-11-21T13:00"),
            ("resets on 2026-11-25 14:05 UTC", "clock 2026-11-25T14:05"),
            ("resets 3pm (in 2h)", "clock 2026-11-21T14:00"),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_time_that_has_just_passed_means_now_and_never_tomorrow() {
        for text in [
            "You've hit your session limit · resets 12:15pm",
            "You've hit your limit · resets 12:59pm",
            "5-hour limit reached ∙ resets 7am",
            "try again at 12:40 PM.",
            "paused until 13:00",
            "resets 3:45am (UTC)",
            "weekly limit · resets Sat 1:30am",
            "weekly limit · resets Nov 21, 11:38am (UTC)",
            "weekly limit · resets Nov 21, 2026, 11:38am (UTC)",
            "limit reached|1795262399",
            "{\"resets_at\":1795262399}",
        ] {
            assert_eq!(read(text).as_deref(), Some("passed"), "{text}");
        }
        // Across midnight, and across the end of the year.
        let passed = Some("passed".to_string());
        assert_eq!(read_at("2026-11-21T00:00:40Z", "resets 11:58pm (UTC)", None), passed);
        assert_eq!(read_at("2027-01-01T00:01:00Z", "resets Dec 31, 11:58pm (UTC)", None), passed);
        // The nearer of two possible dates is meant.
        assert_eq!(read_at(NOW, "resets 12:30am (UTC)", None).as_deref(), Some("passed"));
        let tonight = "resets 11:30pm (UTC)";
        assert_eq!(read_at(NOW, tonight, None).as_deref(), Some("clock 2026-11-21T23:30"));
        assert_eq!(
            read_at("2026-11-21T20:00:00Z", "resets 7am (UTC)", None).as_deref(),
            Some("clock 2026-11-22T07:00")
        );
    }

    #[test]
    fn figures_for_programs_count_more_than_prose() {
        let text = r#"unexpected status 429 Too Many Requests: {"error":{"type":"usage_limit_reached","message":"try again at 3:05 PM.","resets_at":1795269645,"resets_in_seconds":7000}}"#;
        assert_eq!(read(text).as_deref(), Some("exact 2026-11-21T14:00:45"));
        assert_eq!(read(r#"{\"resets_in_seconds\": 90}"#).as_deref(), Some("exact 2026-11-21T12:01:30"));
        assert_eq!(
            read(r#"{"resetsAt":"2026-11-21T12:07:01Z"}"#).as_deref(),
            Some("exact 2026-11-21T12:07:01")
        );
        assert_eq!(
            read(r#"{"resets_at":1795269645} then {"resets_at":1795269646}"#).as_deref(),
            Some("exact 2026-11-21T14:00:46")
        );
        assert_eq!(
            read(r#"{"resets_at":null} try again at 3:05 PM"#).as_deref(),
            Some("clock 2026-11-21T14:05")
        );
    }

    #[test]
    fn a_limit_lasts_no_longer_than_its_kind() {
        assert_eq!(read_at(NOW, "resets 7pm (UTC)", Some(5)), None);
        assert_eq!(read_at(NOW, "resets 4:59pm (UTC)", Some(5)).as_deref(), Some("clock 2026-11-21T16:59"));
        assert_eq!(read_at(NOW, r#"{"resets_at":1795999999}"#, Some(5)), None);
        assert_eq!(read_at(NOW, "resets Nov 29, 3pm", Some(7 * 24)), None);
    }

    #[test]
    fn what_names_no_believable_time_names_none() {
        for text in [
            "",
            "try again later",
            "resets soon",
            "try again in 900 days",
            "usage limit reached|1495267200",
            "resets Jan 5 2031",
            "retry 3 of 10",
            "resets 25:99",
            "reset the 13pm",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_zone_that_is_not_known_names_no_time() {
        for text in [
            "resets 2:34pm (PST)",
            "resets 2:34pm PST",
            "resets 2:34pm (Mars/Olympus)",
            "resets 3pm (Pacific Time)",
            "resets 15:00 CST.",
            "resets at midnight Pacific time",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert!(jiff::tz::TimeZoneDatabase::bundled().get("Europe/Berlin").is_ok());
        assert_eq!(read("resets 3pm (Europe/Berlin)").as_deref(), Some("clock 2026-11-21T14:00"));
    }
}
