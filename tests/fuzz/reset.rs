//! The reset time in a message: never in the past, never further away than its kind allows, and for those of vendors
//! the time that the vendor means.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use lanes::internals::dispatch::outcome::ResetTime;
use lanes::internals::dispatch::run::reset_time::{MessageContext, reset_in};
use lanes::internals::dispatch::vendor::{VendorMessages, Vendors};
use lanes::internals::model::Time;

use crate::noise::Noise;
use crate::run::Target;

/// The vendor messages common to all vendors.
static MESSAGES: LazyLock<Arc<VendorMessages>> =
    LazyLock::new(|| Vendors::built_in().expect("built-in profiles").common_messages());

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// The longest accepted time until a reset.
const FURTHEST: u64 = 32 * DAY;
/// Clocks differ.
const SLACK: u64 = 600;
/// Of two readings of a time of day the nearer one counts.
const HALF_A_DAY: u64 = 12 * HOUR;

const GOOD: [&[u8]; 12] = [
    "You've hit your 5-hour limit · resets 6:04pm (UTC)".as_bytes(),
    "You've hit your weekly limit · resets Dec 1, 12:38am (Europe/Berlin)".as_bytes(),
    "You've hit your Opus limit · resets Jan 7, 2027, 2:38pm (UTC)".as_bytes(),
    "You’ve hit your usage limit. Visit https://chatgpt.com or try again at 6:08 PM.".as_bytes(),
    "You’ve hit your usage limit. Switch to another model now, or try again at Nov 29th, 2026 8:55 PM.".as_bytes(),
    b"Claude AI usage limit reached|1795269600",
    b"{\"error\":{\"type\":\"usage_limit_reached\",\"resets_at\":1795889053,\"resets_in_seconds\":3600}}",
    b"{\"rate_limit_info\":{\"status\":\"rejected\",\"resetsAt\":1795889053,\"rateLimitType\":\"five_hour\"}}",
    b"Please retry in 42.5s. retry-after: 120",
    b"Your quota will reset after 3h20m10s, or in 2 days 4 hours 5 minutes",
    b"try again on Mon at 15:05; available again 25 November, until 2026-11-25T12:00:00+01:00",
    b"resets 12am (America/St_Johns), resets 23:59, resets 0:00, resets 24:00",
];

const WORDS: [&str; 56] = [
    "reset",
    "resets ",
    "resets at ",
    "try again at ",
    "try again in ",
    "retry-after: ",
    "until ",
    "limit reached|",
    "available again ",
    "am",
    "pm",
    " AM",
    " PM.",
    ":",
    "12",
    "00",
    "59",
    "60",
    "24",
    "0",
    "1",
    "31",
    "Feb 29",
    "Feb 30",
    "Mon",
    "sunday",
    "Dec",
    "december",
    "2027",
    "9999",
    "th",
    "st",
    ",",
    " ",
    "\u{202f}",
    "(UTC)",
    "(Europe/Berlin)",
    "(Nowhere/Land)",
    "(PST)",
    "UTC",
    "+01:00",
    "2h",
    "5 minutes",
    "30 days",
    "1 week",
    "99999999999 years",
    "1e300s",
    "-5m",
    "\"resets_at\":",
    "\"resetsAt\":",
    "\"resets_in_seconds\":",
    "1795889053",
    "1795889053000",
    "2026-11-25T12:00:00Z",
    "İ",
    "ß",
];

#[test]
fn reset() {
    let found: &[&[u8]] = &[b"resetDec -655312"];
    let target = Target { name: "reset", found, make: |noise| noise.changed(&GOOD, &WORDS), check };
    target.run(3_000);
}

#[test]
fn vendor_messages() {
    // The input is the seed of a message.
    let target = Target {
        name: "vendor-messages",
        found: &[],
        make: |noise| noise.next().to_le_bytes().to_vec(),
        check: |bytes| {
            message(&mut Noise::new(bytes.iter().fold(0, |seed, byte| (seed << 8) | u64::from(*byte))))
        },
    };
    target.run(20_000);
}

