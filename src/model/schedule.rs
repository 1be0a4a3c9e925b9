//! Schedules: at which times work is to be submitted by itself.

use std::cmp::Ordering;

use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use croner::time::{CivilDate, CivilDateTime, CivilTime, CronDateTime, Resolution, Weekday};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ZonedDateTime};

use super::limits::MAX_SCHEDULE_NAME;
use super::time::Time;
use crate::error::{Error, Result, brief};

/// How long after its time a schedule counts as on time. Without `catch_up`, a time that is found later is skipped.
const ON_TIME_SECONDS: f64 = 60.0;
/// The largest number of missed times for which tasks are submitted at once; the older ones are skipped.
const MAX_CAUGHT_UP: usize = 100;

/// The name of a schedule: a key under `schedules` in handoff.yaml.
///
/// # Errors
/// `Invalid` unless it consists of 1 to 64 letters, digits, `_`, `.` and `-`.
pub(crate) fn check_schedule_name(name: &str) -> Result<()> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if name.is_empty() || name.len() > MAX_SCHEDULE_NAME || !name.chars().all(is_allowed) {
        return Err(Error::invalid(format!(
            "invalid name of a schedule '{}': 1 to {MAX_SCHEDULE_NAME} letters, digits, _, . and -",
            brief(name)
        )));
    }
    Ok(())
}

/// Which of the times that passed while nobody ran schedules are made up for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CatchUp {
    /// The last one.
    #[default]
    One,
    /// All of them, at most [`MAX_CAUGHT_UP`].
    All,
    /// None.
    None,
}

impl CatchUp {
    /// All values, by name.
    pub(crate) const NAMES: [(&'static str, Self); 3] =
        [("one", Self::One), ("all", Self::All), ("none", Self::None)];

    /// Returns the value with this name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Returns its name.
    pub(crate) fn as_str(self) -> &'static str {
        Self::NAMES.into_iter().find(|(_, value)| *value == self).map_or("one", |(name, _)| name)
    }
}

/// At which times a schedule is due: a cron expression in a time zone.
#[derive(Clone, Debug)]
pub(crate) struct CronRule {
    cron: Cron,
    text: String,
    zone: TimeZone,
    zone_name: Option<String>,
}

impl CronRule {
    /// Reads a cron expression: minute, hour, day of the month, month, day of the week; or `@daily` and the like.
    ///
    /// # Errors
    /// The reason, if it is not one.
    pub(crate) fn parse(text: &str, zone: ScheduleZone) -> std::result::Result<Self, String> {
        let cron = parsed(text).ok_or_else(|| {
            format!(
                "not a cron expression ({}); give minute, hour, day, month and weekday, as in '0 3 * * 1-5'",
                why_no_rule(text)
            )
        })?;
        check_steps(text)?;
        Ok(Self { cron, text: text.trim().to_string(), zone: zone.zone, zone_name: zone.name })
    }

    /// Returns the expression as it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the name of the time zone; `None` for that of the machine.
    pub(crate) fn zone_name(&self) -> Option<&str> {
        self.zone_name.as_deref()
    }

    /// Returns the first time after `time`; `None` if there is none, as for 30 February.
    ///
    /// A wall-clock time that the start of summer time skips is moved to the end of the gap. One that its end repeats
    /// counts once if the expression names an hour and a minute, and twice if it counts hours or minutes.
    pub(crate) fn next_after(&self, time: Time) -> Option<Time> {
        let start = Timestamp::from_microsecond(time.micros()).ok()?.to_zoned_datetime(self.zone.clone());
        let next = self.cron.find_next_occurrence(&ZonedTime(start), false).ok()?;
        let next = Time::from_micros(next.0.timestamp().as_microsecond());
        (next > time).then_some(next)
    }

    /// Returns the times after `after`, until `now`, at which tasks are to be submitted, oldest first.
    pub(crate) fn due(&self, after: Time, now: Time, catch_up: CatchUp) -> Vec<Time> {
        let mut due = Vec::new();
        let mut from = after;
        if catch_up != CatchUp::All {
            // After weeks of absence, an expression such as `* * * * *` has more times than are worth a look.
            from = from.max(self.last_before(now).unwrap_or(from).plus_seconds(-1.0));
        }
        while let Some(next) = self.next_after(from).filter(|next| *next <= now) {
            from = next;
            due.push(next);
            if due.len() > MAX_CAUGHT_UP {
                due.remove(0);
            }
        }
        if catch_up == CatchUp::None {
            due.retain(|time| now.seconds_since(*time) <= ON_TIME_SECONDS);
        }
        due
    }

