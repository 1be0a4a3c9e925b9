//! Usage limits: recognising that a vendor wants a pause, and until when.
//!
//! A limit is a pause, not a failure: it costs no attempt, and the vendor is left alone until the
//! time its message names. The words differ by vendor and version, so recognition goes by phrases.

use jiff::civil::{self, Weekday};
use jiff::tz::TimeZone;

use crate::model::{Time, span};

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

/// Words after which a message names the time of the reset.
const ANNOUNCING: [&str; 6] = ["reset", "try again", "retry", "available again", "until", "limit reached|"];

/// Words that may stand between the announcement and the time.
const FILLERS: [&str; 9] = ["s", "at", "on", "in", "after", "again", "time", "is", "your"];

/// A reset further away than this is taken for a misreading.
const FURTHEST_SECONDS: f64 = 32.0 * 86_400.0;

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

/// When the limit ends, if `text` names a believable time. Clock times without a zone are read in
/// `zone`, the zone of the machine.
pub fn reset_time(text: &str, now: Time, zone: &TimeZone) -> Option<Time> {
    let text = text.to_ascii_lowercase();
    ANNOUNCING
        .iter()
        .flat_map(|word| text.match_indices(word).map(|(at, word)| &text[at + word.len()..]))
        .filter_map(|rest| named_time(rest, now, zone))
        .find(|time| (0.0..FURTHEST_SECONDS).contains(&time.seconds_since(now)))
}

fn named_time(rest: &str, now: Time, zone: &TimeZone) -> Option<Time> {
    let mut rest = rest.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    while let Some(shorter) = without_filler(rest) {
        rest = shorter;
    }
    if let Some((length, _)) = span::leading(rest) {
        return Some(now.plus_seconds(length.as_secs_f64()));
    }
    let word = rest.split_whitespace().next()?.trim_end_matches(['.', ',', ')', '"']);
    if let Some(time) = machine_time(word) {
        return Some(time);
    }
    if let Ok(seconds) = word.parse::<u32>()
        && !rest[word.len()..].trim_start().starts_with(|c: char| c.is_ascii_alphabetic())
    {
        // "retry-after: 120"; a number before a word is something else, "25 November" say.
        return Some(now.plus_seconds(f64::from(seconds)));
    }
    Spoken::parse(rest).next_after(now, zone)
}

fn without_filler(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_ascii_alphabetic())?;
    FILLERS
        .contains(&&text[..end])
        .then(|| text[end..].trim_start_matches(|c: char| !c.is_ascii_alphanumeric()))
}

/// Seconds or milliseconds since 1970, or RFC 3339 text.
fn machine_time(word: &str) -> Option<Time> {
    if word.bytes().all(|byte| byte.is_ascii_digit()) {
        let number: i64 = word.parse().ok()?;
        return match word.len() {
            10 => Some(Time::from_micros(number * 1_000_000)),
            13 => Some(Time::from_micros(number * 1000)),
            _ => None,
        };
    }
    Time::parse(&word.to_ascii_uppercase()).ok()
}

/// A time as a person says it: "3:05 pm", "mon 12am", "oct 9, 5am (europe/berlin)".
#[derive(Debug, Default)]
struct Spoken {
    weekday: Option<Weekday>,
    month: Option<i8>,
    day: Option<i8>,
    year: Option<i16>,
    clock: Option<civil::Time>,
    zone: Option<TimeZone>,
}

impl Spoken {
    fn parse(text: &str) -> Self {
        let mut spoken = Self::default();
        let mut words = text.split([' ', ',', '\n', '\t']).filter(|word| !word.is_empty()).peekable();
        while let Some(raw) = words.next() {
            let word = raw.trim_end_matches(['.', ';', '"', ')']);
            let suffix = words
                .peek()
                .map(|next| next.trim_end_matches('.'))
                .filter(|next| matches!(*next, "am" | "pm"));
            if spoken.zone_name(raw) || word == "at" || word == "on" {
                continue;
            }
            if let Some(clock) = clock(word, suffix) {
                spoken.clock = Some(clock);
                if suffix.is_some() {
                    words.next();
                }
            } else if !spoken.calendar_word(word) {
                break;
            }
        }
        spoken
    }

    fn zone_name(&mut self, word: &str) -> bool {
        let name = word.trim_matches(['(', ')', '.', ',']);
        if !word.starts_with('(') && name != "utc" {
            return false;
        }
        self.zone = TimeZone::get(name).ok();
        self.zone.is_some()
    }

    fn calendar_word(&mut self, word: &str) -> bool {
        const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        const MONTHS: [&str; 12] =
            ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
        let position = |names: &[&str]| {
            let start = word.get(..3)?;
            let letters = word.bytes().all(|byte| byte.is_ascii_alphabetic());
            names.iter().position(|name| letters && *name == start)
        };
        if let Some(index) = position(&DAYS) {
            self.weekday = Weekday::from_monday_zero_offset(index as i8).ok();
            return true;
        }
        if let Some(index) = position(&MONTHS) {
            self.month = Some(index as i8 + 1);
            return true;
        }
        let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        match (digits.len(), digits.parse::<i16>()) {
            (4, Ok(year)) => self.year = Some(year),
            (1 | 2, Ok(day)) if self.day.is_none() => self.day = Some(day as i8),
            _ => return false,
        }
        true
    }

