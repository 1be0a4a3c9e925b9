//! What follows from a failure: another attempt, a pause, or the end.

use std::time::Duration;

use super::judge::LIMIT_WORDS;
use super::outcome::{Failure, retry_delay};
use super::reset::Reset;
use super::route::Route;
use crate::model::{Event, FailureClass, Task, Time};
use crate::store::{ParkChange, Parked, Told};

/// How often a task may lose its worker (a crash, a power cut) without anybody having failed. A task
/// that takes the machine down with it must come to an end too.
pub const MAX_INTERRUPTIONS: u32 = 5;

/// For how long a task is held back for each earlier time that it met a usage limit.
const AFTER_LIMIT: Duration = Duration::from_secs(10 * 60);
/// How long a vendor is left alone that names no time; doubled with each further time.
const FIRST_PAUSE: Duration = Duration::from_secs(5 * 60);
/// Where doubling ends.
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);
/// How long after the reset to try again, at least and at most, in seconds: after a figure for programs,
/// and after a time for people, which is cut to the minute. Many dispatchers must not come back at once.
const AFTER_EXACT: (f64, f64) = (2.0, 5.0);
const AFTER_CLOCK: (f64, f64) = (60.0, 90.0);
/// Two times nearer to each other than this are the same, in seconds.
const SAME_TIME: f64 = 120.0;

/// What came of the attempts before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// Runs that failed.
    pub failures: u32,
    /// Runs whose worker vanished.
    pub interruptions: u32,
    /// Runs that met a usage limit.
    pub limits: u32,
}

/// Reads what came of earlier attempts from a task's history.
pub fn past(events: &[Event]) -> Past {
    let mut past = Past::default();
    for event in events {
        let has = |key: &str| event.data.get(key).and_then(|value| value.as_str());
        match event.kind.as_str() {
            "released" => match has("spent") {
                Some("lost") => past.interruptions += 1,
                Some(_) => past.failures += 1,
                None if has("reason").is_some_and(|reason| reason.starts_with(LIMIT_WORDS)) => {
                    past.limits += 1
                }
                None => {}
            },
            // Taken over from somebody whose lease ended.
            "claimed" if has("previous_owner").is_some() => past.interruptions += 1,
            _ => {}
        }
    }
    past
}

/// What the earlier attempts came to, in a person's words, for the next one.
pub fn earlier_attempts(events: &[Event]) -> Vec<String> {
    let mut lines = Vec::new();
    for event in events {
        let has = |key: &str| event.data.get(key).and_then(|value| value.as_str());
        let line = match (event.kind.as_str(), has("spent")) {
            ("released", Some(class)) => {
                format!("{}: {class}: {}", event.created_at, has("reason").unwrap_or("no reason given"))
            }
            ("claimed", _) if has("previous_owner").is_some() => {
                format!("{}: lost: its worker vanished", event.created_at)
            }
            _ => continue,
        };
        lines.push(line);
    }
    let skipped = lines.len().saturating_sub(MAX_INTERRUPTIONS as usize * 2);
    lines.split_off(skipped)
}

/// What to do with a task after a run that did not answer it.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Back into the lane, to be tried again after a while.
    Retry(Duration),
    /// Back into the lane as if it had not been tried, for others to take at once or after a while.
    Pause(Duration),
    /// Answered as failed, with this class.
    GiveUp(FailureClass),
}

/// Decides what follows a failure; `random` spreads the delay.
pub fn after_failure(failure: &Failure, past: Past, task: &Task, route: &Route, random: u64) -> Next {
    match failure.class {
        // A task that meets the limit time after time may be what causes it: others go first.
        FailureClass::UsageLimit => return Next::Pause(AFTER_LIMIT.saturating_mul(past.limits.min(24))),
        FailureClass::Error | FailureClass::Timeout => {}
        _ => return Next::GiveUp(failure.class.clone()),
    }
    let allowed_by_task = task.max_attempts.is_none_or(|most| task.attempt < most);
    if past.failures < route.max_retries && allowed_by_task {
        let delay = retry_delay(past.failures + 1, route.retry_delay, route.retry_delay_max, random);
        return Next::Retry(delay);
    }
    let was_repeated = past.failures > 0;
    Next::GiveUp(if was_repeated { FailureClass::Dead } else { failure.class.clone() })
}

