//! What follows from a failure: another attempt, a pause, or the end.

use std::time::Duration;

use super::judge::LIMIT_WORDS;
use super::outcome::{Failure, retry_delay};
use super::route::Route;
use crate::model::{Event, FailureClass, Task, Time};
use crate::store::{ParkChange, Parked};

/// How often a task may lose its worker (a crash, a power cut) without anybody having failed. A task
/// that takes the machine down with it must come to an end too.
pub const MAX_INTERRUPTIONS: u32 = 5;

/// For how long a task is held back for each earlier time that it met a usage limit.
const AFTER_LIMIT: Duration = Duration::from_secs(10 * 60);
/// How long a vendor is left alone that names no time; doubled with each further time.
const FIRST_PAUSE: Duration = Duration::from_secs(5 * 60);
/// Where doubling ends.
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);
/// Added to a named reset time: the vendor's clock and ours differ.
const MARGIN_SECONDS: f64 = 5.0;

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
/// nothing, except that a time the vendor names counts more than a guess, and the later of two named
/// times more than the earlier, as one account may have met two limits. A limit met by a run that began
/// after the last pause was over is a new one, and soon after it means that the pause was too short.
pub fn after_limit(
    failure: &Failure,
    claimed: Time,
    now: Time,
    before: Option<&Parked>,
    random: u64,
) -> ParkChange {
    let named = failure.until.map(|time| time.plus_seconds(MARGIN_SECONDS));
    if let Some(before) = before.filter(|before| now < before.until) {
        return match named {
            Some(until) if !before.named || until > before.until => ParkChange::Park(Parked {
                until,
                named: true,
                reason: failure.message.clone(),
                ..before.clone()
            }),
            _ => ParkChange::Keep,
        };
    }
    let recent = before.filter(|before| now.seconds_since(before.until) < LONGEST_PAUSE.as_secs_f64());
    let strikes = recent.map_or(1, |before| {
        let is_new = claimed >= before.until;
        before.strikes.saturating_add(u32::from(is_new))
    });
    let until = named.unwrap_or_else(|| {
        let ceiling = FIRST_PAUSE.saturating_mul(1 << strikes.saturating_sub(1).min(8)).min(LONGEST_PAUSE);
        // Between half of it and all of it: many dispatchers must not come back at once.
        let share = 0.5 + random as f64 / u64::MAX as f64 / 2.0;
        now.plus_seconds(ceiling.as_secs_f64() * share)
    });
    let (reason, named) = (failure.message.clone(), named.is_some());
    ParkChange::Park(Parked { since: now, until, named, reason, strikes })
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

    fn limit(until: Option<Time>) -> Failure {
        Failure { class: FailureClass::UsageLimit, until, message: "limit".to_string() }
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
        let meet = |until, at, before| parked(after_limit(&limit(until), at, at, before, u64::MAX));
        let named = meet(Some(now.plus_seconds(100.0)), now, None);
        assert_eq!((named.until.seconds_since(now), named.named), (105.0, true));
        let first = meet(None, now, None);
        assert_eq!((first.strikes, first.until.seconds_since(now).round()), (1, 300.0));
        let again = meet(None, first.until, Some(&first));
        assert_eq!((again.strikes, again.until.seconds_since(first.until).round()), (2, 600.0));
        let much_later = first.until.plus_seconds(10_000.0);
        assert_eq!(meet(None, much_later, Some(&first)).strikes, 1);
    }

    #[test]
    fn runs_that_meet_a_limit_together_meet_it_once() {
        let claimed = Time::from_micros(1_000_000_000_000_000);
        let now = claimed.plus_seconds(10.0);
        let meet = |until: Option<f64>, now, before: &Parked| {
            let until = until.map(|seconds| claimed.plus_seconds(seconds));
            after_limit(&limit(until), claimed, now, Some(before), 0)
        };
        let guess = parked(after_limit(&limit(None), claimed, now, None, 0));
        assert_eq!(meet(None, now, &guess), ParkChange::Keep);
        let named = parked(meet(Some(30.0), now, &guess));
        assert!(named.named && named.until < guess.until, "a named time counts more than a guess");
        assert_eq!((named.strikes, named.since), (1, guess.since));
        assert_eq!(meet(None, now, &named), ParkChange::Keep);
        assert_eq!(meet(Some(20.0), now, &named), ParkChange::Keep, "never shorter than what was named");
        assert_eq!(parked(meet(Some(60.0), now, &named)).until, claimed.plus_seconds(65.0));
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
