//! Decides what follows a failed run: a retry, a return without a counted attempt, or a failed task.

use std::time::Duration;

use crate::dispatch::config::route::Route;
use crate::dispatch::outcome::RunFailure;
use crate::model::release_reason::ReleaseReason;
use crate::model::{CooldownCause, Event, FailureClass, Task, Time};

/// Maximum number of times that a task may lose its worker (crash, power failure). The limit ends a task that
/// crashes the machine.
pub(crate) const MAX_INTERRUPTIONS: u32 = 5;

/// Delay of a task for each earlier usage limit, overloaded service, or refused account that it met: other tasks
/// go first, because this task may be the cause.
const AFTER_LIMIT: Duration = Duration::from_secs(10 * 60);
const AFTER_OVERLOAD: Duration = Duration::from_secs(60);
const AFTER_REFUSAL: Duration = Duration::from_secs(5 * 60);
/// Number of refusals after which a task is considered the cause if other tasks were answered meanwhile; and the
/// number after which it is the cause in any case. For usage limits, the latter takes longer than the longest limit,
/// a week.
const SUSPICIOUS_REFUSALS: u32 = 3;
const MAX_REFUSALS: u32 = 64;

/// Outcomes of a task's earlier attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PastAttempts {
    /// Number of runs that failed.
    pub failures: u32,
    /// Number of runs whose worker died.
    pub interruptions: u32,
    /// Number of runs that the vendor refused.
    pub refusals: u32,
    /// End of the last refused run.
    pub last_refusal: Option<Time>,
}

/// Counts the outcomes of the earlier attempts in a task's history.
pub(crate) fn count_past_attempts(events: &[Event]) -> PastAttempts {
    let mut past = PastAttempts::default();
    for event in events {
        let has = |key: &str| event.data.get(key).and_then(|value| value.as_str());
        match event.kind.as_str() {
            "released" => match has("spent") {
                Some("lost") => past.interruptions += 1,
                Some(_) => past.failures += 1,
                None if has("reason").is_some_and(is_vendor_refusal) => {
                    past.refusals += 1;
                    past.last_refusal = Some(event.created_at);
                }
                None => {}
            },
            // Taken over after the previous lease expired.
            "claimed" if has("previous_owner").is_some() => past.interruptions += 1,
            _ => {}
        }
    }
    past
}

fn is_vendor_refusal(reason: &str) -> bool {
    ReleaseReason::from_message(reason) == ReleaseReason::VendorRefusal
}

/// Returns whether a task that its vendor refuses is itself the cause: it is refused repeatedly while other tasks
/// are not, or for longer than any limit lasts. `others_done` is whether the vendor has answered other tasks since
/// the last refusal.
pub(crate) fn is_cause_of_refusals(past: PastAttempts, others_done: bool) -> bool {
    past.refusals >= MAX_REFUSALS || (past.refusals >= SUSPICIOUS_REFUSALS && others_done)
}

/// Returns whether [`is_cause_of_refusals`] depends on the other tasks.
pub(crate) fn depends_on_other_tasks(past: PastAttempts) -> bool {
    past.refusals >= SUSPICIOUS_REFUSALS
}

/// Disposition of a task after a failed run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RetryDecision {
    /// Return it to the lane after this time; the attempt counts.
    Retry(Duration),
    /// Return it to the lane after this time; the attempt does not count.
    ReturnUnspent(Duration),
    /// Fail it with this class.
    GiveUp(FailureClass),
}

/// Decides what follows a failure. `is_task_the_cause` is whether the task itself causes the vendor's refusals; `random`
/// spreads the delay.
pub(crate) fn after_failure(
    failure: &RunFailure,
    past: PastAttempts,
    is_task_the_cause: bool,
    task: &Task,
    route: &Route,
    random: u64,
) -> RetryDecision {
    match (&failure.vendor_refusal, &failure.class) {
        (Some(vendor_refusal), _) if !is_task_the_cause => {
            return RetryDecision::ReturnUnspent(hold_back_delay(vendor_refusal.cause, past.refusals));
        }
        (
            _,
            FailureClass::Error | FailureClass::Timeout | FailureClass::UsageLimit | FailureClass::Unverified,
        ) => {}
        (_, class) => return RetryDecision::GiveUp(class.clone()),
    }
    let allowed_by_task = task.spec.max_attempts.is_none_or(|most| task.attempt < most);
    if past.failures < route.max_retries && allowed_by_task {
        let delay = retry_delay(past.failures + 1, route.retry_delay, route.retry_delay_max, random);
        return RetryDecision::Retry(delay);
    }
    let was_repeated = past.failures > 0;
    RetryDecision::GiveUp(if was_repeated { FailureClass::Dead } else { failure.class.clone() })
}

/// Returns how many attempts a task has at most, if all of them fail.
pub(crate) fn max_attempts(task: &Task, route: &Route) -> u32 {
    let by_route = route.max_retries.saturating_add(1);
    task.spec.max_attempts.map_or(by_route, |most| most.min(by_route))
}

/// Returns the delay before attempt `attempt + 1`: a random part (by `random`) of a maximum that starts at `first`
/// and doubles each time up to `longest`, so that tasks that failed together are not retried together.
pub(crate) fn retry_delay(attempt: u32, first: Duration, longest: Duration, random: u64) -> Duration {
    let doublings = attempt.saturating_sub(1).min(30);
    let ceiling = first.saturating_mul(1 << doublings).min(longest);
    ceiling.mul_f64(random as f64 / u64::MAX as f64)
}

