//! Timestamps as the queue writes them, and the two clocks a decision may need.

use std::fmt;
use std::ops::{Add, Range, Sub};
use std::time::Duration;

use crate::error::{Error, Result};

/// An instant: microseconds since 1970-01-01T00:00:00Z.
///
/// Its text form is RFC 3339 in UTC with exactly six decimals and `Z`, so that texts sort as the
/// instants do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

/// The last instant that its text form can express: 9999-12-30T22:00:00Z.
const LAST_MICROS: i64 = 253_402_207_200_000_000;

impl Time {
    /// Returns the instant `micros` microseconds after 1970, clamped to the years 1970 to 9999.
    pub fn from_micros(micros: i64) -> Self {
        Self(micros.clamp(0, LAST_MICROS))
    }

    /// Returns the microseconds since 1970.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Returns this instant plus `seconds` (which may be fractional or negative), clamped as in
    /// [`Time::from_micros`].
    #[must_use]
    pub fn plus_seconds(self, seconds: f64) -> Self {
        Self::from_micros(self.0.saturating_add((seconds * 1e6) as i64))
    }

    /// Returns the seconds from `earlier` to this instant; negative if `earlier` is later.
    pub fn seconds_since(self, earlier: Self) -> f64 {
        (self.0 - earlier.0) as f64 / 1e6
    }

    /// Parses RFC 3339 text with any number of decimals and any offset.
    ///
    /// # Errors
    /// `Invalid` if `text` is not an RFC 3339 time.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some(time) = Self::parse_own(text.as_bytes()) {
            return Ok(time);
        }
        text.parse::<jiff::Timestamp>()
            .map(|stamp| Self::from_micros(stamp.as_microsecond()))
            .map_err(|_| Error::invalid(format!("not an RFC 3339 time: {}", crate::error::printable(text))))
    }

    /// Formats the time as at the start of task ids: `20261121T070000123456Z`.
    pub fn compact(self) -> String {
        let text = self.text();
        let digits = text.iter().filter(|byte| !matches!(byte, b'-' | b':' | b'.'));
        digits.map(|byte| char::from(*byte)).collect()
    }

    /// Parses the one format that the queue writes. A store contains many times, and this is far faster than
    /// the general parser.
    fn parse_own(text: &[u8]) -> Option<Self> {
        let text: &[u8; TEMPLATE.len()] = text.try_into().ok()?;
        let fits =
            |(byte, pattern): (&u8, &u8)| byte == pattern || (*pattern == b'0' && byte.is_ascii_digit());
        if !text.iter().zip(TEMPLATE).all(fits) {
            return None;
        }
        let number =
            |range: Range<usize>| text[range].iter().fold(0, |n, byte| n * 10 + i64::from(byte - b'0'));
        let (year, month, day) = (number(0..4), number(5..7), number(8..10));
        let (hour, minute, second) = (number(11..13), number(14..16), number(17..19));
        let days = days_before(year, month, day);
        // An invalid date converts back to a different one.
        if !(1970..9999).contains(&year)
            || date_of(days) != (year, month, day)
            || hour > 23
            || minute > 59
            || second > 59
        {
            return None;
        }
        let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
        Some(Self::from_micros(seconds * 1_000_000 + number(20..26)))
    }

    fn text(self) -> [u8; TEMPLATE.len()] {
        let mut text = *TEMPLATE;
        let mut put = |range: Range<usize>, mut number: i64| {
            for byte in text[range].iter_mut().rev() {
                *byte = b'0' + (number % 10) as u8;
                number /= 10;
            }
        };
        let (seconds, micros) = (self.0 / 1_000_000, self.0 % 1_000_000);
        let (year, month, day) = date_of(seconds / 86_400);
        put(0..4, year);
        put(5..7, month);
        put(8..10, day);
        put(11..13, seconds / 3600 % 24);
        put(14..16, seconds / 60 % 60);
        put(17..19, seconds % 60);
        put(20..26, micros);
        text
    }
}

/// The format of a time: a digit wherever there is a 0.
const TEMPLATE: &[u8; 27] = b"0000-00-00T00:00:00.000000Z";