    /// Returns the last time until `now`.
    fn last_before(&self, now: Time) -> Option<Time> {
        let now = Timestamp::from_microsecond(now.micros()).ok()?.to_zoned_datetime(self.zone.clone());
        let last = self.cron.find_previous_occurrence(&ZonedTime(now), true).ok()?;
        Some(Time::from_micros(last.0.timestamp().as_microsecond()))
    }
}

/// Reads an expression of five fields, or one such as `@daily`.
fn parsed(text: &str) -> Option<Cron> {
    CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build().parse(text).ok()
}

/// Returns why an expression cannot be read.
fn why_no_rule(text: &str) -> String {
    const FIELDS: [(&str, &str); 5] = [
        ("minute", "0 to 59"),
        ("hour", "0 to 23"),
        ("day of the month", "1 to 31"),
        ("month", "1 to 12, or jan to dec"),
        ("weekday", "0 to 7, or sun to sat"),
    ];
    let fields: Vec<&str> = text.split_whitespace().collect();
    if text.trim_start().starts_with('@') {
        return format!(
            "{} is unknown: use @yearly, @monthly, @weekly, @daily or @hourly",
            brief(text.trim())
        );
    }
    if fields.len() != FIELDS.len() {
        let found =
            if fields.len() == 1 { "1 field".to_string() } else { format!("{} fields", fields.len()) };
        return format!("it has {found}, not 5");
    }
    let is_wrong = |at: &usize| {
        let mut alone = ["*"; FIELDS.len()];
        alone[*at] = fields[*at];
        parsed(&alone.join(" ")).is_none()
    };
    match (0..FIELDS.len()).find(is_wrong) {
        Some(at) => format!("{} is no {}: {}", brief(fields[at]), FIELDS[at].0, FIELDS[at].1),
        None => "its fields do not fit together".to_string(),
    }
}

/// Refuses a step that is longer than the range of its field: it would mean the first value alone, every hour for
/// `*/90` in the minutes.
fn check_steps(text: &str) -> std::result::Result<(), String> {
    const FIELDS: [(&str, u32); 5] =
        [("minutes", 60), ("hours", 24), ("days of the month", 31), ("months", 12), ("days of the week", 7)];
    for (field, (name, range)) in text.split_whitespace().zip(FIELDS) {
        for part in field.split(',') {
            let step = part.split_once('/').and_then(|(_, step)| step.parse::<u32>().ok());
            if let Some(step) = step.filter(|step| *step > range) {
                return Err(format!(
                    "the step of {} is {step}, but there are only {range} {name}",
                    brief(part)
                ));
            }
        }
    }
    Ok(())
}

/// A time zone with its name; without a name, that of the machine.
#[derive(Clone, Debug)]
pub(crate) struct ScheduleZone {
    /// The time zone.
    pub zone: TimeZone,
    /// Its name, such as `Europe/Berlin`; `None` for the machine's.
    pub name: Option<String>,
}

impl ScheduleZone {
    /// Finds a time zone by its name in the time zone database.
    ///
    /// # Errors
    /// The reason, if there is none with this name.
    pub(crate) fn named(name: &str) -> std::result::Result<Self, String> {
        match TimeZone::get(name) {
            Ok(zone) => Ok(Self { zone, name: Some(name.to_string()) }),
            Err(_) => Err(format!("unknown time zone {}; use one such as Europe/Berlin or UTC", brief(name))),
        }
    }