/// What a usage limit means for the vendor's pause; `claimed` is when the run's task was claimed.
///
/// Runs that were at work together meet the same limit: the first parks the vendor, the others change
/// nothing, except that a notice that says more, or says as much and came later, takes the place of the
/// one before, whether the pause becomes longer by that or shorter. A limit met by a run that began after
/// the last pause was over is a new one, and soon after it means that the pause was too short.
pub fn after_limit(
    failure: &Failure,
    claimed: Time,
    now: Time,
    before: Option<&Parked>,
    random: u64,
) -> ParkChange {
    let share = random as f64 / u64::MAX as f64;
    let reason = failure.message.clone();
    if let Some(before) = before.filter(|before| now < before.until) {
        let (told, until) = pause(failure.reset, now, before.strikes, share);
        let is_other = until.seconds_since(before.until).abs() >= SAME_TIME;
        let is_better = told > before.told || (told == before.told && told > Told::Guess && is_other);
        return match is_better {
            true => ParkChange::Park(Parked { until, told, reason, ..before.clone() }),
            false => ParkChange::Keep,
        };
    }
    let recent = before.filter(|before| now.seconds_since(before.until) < LONGEST_PAUSE.as_secs_f64());
    let strikes = recent.map_or(1, |before| {
        let is_new = claimed >= before.until;
        before.strikes.saturating_add(u32::from(is_new))
    });
    let (told, until) = pause(failure.reset, now, strikes, share);
    ParkChange::Park(Parked { since: now, until, told, reason, strikes })
}

/// Until when a vendor is left alone, and who says so; `share` (0 to 1) spreads it.
fn pause(reset: Option<Reset>, now: Time, strikes: u32, share: f64) -> (Told, Time) {
    let spread = |(least, most): (f64, f64)| least + (most - least) * share;
    let grown = |seconds: f64| {
        let doublings = strikes.saturating_sub(1).min(8);
        (seconds * f64::from(1_u32 << doublings)).min(LONGEST_PAUSE.as_secs_f64())
    };
    match reset {
        Some(Reset::Exact(time)) => (Told::Exact, time.plus_seconds(spread(AFTER_EXACT))),
        Some(Reset::Clock(time)) => (Told::Named, time.plus_seconds(spread(AFTER_CLOCK))),
        Some(Reset::Passed) => (Told::Named, now.plus_seconds(grown(spread(AFTER_CLOCK)))),
        None => {
            let ceiling = grown(FIRST_PAUSE.as_secs_f64());
            (Told::Guess, now.plus_seconds(spread((ceiling / 2.0, ceiling))))
        }
    }
}