fn hold_back_delay(cause: CooldownCause, times: u32) -> Duration {
    match cause {
        CooldownCause::UsageLimit | CooldownCause::Person => AFTER_LIMIT.saturating_mul(times.min(24)),
        CooldownCause::Overloaded => AFTER_OVERLOAD.saturating_mul(times.min(10)),
        // From the third refusal on, so that another task, if any, makes the next try.
        CooldownCause::Account => AFTER_REFUSAL.saturating_mul(times.saturating_sub(1).min(3)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::outcome::VendorRefusal;
    use crate::dispatch::run::prompt_input::earlier_attempts;
    use crate::dispatch::testing::event;
    use crate::model::LaneName;

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
        let last_refusal = Some(Time::from_micros(0));
        assert_eq!(
            count_past_attempts(&events),
            PastAttempts { failures: 1, interruptions: 2, refusals: 1, last_refusal }
        );
        let lines = earlier_attempts(&events);
        assert_eq!(lines.len(), 3);
        assert!(lines[0].ends_with("error: boom"), "{}", lines[0]);
    }

    fn vendor_refusal(cause: CooldownCause, class: FailureClass) -> RunFailure {
        let vendor_refusal = Some(VendorRefusal { cause, reset: None, model: None });
        RunFailure { vendor_refusal, ..RunFailure::new(class, "refused") }
    }

    #[test]
    fn retries_end_and_permanent_failures_have_none() {
        let task = crate::dispatch::testing::task();
        let route = Route { max_retries: 1, ..Route::with_defaults(LaneName::stored("l")) };
        let next =
            |failure: &RunFailure, past, route: &Route| after_failure(failure, past, false, &task, route, 0);
        let error = RunFailure::new(FailureClass::Error, "boom");
        let fresh = PastAttempts::default();
        assert!(matches!(next(&error, fresh, &route), RetryDecision::Retry(_)));
        let once = PastAttempts { failures: 1, interruptions: 3, ..fresh };
        assert_eq!(next(&error, once, &route), RetryDecision::GiveUp(FailureClass::Dead));
        let never = Route::with_defaults(LaneName::stored("l"));
        assert_eq!(next(&error, fresh, &never), RetryDecision::GiveUp(FailureClass::Error));
        let permanent = RunFailure::permanent("no such directory");
        assert_eq!(next(&permanent, fresh, &route), RetryDecision::GiveUp(FailureClass::Permanent));
        let mut spent = Task { attempt: 1, ..task.clone() };
        spent.spec.max_attempts = Some(1);
        assert_eq!(
            after_failure(&error, fresh, false, &spent, &route, 0),
            RetryDecision::GiveUp(FailureClass::Error)
        );
    }

    #[test]
    fn a_task_goes_back_while_its_vendor_refuses_and_fails_when_it_alone_is_refused() {
        let task = crate::dispatch::testing::task();
        let (never, once) = (
            Route::with_defaults(LaneName::stored("l")),
            Route { max_retries: 1, ..Route::with_defaults(LaneName::stored("l")) },
        );
        let limit = vendor_refusal(CooldownCause::UsageLimit, FailureClass::UsageLimit);
        let account = vendor_refusal(CooldownCause::Account, FailureClass::Permanent);
        let past_with = |refusals| PastAttempts { refusals, ..PastAttempts::default() };
        let next = |failure: &RunFailure, refusals, is_task_the_cause, route| {
            after_failure(failure, past_with(refusals), is_task_the_cause, &task, route, 0)
        };
        assert_eq!(next(&limit, 0, false, &never), RetryDecision::ReturnUnspent(Duration::ZERO));
        assert_eq!(next(&limit, 2, false, &never), RetryDecision::ReturnUnspent(AFTER_LIMIT * 2));
        assert_eq!(next(&limit, 99, false, &never), RetryDecision::ReturnUnspent(AFTER_LIMIT * 24));
        assert_eq!(next(&account, 1, false, &never), RetryDecision::ReturnUnspent(Duration::ZERO));
        assert_eq!(next(&account, 2, false, &never), RetryDecision::ReturnUnspent(AFTER_REFUSAL));
        assert_eq!(next(&account, 9, false, &never), RetryDecision::ReturnUnspent(AFTER_REFUSAL * 3));
        assert_eq!(next(&limit, 3, true, &never), RetryDecision::GiveUp(FailureClass::UsageLimit));
        assert!(
            matches!(next(&limit, 3, true, &once), RetryDecision::Retry(_)),
            "its attempts are spent now"
        );
        assert_eq!(next(&account, 3, true, &once), RetryDecision::GiveUp(FailureClass::Permanent));
        let is_cause = |refusals, others_done| is_cause_of_refusals(past_with(refusals), others_done);
        assert!(!is_cause(2, true) && is_cause(3, true), "others can be done");
        assert!(!is_cause(63, false) && is_cause(64, false), "longer than any limit lasts");
    }

    #[test]
    fn retry_delays_grow_to_a_limit_and_are_spread() {
        let (first, longest) = (Duration::from_secs(10), Duration::from_secs(300));
        let ceiling = |attempt| retry_delay(attempt, first, longest, u64::MAX).as_secs();
        assert_eq!([1, 2, 3, 6, 1000].map(ceiling), [10, 20, 40, 300, 300]);
        assert_eq!(retry_delay(3, first, longest, 0), Duration::ZERO);
        assert_eq!(retry_delay(3, first, longest, u64::MAX / 2).as_secs_f64().round(), 20.0);
    }
}