    /// Returns the time zone of the machine.
    pub(crate) fn of_machine() -> Self {
        Self { zone: TimeZone::system(), name: None }
    }
}

/// An instant with a time zone, for croner, which knows another version of jiff than this crate uses.
#[derive(Clone, Debug)]
struct ZonedTime(ZonedDateTime);

fn civil(datetime: DateTime) -> Option<CivilDateTime> {
    let part = |part: i8| u32::try_from(part).ok();
    let date =
        CivilDate::from_ymd_opt(i32::from(datetime.year()), part(datetime.month())?, part(datetime.day())?)?;
    let time =
        CivilTime::from_hms_opt(part(datetime.hour())?, part(datetime.minute())?, part(datetime.second())?)?;
    Some(CivilDateTime::new(date, time))
}

fn datetime(civil: CivilDateTime) -> Option<DateTime> {
    let part = |part: u32| i8::try_from(part).ok();
    let year = i16::try_from(civil.year()).ok()?;
    let (month, day) = (part(civil.month())?, part(civil.day())?);
    let (hour, minute, second) = (part(civil.hour())?, part(civil.minute())?, part(civil.second())?);
    DateTime::new(year, month, day, hour, minute, second, 0).ok()
}

impl CronDateTime for ZonedTime {
    fn to_civil(&self) -> CivilDateTime {
        // Every part of a time of jiff is in range.
        let first = CivilDateTime::new(CivilDate::from_parts_unchecked(1, 1, 1), CivilTime::MIDNIGHT);
        civil(self.0.datetime()).unwrap_or(first)
    }

    fn civil_weekday(&self) -> Weekday {
        match self.0.weekday() {
            jiff::civil::Weekday::Sunday => Weekday::Sunday,
            jiff::civil::Weekday::Monday => Weekday::Monday,
            jiff::civil::Weekday::Tuesday => Weekday::Tuesday,
            jiff::civil::Weekday::Wednesday => Weekday::Wednesday,
            jiff::civil::Weekday::Thursday => Weekday::Thursday,
            jiff::civil::Weekday::Friday => Weekday::Friday,
            jiff::civil::Weekday::Saturday => Weekday::Saturday,
        }
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> std::result::Result<Resolution<Self>, CronError> {
        let datetime = datetime(civil).ok_or(CronError::InvalidDate)?;
        let ambiguous = self.0.time_zone().to_ambiguous_zoned_datetime(datetime);
        let invalid = |_| CronError::InvalidTime;
        Ok(match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } => {
                Resolution::Single(Self(ambiguous.unambiguous().map_err(invalid)?))
            }
            AmbiguousOffset::Fold { .. } => Resolution::Ambiguous(
                Self(ambiguous.clone().earlier().map_err(invalid)?),
                Self(ambiguous.later().map_err(invalid)?),
            ),
            AmbiguousOffset::Gap { .. } => Resolution::Gap,
        })
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        self.0.checked_add(SignedDuration::from_secs(seconds)).ok().map(Self)
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.0.timestamp().cmp(&other.0.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str, zone: &str) -> CronRule {
        CronRule::parse(text, ScheduleZone::named(zone).expect("a zone")).expect("a rule")
    }

    fn at(text: &str) -> Time {
        Time::parse(text).expect("a time")
    }

    fn next(text: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let rule = rule(text, zone);
        let mut time = at(after);
        let mut found = Vec::new();
        for _ in 0..count {
            time = rule.next_after(time).expect("another time");
            found.push(time.to_string().replace(":00.000000Z", "Z"));
        }
        found
    }

    #[test]
    fn the_next_time_is_in_the_time_zone() {
        let weekdays = next("0 3 * * 1-5", "Europe/Berlin", "2026-11-27T02:00:00Z", 2);
        assert_eq!(
            weekdays,
            ["2026-11-30T02:00Z", "2026-12-01T02:00Z"],
            "Friday at three is over; the weekend is free"
        );
        assert_eq!(next("@daily", "UTC", "2026-11-27T00:00:00Z", 1), ["2026-11-28T00:00Z"]);
        assert_eq!(next("*/15 * * * *", "UTC", "2026-12-31T23:50:00.5Z", 1), ["2027-01-01T00:00Z"]);
        assert_eq!(next("0 0 29 2 *", "UTC", "2026-11-27T00:00:00Z", 1), ["2028-02-29T00:00Z"]);
        assert_eq!(next("0 12 L * *", "UTC", "2026-02-01T00:00:00Z", 1), ["2026-02-28T12:00Z"]);
    }

