//! Instants as the queue writes them, and the two clocks a decision may need.

use std::fmt;

use crate::error::{Error, Result};

/// An instant: microseconds since 1970-01-01T00:00:00Z.
///
/// Its text form is RFC 3339 in UTC with exactly six decimals and `Z`, so that texts sort as the
/// instants do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

/// The last instant that its text form can express: 9999-12-30T22:00:00Z.
const LAST: i64 = 253_402_207_200_000_000;

impl Time {
    /// The instant `micros` microseconds after 1970, clamped to the years 1970 to 9999.
    pub fn from_micros(micros: i64) -> Self {
        Self(micros.clamp(0, LAST))
    }

    /// Microseconds since 1970.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// This instant plus `seconds` (which may be fractional or negative), within the clamp of
    /// [`Time::from_micros`].
    #[must_use]
    pub fn plus_seconds(self, seconds: f64) -> Self {
        Self::from_micros(self.0.saturating_add((seconds * 1e6) as i64))
    }

    /// Seconds from `earlier` to this instant; negative when `earlier` is later.
    pub fn seconds_since(self, earlier: Self) -> f64 {
        (self.0 - earlier.0) as f64 / 1e6
    }

    /// Parses RFC 3339 text with any number of decimals and any offset.
    pub fn parse(text: &str) -> Result<Self> {
        text.parse::<jiff::Timestamp>()
            .map(|stamp| Self::from_micros(stamp.as_microsecond()))
            .map_err(|_| Error::invalid(format!("not an RFC 3339 time: {}", crate::error::printable(text))))
    }

    /// The form used at the head of task ids: `20261121T070000123456Z`.
    pub fn compact(self) -> String {
        self.format("%Y%m%dT%H%M%S%6fZ")
    }

    fn format(self, pattern: &str) -> String {
        // The clamp in from_micros keeps every value inside what jiff can express.
        let stamp = jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        stamp.strftime(pattern).to_string()
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.format("%Y-%m-%dT%H:%M:%S%.6fZ"))
    }
}

/// What one decision knows of the time.
///
/// `wall` is what is written down and shown. `uptime` counts from the start of the machine, is the
/// same for all its processes and cannot be set, so that a lease is not stretched or cut short when
/// somebody sets the clock. An `uptime` only means something beside the `boot` it belongs to.
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
    /// A moment of which only the wall-clock time is known.
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
    fn huge_steps_stay_in_range() {
        let time = Time::from_micros(0).plus_seconds(1e30);
        assert!(time.to_string().starts_with("9999-"));
        assert_eq!(time.plus_seconds(-1e30), Time::from_micros(0));
    }
}