    /// The first instant after `now` that fits what was said.
    fn next_after(self, now: Time, zone: &TimeZone) -> Option<Time> {
        let zone = self.zone.unwrap_or_else(|| zone.clone());
        let now = jiff::Timestamp::from_microsecond(now.micros()).ok()?;
        let today = zone.to_datetime(now).date();
        let is_date = self.month.is_some() && self.day.is_some();
        if self.clock.is_none() && !is_date && self.weekday.is_none() {
            return None;
        }
        let clock = self.clock.unwrap_or(civil::Time::midnight());
        let dates: Vec<civil::Date> = match (self.month, self.day) {
            (Some(month), Some(day)) => {
                let years = self.year.map_or(vec![today.year(), today.year() + 1], |year| vec![year]);
                years.into_iter().filter_map(|year| civil::Date::new(year, month, day).ok()).collect()
            }
            _ => std::iter::successors(Some(today), |date| date.tomorrow().ok())
                .take(9)
                .filter(|date| self.weekday.is_none_or(|weekday| date.weekday() == weekday))
                .collect(),
        };
        dates
            .into_iter()
            .filter_map(|date| zone.to_zoned(date.to_datetime(clock)).ok())
            .map(|zoned| zoned.timestamp())
            .find(|time| *time > now)
            .map(|time| Time::from_micros(time.as_microsecond()))
    }
}

/// "3pm", "3:05pm", "15:05", or "3:05" with `suffix` "pm".
fn clock(word: &str, suffix: Option<&str>) -> Option<civil::Time> {
    let (digits, half) = match (word.strip_suffix("am"), word.strip_suffix("pm")) {
        (Some(digits), _) => (digits, Some("am")),
        (_, Some(digits)) => (digits, Some("pm")),
        _ => (word, suffix),
    };
    let (hour, minute) = match digits.split_once(':') {
        Some((hour, minute)) => (hour.parse::<i8>().ok()?, minute.get(..2)?.parse::<i8>().ok()?),
        // A bare number is an hour only with "am" or "pm"; otherwise it may be a day.
        None => (half.and(digits.parse::<i8>().ok())?, 0),
    };
    let hour = match half {
        Some(_) if !(1..=12).contains(&hour) => return None,
        Some("am") => hour % 12,
        Some(_) => hour % 12 + 12,
        None => hour,
    };
    civil::Time::new(hour, minute, 0, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21 is a Saturday.
    const NOW: &str = "2026-11-21T12:00:00Z";

    fn reset(text: &str) -> Option<String> {
        let now = Time::parse(NOW).expect("a time");
        let berlin = TimeZone::fixed(jiff::tz::offset(1));
        reset_time(text, now, &berlin).map(|time| time.to_string()[..16].to_string())
    }

    #[test]
    fn lengths_of_time() {
        let cases = [
            (
                "You've hit your usage limit. Upgrade to Pro or try again in 2 hours 5 minutes.",
                "2026-11-21T14:05",
            ),
            ("try again in 3 days 4 hours 5 minutes.", "2026-11-24T16:05"),
            ("Your quota will reset after 3h20m10s.", "2026-11-21T15:20"),
            ("Please retry in 90.07s.", "2026-11-21T12:01"),
            ("retry-after: 120", "2026-11-21T12:02"),
        ];
        for (text, expected) in cases {
            assert_eq!(reset(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn points_in_time() {
        let cases = [
            ("Claude AI usage limit reached|1795269600", "2026-11-21T14:00"),
            ("limit, resets at 2026-11-21T20:30:00Z", "2026-11-21T20:30"),
            ("You've hit your limit · resets 3pm", "2026-11-21T14:00"),
            ("You've hit your session limit · resets 12:15pm", "2026-11-22T11:15"),
            ("resets 3:45pm (Etc/UTC)", "2026-11-21T15:45"),
            ("5-hour limit reached ∙ resets 7am", "2026-11-22T06:00"),
            ("weekly limit · resets Mon 12:00am", "2026-11-22T23:00"),
            ("resets Nov 25 at 5am", "2026-11-25T04:00"),
            ("try again at 3:05 PM.", "2026-11-21T14:05"),
            ("try again at Nov 25th, 2026 3:05 PM.", "2026-11-25T14:05"),
            ("Your limit will reset at 23:30 (UTC).", "2026-11-21T23:30"),
        ];
        for (text, expected) in cases {
            assert_eq!(reset(text).as_deref(), Some(expected), "{text}");
        }
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
            assert_eq!(reset(text), None, "{text}");
        }
    }

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