    #[test]
    fn a_time_that_summer_time_skips_comes_once_and_later() {
        // On 29 March 2026, Berlin has no time from 02:00 to 03:00.
        let daily = next("30 2 * * *", "Europe/Berlin", "2026-03-28T02:00:00Z", 2);
        assert_eq!(daily, ["2026-03-29T01:00Z", "2026-03-30T00:30Z"]);
        let hourly = next("0 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 2);
        assert_eq!(hourly, ["2026-03-29T01:00Z", "2026-03-29T02:00Z"]);
    }

    #[test]
    fn a_time_that_is_repeated_comes_once_and_every_hour_comes_each_time() {
        // On 25 October 2026, Berlin has the time from 02:00 to 03:00 twice.
        let daily = next("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
        assert_eq!(daily, ["2026-10-25T00:30Z", "2026-10-26T01:30Z"]);
        let hourly = next("30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", 3);
        assert_eq!(hourly, ["2026-10-25T00:30Z", "2026-10-25T01:30Z", "2026-10-25T02:30Z"]);
        // Half an hour, on Lord Howe Island.
        let half = next("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", 2);
        assert_eq!(half, ["2026-04-04T14:45Z", "2026-04-05T15:15Z"]);
    }

    #[test]
    fn what_is_no_rule_is_refused_and_what_never_comes_is_known() {
        for bad in [
            "",
            "x",
            "0 3 * *",
            "0 3 * * * *",
            "61 * * * *",
            "0 24 * * *",
            "* * 32 * *",
            "@reboot",
            "*/0 * * * *",
        ] {
            let refused = CronRule::parse(bad, ScheduleZone::of_machine()).expect_err(bad);
            assert!(refused.starts_with("not a cron expression ("), "{bad}: {refused}");
        }
        for (bad, why) in [
            ("daily", "it has 1 field, not 5"),
            ("0 3 * *", "it has 4 fields, not 5"),
            ("61 * * * *", "61 is no minute: 0 to 59"),
            ("0 24 * * *", "24 is no hour: 0 to 23"),
            ("* * 32 * *", "32 is no day of the month: 1 to 31"),
            ("* * * may-foo *", "may-foo is no month: 1 to 12, or jan to dec"),
            ("0 0 * * 8", "8 is no weekday: 0 to 7, or sun to sat"),
            ("*/0 * * * *", "*/0 is no minute: 0 to 59"),
            ("@reboot", "@reboot is unknown: use @yearly, @monthly, @weekly, @daily or @hourly"),
        ] {
            let refused = CronRule::parse(bad, ScheduleZone::of_machine()).expect_err(bad);
            assert!(refused.contains(&format!("({why})")), "{bad}: {refused}");
        }
        for never in ["0 0 30 2 *", "0 0 31 4,6,9,11 *"] {
            assert_eq!(rule(never, "UTC").next_after(at("2026-01-01T00:00:00Z")), None, "{never}");
        }
        assert!(ScheduleZone::named("Europe/Atlantis").expect_err("none").contains("unknown time zone"));
        assert!(ScheduleZone::named("../../etc/passwd").is_err());
    }

    #[test]
    fn missed_times_are_made_up_for_as_asked() {
        let rule = rule("0 * * * *", "UTC");
        let (after, now) = (at("2026-01-01T00:00:00Z"), at("2026-01-01T03:30:00Z"));
        let hours = |catch_up| -> Vec<u64> {
            let due = rule.due(after, now, catch_up);
            due.iter().map(|time| (time.seconds_since(after) / 3600.0) as u64).collect()
        };
        assert_eq!(hours(CatchUp::All), [1, 2, 3]);
        assert_eq!(hours(CatchUp::One), [3]);
        assert_eq!(hours(CatchUp::None), [0; 0]);
        let on_time = rule.due(after, at("2026-01-01T03:00:30Z"), CatchUp::None);
        assert_eq!(on_time, [at("2026-01-01T03:00:00Z")]);
        assert_eq!(rule.due(at("2026-01-01T03:00:00Z"), now, CatchUp::All), [], "each time once");
        assert_eq!(rule.due(at("2027-01-01T00:00:00Z"), now, CatchUp::One), [], "the clock was set back");
        assert_eq!(rule.due(after, at("2026-03-01T00:00:00Z"), CatchUp::All).len(), MAX_CAUGHT_UP);
    }

    #[test]
    fn names_of_schedules_are_plain() {
        for good in ["nightly", "a.b_c-1", &"x".repeat(MAX_SCHEDULE_NAME)] {
            check_schedule_name(good).expect(good);
        }
        for bad in ["", "a b", "a:b", "ä", "a/b", &"x".repeat(MAX_SCHEDULE_NAME + 1)] {
            check_schedule_name(bad).expect_err(bad);
        }
    }
}