/// What an answer means for the vendor's pause: one that began after the pause shows that it is over.
pub fn after_answer(claimed: Time, before: Option<&Parked>) -> ParkChange {
    match before {
        Some(before) if claimed >= before.until => ParkChange::Forget,
        _ => ParkChange::Keep,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json::parse_object;

    fn event(kind: &str, data: &str) -> Event {
        Event {
            n: None,
            created_at: Time::from_micros(0),
            kind: kind.to_string(),
            message: String::new(),
            data: parse_object(data.as_bytes()).expect("an object"),
        }
    }

    #[test]
    fn the_past_is_read_from_events() {
        let events = [
            event("claimed", "{}"),
            event("released", r#"{"spent": "error", "reason": "boom"}"#),
            event("claimed", "{}"),
            event("released", r#"{"reason": "shutting down"}"#),
            event("claimed", r#"{"previous_owner": "x"}"#),
            event("released", r#"{"spent": "lost"}"#),
            event("released", r#"{"reason": "the vendor's usage limit is reached: soon"}"#),
        ];
        assert_eq!(past(&events), Past { failures: 1, interruptions: 2, limits: 1 });
        let lines = earlier_attempts(&events);
        assert_eq!(lines.len(), 3);
        assert!(lines[0].ends_with("error: boom"), "{}", lines[0]);
    }

    fn limit(reset: Option<Reset>) -> Failure {
        Failure { class: FailureClass::UsageLimit, reset, message: "limit".to_string() }
    }

    fn parked(change: ParkChange) -> Parked {
        match change {
            ParkChange::Park(parked) => parked,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pauses_last_as_named_or_grow() {
        let now = Time::from_micros(1_000_000_000_000_000);
        let at = |seconds| now.plus_seconds(seconds);
        let meet = |reset, at, before| parked(after_limit(&limit(reset), at, at, before, u64::MAX));
        let least =
            |reset| parked(after_limit(&limit(Some(reset)), now, now, None, 0)).until.seconds_since(now);
        let exact = meet(Some(Reset::Exact(at(100.0))), now, None);
        assert_eq!((exact.until.seconds_since(now), exact.told), (105.0, Told::Exact));
        assert_eq!(least(Reset::Exact(at(100.0))), 102.0);
        let clock = meet(Some(Reset::Clock(at(100.0))), now, None);
        assert_eq!((clock.until.seconds_since(now), clock.told), (190.0, Told::Named));
        assert_eq!(least(Reset::Clock(at(100.0))), 160.0);
        let first = meet(None, now, None);
        assert_eq!((first.strikes, first.until.seconds_since(now).round()), (1, 300.0));
        let again = meet(None, first.until, Some(&first));
        assert_eq!((again.strikes, again.until.seconds_since(first.until).round()), (2, 600.0));
        let much_later = first.until.plus_seconds(10_000.0);
        assert_eq!(meet(None, much_later, Some(&first)).strikes, 1);
    }

    #[test]
    fn a_time_that_has_passed_is_a_short_pause_that_grows() {
        let now = Time::from_micros(1_000_000_000_000_000);
        let meet = |now, before: Option<&Parked>, random| {
            parked(after_limit(&limit(Some(Reset::Passed)), now, now, before, random))
        };
        assert_eq!(meet(now, None, 0).until.seconds_since(now), 60.0);
        let mut last = meet(now, None, u64::MAX);
        assert_eq!(last.until.seconds_since(now), 90.0);
        for expected in [180.0, 360.0, 720.0, 1440.0, 2880.0, 3600.0, 3600.0] {
            let next = meet(last.until, Some(&last), u64::MAX);
            assert_eq!(next.until.seconds_since(last.until), expected);
            last = next;
        }
    }

    #[test]
    fn runs_that_meet_a_limit_together_meet_it_once() {
        let claimed = Time::from_micros(1_000_000_000_000_000);
        let now = claimed.plus_seconds(10.0);
        let at = |seconds: f64| claimed.plus_seconds(seconds);
        let meet = |reset, now, before: &Parked| after_limit(&limit(reset), claimed, now, Some(before), 0);
        let guess = parked(after_limit(&limit(None), claimed, now, None, 0));
        assert_eq!(meet(None, now, &guess), ParkChange::Keep);
        let named = parked(meet(Some(Reset::Clock(at(30.0))), now, &guess));
        assert!(
            named.told == Told::Named && named.until < guess.until,
            "a named time counts more than a guess"
        );
        assert_eq!((named.strikes, named.since), (1, guess.since));
        assert_eq!(meet(None, now, &named), ParkChange::Keep);
        assert_eq!(meet(Some(Reset::Clock(at(30.0))), now, &named), ParkChange::Keep, "the same notice");
        let other = parked(meet(Some(Reset::Clock(at(600.0))), now, &named));
        assert_eq!(other.until, at(660.0), "a later notice counts more");
        assert_eq!(parked(meet(Some(Reset::Clock(at(30.0))), now, &other)).until, at(90.0), "shorter, too");
        let exact = parked(meet(Some(Reset::Exact(at(45.0))), now, &other));
        assert_eq!((exact.until, exact.told), (at(47.0), Told::Exact));
        assert_eq!(meet(Some(Reset::Clock(at(9000.0))), now, &exact), ParkChange::Keep);
        assert_eq!(parked(meet(Some(Reset::Exact(at(9000.0))), now, &exact)).until, at(9002.0));
        // A long run from before the pause that meets the limit after it: parked again, no new strike.
        let late = parked(meet(None, guess.until.plus_seconds(1.0), &guess));
        assert_eq!((late.strikes, late.since), (1, guess.until.plus_seconds(1.0)));
    }

    #[test]
    fn only_an_answer_from_after_the_pause_ends_it() {
        let claimed = Time::from_micros(1_000_000_000_000_000);
        let guess = parked(after_limit(&limit(None), claimed, claimed, None, 0));
        assert_eq!(after_answer(claimed, Some(&guess)), ParkChange::Keep);
        assert_eq!(after_answer(guess.until, Some(&guess)), ParkChange::Forget);
        assert_eq!(after_answer(claimed, None), ParkChange::Keep);
    }

    #[test]
    fn retries_end_and_permanent_failures_have_none() {
        let task = crate::dispatch::testing::task();
        let route = Route { max_retries: 1, ..Route::plain("l") };
        let error = Failure::new(FailureClass::Error, "boom");
        let fresh = Past::default();
        assert!(matches!(after_failure(&error, fresh, &task, &route, 0), Next::Retry(_)));
        let once = Past { failures: 1, interruptions: 3, limits: 0 };
        assert_eq!(after_failure(&error, once, &task, &route, 0), Next::GiveUp(FailureClass::Dead));
        let never = Route::plain("l");
        assert_eq!(after_failure(&error, fresh, &task, &never, 0), Next::GiveUp(FailureClass::Error));
        let permanent = Failure::permanent("no such directory");
        assert_eq!(after_failure(&permanent, fresh, &task, &route, 0), Next::GiveUp(FailureClass::Permanent));
        let limit = Failure::new(FailureClass::UsageLimit, "limit");
        assert_eq!(after_failure(&limit, fresh, &task, &route, 0), Next::Pause(Duration::ZERO));
        let again = Past { limits: 2, ..fresh };
        assert_eq!(after_failure(&limit, again, &task, &route, 0), Next::Pause(AFTER_LIMIT * 2));
        let spent = Task { attempt: 1, max_attempts: Some(1), ..task };
        assert_eq!(after_failure(&error, fresh, &spent, &route, 0), Next::GiveUp(FailureClass::Error));
    }
}
