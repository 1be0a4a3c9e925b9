//! Parses times written for people in a message.

use jiff::civil::{self, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::MessageContext;
use crate::dispatch::outcome::ResetTime;
use crate::model::{Time, duration};

/// Returns the time zone called `name` if it is unambiguous: UTC with or without an offset, or a name in the
/// time zone database, which is part of the program. Abbreviations such as PST or CST are ambiguous.
fn zone_called(name: &str) -> Option<TimeZone> {
    let upper = name.to_ascii_uppercase();
    let offset = upper.strip_prefix("UTC").or_else(|| upper.strip_prefix("GMT")).unwrap_or(&upper);
    if matches!(upper.as_str(), "UTC" | "GMT" | "Z") {
        return Some(TimeZone::UTC);
    }
    if let Some((sign, digits)) = offset
        .strip_prefix('+')
        .map(|digits| (1, digits))
        .or_else(|| offset.strip_prefix('-').map(|digits| (-1, digits)))
    {
        let (hours, minutes) = match digits.split_once(':') {
            Some(pair) => pair,
            None if digits.len() == 4 && digits.is_ascii() => digits.split_at(2),
            None => (digits, "0"),
        };
        let (hours, minutes): (i16, i16) = (hours.parse().ok()?, minutes.parse().ok()?);
        let seconds = i32::from(hours) * 3600 + i32::from(minutes) * 60;
        return jiff::tz::Offset::from_seconds(sign * seconds).ok().map(TimeZone::fixed);
    }
    TimeZone::get(name).or_else(|_| TimeZoneDatabase::bundled().get(name)).ok()
}

/// Time zone of a time in a message.
#[derive(Debug, Default)]
enum Zone {
    /// Not given: the time zone of the machine.
    #[default]
    Own,
    Named(TimeZone),
    /// Given, but ambiguous or unknown.
    Unknown,
}

/// A time written for people: "3:05 pm", "Mon 12am", "Oct 9, 5am (Europe/Berlin)".
#[derive(Debug, Default)]
pub(super) struct ProseTime {
    weekday: Option<Weekday>,
    month: Option<i8>,
    day: Option<i8>,
    year: Option<i16>,
    /// Days from today.
    from_today: Option<i32>,
    clock: Option<civil::Time>,
    zone: Zone,
}

impl ProseTime {
    /// Parses the longest prefix of `text` that describes a time.
    pub(super) fn parse(text: &str) -> Self {
        let mut time = Self::default();
        let mut rest = text;
        while let Some((raw, after)) = next_word(rest) {
            if let Some(bracket) = raw.strip_prefix('(') {
                time.parse_parentheses(bracket, after);
                break;
            }
            let word = raw.trim_end_matches(['.', ';', ':', '"', ')', '!']);
            let lower = word.to_ascii_lowercase();
            rest = after;
            if matches!(lower.as_str(), "at" | "on" | "by" | "the") {
                continue;
            }
            let next = next_word(after).filter(|(next, _)| half_of_day(next).is_some());
            if let Some(clock) = clock(&lower, next.and_then(|(next, _)| half_of_day(next))) {
                time.clock = Some(clock);
                if let Some((_, after)) = next {
                    rest = after;
                }
            } else if !time.parse_date(&lower) {
                time.parse_zone(word);
                if !matches!(time.zone, Zone::Named(_)) {
                    break;
                }
            }
            // The time ends with its sentence.
            if raw.ends_with(['.', ';', '!']) && time.clock.is_some() {
                break;
            }
        }
        time
    }

    /// Parses the text in parentheses after a time: its time zone, or the duration until then.
    fn parse_parentheses(&mut self, first: &str, after: &str) {
        let is_one = first.contains(')');
        let name = first.split(')').next().unwrap_or_default();
        if name.eq_ignore_ascii_case("in") || duration::parse_prefix(name).is_some() {
            return;
        }
        self.zone = match zone_called(name) {
            Some(zone) if is_one || after.starts_with(')') => Zone::Named(zone),
            _ => Zone::Unknown,
        };
    }

    /// Parses a word after the time that looks like a time zone: "UTC", "PST", "Europe/Berlin".
    fn parse_zone(&mut self, word: &str) {
        const SPELT_OUT: [&str; 4] = ["pacific", "mountain", "central", "eastern"];
        let name = word.trim_end_matches([',', ')']);
        let is_abbreviation =
            (2..=5).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_uppercase());
        let is_offset = name.starts_with(['+', '-']) || name.contains(['+', '/']);
        if let Some(zone) = zone_called(name) {
            self.zone = Zone::Named(zone);
        } else if is_abbreviation || is_offset || SPELT_OUT.contains(&name.to_ascii_lowercase().as_str()) {
            self.zone = Zone::Unknown;
        }
    }

    fn parse_date(&mut self, word: &str) -> bool {
        const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        const MONTHS: [&str; 12] =
            ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
        let position = |names: &[&str]| {
            let start = word.get(..3)?;
            let letters = word.bytes().all(|byte| byte.is_ascii_alphabetic());
            names.iter().position(|name| letters && *name == start)
        };
        if let Some(days) = ["today", "tomorrow"].iter().position(|name| *name == word) {
            self.from_today = Some(days as i32);
            return true;
        }
        if let Some(index) = position(&DAYS) {
            self.weekday = Weekday::from_monday_zero_offset(index as i8).ok();
            return true;
        }
        if let Some(index) = position(&MONTHS) {
            self.month = Some(index as i8 + 1);
            return true;
        }
        if let Ok(date) = word.parse::<civil::Date>() {
            (self.year, self.month, self.day) = (Some(date.year()), Some(date.month()), Some(date.day()));
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

    /// Returns the first matching point in time in the future, or "now" for one that has just passed.
    pub(super) fn resolve(self, context: MessageContext<'_>) -> Option<ResetTime> {
        let zone = match self.zone {
            Zone::Own => context.zone.clone(),
            Zone::Named(zone) => zone,
            Zone::Unknown => return None,
        };
        let now = jiff::Timestamp::from_microsecond(context.now.micros()).ok()?;
        let today = zone.to_datetime(now).date();
        let is_date = self.month.is_some() && self.day.is_some();
        if self.clock.is_none() && !is_date && self.weekday.is_none() {
            return None;
        }
        let clock = self.clock.unwrap_or(civil::Time::midnight());
        let dates: Vec<civil::Date> = match (self.month, self.day, self.from_today) {
            (Some(month), Some(day), _) => {
                let year = today.year();
                let years = self.year.map_or(vec![year - 1, year, year + 1], |year| vec![year]);
                years.into_iter().filter_map(|year| civil::Date::new(year, month, day).ok()).collect()
            }
            (_, _, Some(days)) => {
                vec![today.checked_add(jiff::Span::new().days(days)).ok()?]
            }
            _ => std::iter::successors(today.yesterday().ok(), |date| date.tomorrow().ok())
                .take(10)
                .filter(|date| self.weekday.is_none_or(|weekday| date.weekday() == weekday))
                .collect(),
        };
        let times = dates
            .into_iter()
            .filter_map(|date| zone.to_zoned_datetime(date.to_datetime(clock)).ok())
            .map(|zoned| Time::from_micros(zoned.timestamp().as_microsecond()));
        let readings: Vec<ResetTime> =
            times.filter_map(|time| context.plausible(time, ResetTime::Clock)).collect();
        let has_passed = readings.contains(&ResetTime::Past);
        if has_passed { Some(ResetTime::Past) } else { readings.first().copied() }
    }
}

/// Splits off the first word of a text; commas separate words too.
fn next_word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches([' ', ',']);
    let end = text.find([' ', ',']).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn half_of_day(word: &str) -> Option<&'static str> {
    match word.trim_end_matches(['.', ';', ')', '"', '!']).to_ascii_lowercase().as_str() {
        "am" | "a.m" => Some("am"),
        "pm" | "p.m" => Some("pm"),
        _ => None,
    }
}

/// Parses "3pm", "3:05pm", "15:05", "15:05:30", or "3:05" with `suffix` "pm".
fn clock(word: &str, suffix: Option<&str>) -> Option<civil::Time> {
    match word {
        "midnight" => return Some(civil::Time::midnight()),
        "noon" => return civil::Time::new(12, 0, 0, 0).ok(),
        _ => {}
    }
    let (digits, half) = match (word.strip_suffix("am"), word.strip_suffix("pm")) {
        (Some(digits), _) => (digits, Some("am")),
        (_, Some(digits)) => (digits, Some("pm")),
        _ => (word, suffix),
    };
    let mut parts = digits.split(':').map(|part| part.parse::<i8>().ok());
    let (hour, minute, second) = match (parts.next()?, parts.next(), parts.next(), parts.next()) {
        (Some(hour), Some(minute), Some(second), None) => (hour, minute?, second?),
        (Some(hour), Some(minute), None, None) => (hour, minute?, 0),
        // A bare number is an hour only with "am" or "pm"; otherwise it may be a day.
        (Some(hour), None, ..) => (half.and(Some(hour))?, 0, 0),
        _ => return None,
    };
    let hour = match half {
        Some(_) if !(1..=12).contains(&hour) => return None,
        Some("am") => hour % 12,
        Some(_) => hour % 12 + 12,
        None => hour,
    };
    civil::Time::new(hour, minute, second, 0).ok()
}