fn zone(noise: &mut Noise) -> TimeZone {
    let offset = |hours| TimeZone::fixed(jiff::tz::offset(hours));
    match noise.below(4) {
        0 => TimeZone::UTC,
        1 => offset(14),
        2 => offset(-11),
        // With summer time; a machine without time zone data has none.
        _ => TimeZone::get(noise.pick(&["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"]))
            .unwrap_or(TimeZone::UTC),
    }
}

/// Some instant between 2020 and 2050, with a fraction of a second.
fn some_time(noise: &mut Noise) -> Time {
    Time::from_micros((1_577_836_800_000_000 + noise.next() % (30 * 366 * DAY * 1_000_000)) as i64)
}

fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut noise = Noise::new(bytes.iter().fold(7, |sum, byte| sum * 31 % 1_000_003 + u64::from(*byte)));
    let zone = zone(&mut noise);
    for now in [some_time(&mut noise), Time::from_micros(0), Time::from_micros(i64::MAX)] {
        for within in [None, Some(5 * HOUR), Some(7 * DAY)] {
            let setting = MessageContext {
                now,
                zone: &zone,
                within: within.map(Duration::from_secs),
                resets: MESSAGES.reset_markers(),
            };
            match reset_in(&text, setting) {
                Some(ResetTime::Exact(time) | ResetTime::Clock(time)) => {
                    let ahead = time.seconds_since(now);
                    let furthest = within.map_or(FURTHEST, |within| within + SLACK);
                    assert!(
                        ahead > 0.0 && ahead <= furthest as f64,
                        "{ahead} s from now, {within:?}: {text}"
                    );
                }
                Some(ResetTime::Past) | None => {}
            }
        }
    }
}

/// A message of a known vendor about a known instant, and what must be read from it.
fn message(noise: &mut Noise) {
    let now = some_time(noise);
    let zone = zone(noise);
    let ahead = noise.next() % (10 * DAY);
    let reset = Timestamp::from_second(now.micros() / 1_000_000 + ahead as i64).unwrap();
    let local = reset.to_zoned_datetime(zone.clone());
    let minute = local.with().second(0).subsec_nanosecond(0).build().unwrap();
    let is_far = ahead > DAY;
    let clock = local.strftime("%-I:%M");
    let (small, large) = (local.strftime("%P").to_string(), local.strftime("%p").to_string());
    let zone_name = zone.iana_name().unwrap_or("UTC");
    // Only a zone with a name can occur in a message.
    let is_named = zone.iana_name().is_some();
    let day = local.day();
    let ordinal = match (day, day % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    let (text, is_exact) = match noise.below(4) {
        0 => (format!("{{\"resets_at\": {}, \"message\": \"resets 3pm\"}}", reset.as_second()), true),
        1 => (
            format!("{{\"rate_limit_info\":{{\"status\":\"rejected\",\"resetsAt\":{}}}}}", reset.as_second()),
            true,
        ),
        2 => {
            let date = if is_far { local.strftime("%b %-d, ").to_string() } else { String::new() };
            let zone = if is_named { format!(" ({zone_name})") } else { String::new() };
            (format!("You've hit your limit · resets {date}{clock}{small}{zone}"), false)
        }
        _ => {
            let date = if is_far {
                format!("{} {day}{ordinal}, {} ", local.strftime("%b"), local.year())
            } else {
                String::new()
            };
            (
                format!(
                    "You’ve hit your usage limit. Visit a page to purchase more credits or try again at {date}{clock} {large}."
                ),
                false,
            )
        }
    };
    // Without a date, two readings are half a day apart, or an hour when clocks are put back.
    let is_ambiguous = !is_exact
        && (!is_far && ahead + HOUR + 60 > HALF_A_DAY
            || zone.to_ambiguous_timestamp(local.datetime()).is_ambiguous());
    if is_ambiguous {
        return;
    }
    let begin = if is_exact { reset } else { minute.timestamp() };
    let begin = Time::from_micros(begin.as_microsecond());
    let expected = match begin.seconds_since(now) {
        ahead if ahead <= 0.0 => ResetTime::Past,
        _ if is_exact => ResetTime::Exact(begin),
        _ => ResetTime::Clock(begin),
    };
    let setting = MessageContext { now, zone: &zone, within: None, resets: MESSAGES.reset_markers() };
    assert_eq!(reset_in(&text, setting), Some(expected), "{text}, read at {now} in {zone_name}");
}
