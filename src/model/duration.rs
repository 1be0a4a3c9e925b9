//! Durations as people write them in flags and files (`900`, `15m`, `1h30m`), and as agents print them
//! ("2 hours 5 minutes", "3h20m10s").

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The longest accepted duration, ten years: anything above is a typing error. The limit also keeps sums
/// of times far from overflow.
pub(crate) const LONGEST: Duration = Duration::from_secs(3650 * 24 * 3600);

/// Parses a whole text as a duration: a number of seconds, or numbers with units.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Some(length) = plain_seconds(text) {
        return Some(length);
    }
    let (length, rest) = parse_prefix(text)?;
    rest.trim().is_empty().then_some(length)
}

/// Converts a number of seconds, if it is finite, not negative and at most [`LONGEST`].
pub(crate) fn from_seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok().filter(|length| *length <= LONGEST)
}

/// Returns a duration in seconds, for files and messages: the number nearest to its decimal notation, so that a
/// number with at most nine decimals is written as it was given.
pub(crate) fn seconds(length: Duration) -> f64 {
    /// Up to here, 2^53, every number of nanoseconds is exact, so that the division alone rounds.
    const EXACT: u128 = 1 << 53;
    match length.as_nanos() {
        nanos if nanos <= EXACT => nanos as f64 / 1e9,
        _ => length.as_secs_f64(),
    }
}

/// A length of time in a file of the queue: a [`Duration`], or whatever other number of seconds another
/// implementation has written, which is kept as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StoredDuration(f64);

impl StoredDuration {
    /// Wraps a number of seconds from a file; any finite number.
    pub(crate) const fn stored(seconds: f64) -> Self {
        Self(seconds)
    }

    /// Returns the duration, rounded to nanoseconds; `None` if the file has a negative number or one that is too
    /// large.
    pub fn duration(self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.0).ok()
    }

    /// Returns the number of seconds in the file.
    pub const fn as_secs_f64(self) -> f64 {
        self.0
    }
}

impl From<Duration> for StoredDuration {
    fn from(length: Duration) -> Self {
        Self(seconds(length))
    }
}

/// A limit on a duration; `None` means no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeLimit(pub Option<Duration>);

impl TimeLimit {
    /// Parses a duration as [`parse`] does; `none` and 0 mean no limit.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.trim() == "none" {
            return Some(Self(None));
        }
        parse(text).map(Self::of)
    }

    /// Makes a limit of `length`; 0 means no limit.
    pub(crate) fn of(length: Duration) -> Self {
        Self((!length.is_zero()).then_some(length))
    }
}

/// Parses as many numbers with units as possible from the start of `text`, and returns the rest too.
pub(crate) fn parse_prefix(text: &str) -> Option<(Duration, &str)> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    let mut found = false;
    while let Some((length, after)) = one_term(skip_joints(rest, found)) {
        total = total.checked_add(length).filter(|sum| *sum <= LONGEST)?;
        rest = after;
        found = true;
    }
    found.then_some((total, rest))
}

/// Formats a duration for people, with its two largest units: `45s`, `12m 5s`, `2h 5m`, `3d 4h`.
pub(crate) fn format_coarse(length: Duration) -> String {
    let seconds = length.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let pair = |big: u64, big_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{big}{big_unit}"),
        _ => format!("{big}{big_unit} {small}{small_unit}"),
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => pair(minutes, "m", seconds % 60, "s"),
        (0, _, _) => pair(hours, "h", minutes, "m"),
        _ => pair(days, "d", hours, "h"),
    }
}

fn plain_seconds(text: &str) -> Option<Duration> {
    let digits = |c: char| c.is_ascii_digit() || c == '.';
    if !text.chars().all(digits) {
        return None;
    }
    from_seconds(text.parse().ok()?)
}

/// Skips what may stand between two terms: spaces, commas and the word "and".
fn skip_joints(text: &str, after_a_term: bool) -> &str {
    if !after_a_term {
        return text.trim_start();
    }
    let text = text.trim_start_matches([' ', ',']);
    text.strip_prefix("and ").unwrap_or(text).trim_start()
}

fn one_term(text: &str) -> Option<(Duration, &str)> {
    let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let number: f64 = text[..number_end].parse().ok()?;
    let after_number = text[number_end..].trim_start_matches(' ');
    let unit_end = after_number.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after_number.len());
    let (unit, rest) = after_number.split_at(unit_end);
    let seconds = match unit.to_ascii_lowercase().as_str() {
        "ms" => 0.001,
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86_400.0,
        "w" | "week" | "weeks" => 604_800.0,
        _ => return None,
    };
    Some((from_seconds(number * seconds)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<f64> {
        parse(text).map(seconds)
    }

    #[test]
    fn reads_seconds_and_units() {
        assert_eq!(read("900"), Some(900.0));
        assert_eq!(read("0.5"), Some(0.5));
        assert_eq!(read("15m"), Some(900.0));
        assert_eq!(read("1h30m"), Some(5400.0));
        assert_eq!(read("2 hours 5 minutes"), Some(7500.0));
        assert_eq!(read("1 day, 2 hours and 3 mins"), Some(93_780.0));
        assert_eq!(read("250ms"), Some(0.25));
        assert_eq!(read(" 2w "), Some(1_209_600.0));
        assert_eq!(read("3650d"), Some(seconds(LONGEST)));
    }

    #[test]
    fn refuses_what_is_no_length() {
        for text in [
            "",
            "nan",
            "-5",
            "1e20",
            "15x",
            "m",
            "5m later",
            "..",
            "99999999999d",
            "inf",
            "1h30",
            "1e3",
            "+5",
            ".",
            "1..2",
            "é",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_stored_number_stays_what_it_was() {
        for number in [0.0, 0.1, 1e-7, 0.29, 12.616088414, 1800.0, 2_591_999.999999999, 1e15] {
            let stored = StoredDuration::stored(number);
            let length = stored.duration().expect("a duration");
            assert_eq!((seconds(length), StoredDuration::from(length)), (number, stored));
        }
        for number in [-5.0, 1e300] {
            let stored = StoredDuration::stored(number);
            assert_eq!((stored.duration(), stored.as_secs_f64()), (None, number));
        }
    }

    #[test]
    fn leading_stops_at_other_words() {
        let (length, rest) = parse_prefix("3h20m10s.").expect("a length");
        assert_eq!(length.as_secs(), 12_010);
        assert_eq!(rest, ".");
    }

    #[test]
    fn texts_have_at_most_two_units() {
        let say = |seconds| format_coarse(Duration::from_secs(seconds));
        assert_eq!(say(45), "45s");
        assert_eq!(say(725), "12m 5s");
        assert_eq!(say(7200), "2h");
        assert_eq!(say(273_600), "3d 4h");
    }
}