/// Returns the days from 1970-01-01 to a date of the Gregorian calendar. March counts as the first month,
/// so that the leap day is the last day of its year.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let month = (month + 9) % 12;
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// Returns the date (year, month, day) that is `days` days after 1970-01-01.
fn date_of(days: i64) -> (i64, i64, i64) {
    const DAYS_OF_400_YEARS: i64 = 146_097;
    let days = days + 719_468;
    let (era, day) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

/// Adds a duration, in whole microseconds, clamped as in [`Time::from_micros`].
impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, length: Duration) -> Self {
        Self::from_micros(self.0.saturating_add(micros(length)))
    }
}

/// Subtracts a duration, in whole microseconds, clamped as in [`Time::from_micros`].
impl Sub<Duration> for Time {
    type Output = Self;

    fn sub(self, length: Duration) -> Self {
        Self::from_micros(self.0.saturating_sub(micros(length)))
    }
}

/// Returns a duration in whole microseconds, at most `i64::MAX`.
pub(crate) fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX)
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.text()))
    }
}

/// The time at which a decision is made, on two clocks.
///
/// `wall` is stored and shown. `uptime` counts from the boot of the machine, is the same for all its
/// processes and cannot be set, so that a lease is not extended or shortened when somebody sets the
/// clock. An `uptime` is only meaningful together with its `boot`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Now {
    /// Wall-clock time.
    pub wall: Time,
    /// Microseconds since the machine started, sleep included.
    pub uptime: i64,
    /// The machine's boot id; empty when unknown.
    pub boot: String,
}

impl Now {
    /// Makes a `Now` of which only the wall-clock time is known.
    pub fn wall_only(wall: Time) -> Self {
        Self { wall, uptime: 0, boot: String::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_six_decimals_and_come_back() {
        let time = Time::from_micros(1_795_244_400_000_120);
        assert_eq!(time.to_string(), "2026-11-21T07:00:00.000120Z");
        assert_eq!(time.compact(), "20261121T070000000120Z");
        assert_eq!(Time::parse(&time.to_string()).unwrap(), time);
    }

    #[test]
    fn reads_fewer_decimals_and_offsets() {
        assert_eq!(Time::parse("2026-11-21T07:00:00Z").unwrap().to_string(), "2026-11-21T07:00:00.000000Z");
        assert_eq!(
            Time::parse("2026-11-21T08:00:00.5+01:00").unwrap().to_string(),
            "2026-11-21T07:00:00.500000Z"
        );
        assert!(Time::parse("yesterday").is_err());
    }

    #[test]
    fn the_calendar_is_the_one_of_everybody() {
        let mut seed = 1_u64;
        let moments = (0..20_000).map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 8) as i64 % LAST_MICROS
        });
        let days = (0..3_000_000).step_by(13).map(|day| day * 86_400_000_000);
        for micros in moments.chain(days).chain([0, LAST_MICROS]) {
            let time = Time::from_micros(micros);
            let stamp = jiff::Timestamp::from_microsecond(time.micros()).unwrap();
            let text = time.to_string();
            assert_eq!(text, stamp.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string());
            assert_eq!(
                Time::parse_own(text.as_bytes()),
                (micros < LAST_MICROS - 31_536_000_000_000).then_some(time)
            );
            assert_eq!(Time::parse(&text).unwrap(), time);
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in [
            "2025-02-29T00:00:00.000000Z",
            "2026-13-01T00:00:00.000000Z",
            "2026-00-10T00:00:00.000000Z",
            "2026-04-31T00:00:00.000000Z",
            "2026-01-01T24:00:00.000000Z",
            "2026-01-01T00:60:00.000000Z",
            "2026-01-01T00:00:0x.000000Z",
            "2026-01-00T00:00:00.000000Z",
        ] {
            assert!(Time::parse(bad).is_err(), "{bad}");
        }
        assert!(Time::parse("2024-02-29T23:59:59.999999Z").is_ok());
    }

    #[test]
    fn huge_steps_stay_in_range() {
        let time = Time::from_micros(0).plus_seconds(1e30);
        assert!(time.to_string().starts_with("9999-"));
        assert_eq!(time.plus_seconds(-1e30), Time::from_micros(0));
    }
}
