//! Rules for cooldowns: how long a vendor, or one of its models, is not used after a refusal.

use std::time::Duration;

use super::outcome::{ResetTime, VendorRefusal};
use crate::model::cooldown::{is_model, model_name};
use crate::model::{Certainty, Cooldown, CooldownCause, CooldownKey, CooldownScope, CooledModels, Time};
use crate::store::CooldownChange;

/// A time that doubles with each repetition.
struct Backoff {
    first: Duration,
    max: Duration,
}

/// The cooldown after a refusal without a reset time.
const LIMIT_BACKOFF: Backoff =
    Backoff { first: Duration::from_secs(5 * 60), max: Duration::from_secs(60 * 60) };
const OVERLOAD_BACKOFF: Backoff =
    Backoff { first: Duration::from_secs(60), max: Duration::from_secs(10 * 60) };
/// The time until the next task probes a refused account.
const PROBE_BACKOFF: Backoff =
    Backoff { first: Duration::from_secs(2 * 60), max: Duration::from_secs(15 * 60) };
/// Minimum and maximum delay in seconds after the reset time: for a machine-readable value, and for a clock time,
/// which is truncated to the minute. Random within this range, so that dispatchers do not retry simultaneously.
const EXACT_RESET_DELAY: (f64, f64) = (2.0, 5.0);
const CLOCK_RESET_DELAY: (f64, f64) = (60.0, 90.0);
/// Maximum difference in seconds between two reset times that are considered equal.
const RESET_TOLERANCE: f64 = 120.0;

/// Returns what a refusal applies to, for a run of the account `account_key` that requested the model `requested`.
pub(crate) fn scope_of_refusal(
    vendor_refusal: &VendorRefusal,
    account_key: &CooldownKey,
    requested: Option<&str>,
) -> CooldownScope {
    let models = match (&vendor_refusal.model, requested) {
        (None, _) => CooledModels::All,
        // The message names another model than the requested one, but the requested one would be refused again.
        (Some(named), Some(requested)) if !is_model(requested, &named.to_lowercase()) => {
            CooledModels::One { name: model_name(requested), by_default: false }
        }
        (Some(named), _) => CooledModels::One { name: named.to_lowercase(), by_default: requested.is_none() },
    };
    CooldownScope { account_key: account_key.clone(), models }
}

/// Returns a scope that also includes runs without a model if an earlier cooldown with the same key did.
fn widened(scope: &CooldownScope, earlier: &CooldownScope) -> CooldownScope {
    let mut scope = scope.clone();
    if let CooledModels::One { by_default, .. } = &mut scope.models
        && matches!(earlier.models, CooledModels::One { by_default: true, .. })
    {
        *by_default = true;
    }
    scope
}

/// Returns how a refusal changes the current cooldown `before`; `claimed` is when the run's task was claimed.
///
/// Concurrent runs are refused together: the first refusal starts the cooldown, and the others do not change it.
/// But a more precise message, or a later one of the same precision, replaces the previous one, whether the
/// cooldown becomes longer or shorter. A refusal of a run that started after the end of the last cooldown is a new
/// refusal; soon after that end, it means that the cooldown was too short.
pub(crate) fn after_refusal(
    vendor_refusal: &VendorRefusal,
    reason: &str,
    scope: &CooldownScope,
    (claimed, now): (Time, Time),
    before: Option<&Cooldown>,
    random: u64,
) -> CooldownChange {
    let share = random as f64 / u64::MAX as f64;
    let same = before.filter(|before| before.cause == vendor_refusal.cause);
    let set = |since, strikes, (certainty, until)| {
        CooldownChange::Set(Cooldown {
            scope: same.map_or_else(|| scope.clone(), |same| widened(scope, &same.scope)),
            cause: vendor_refusal.cause,
            since,
            until,
            certainty,
            reason: reason.to_string(),
            strikes,
        })
    };
    let is_live = |before: &&Cooldown| now < before.until || before.cause == CooldownCause::Account;
    match before.filter(is_live) {
        // A cooldown that a person has set is not changed.
        Some(before) if before.cause == CooldownCause::Person => return CooldownChange::Keep,
        Some(before) if before.cause == CooldownCause::Account => match vendor_refusal.cause {
            CooldownCause::Overloaded => return CooldownChange::Keep,
            // Only a run that started since then is newer evidence.
            _ if claimed <= before.since => return CooldownChange::Keep,
            _ => {}
        },
        Some(before) if before.cause == vendor_refusal.cause => {
            let (certainty, until) = cooldown_end(vendor_refusal, now, before.strikes, share);
            let is_other = until.seconds_since(before.until).abs() >= RESET_TOLERANCE;
            let is_better = certainty > before.certainty
                || (certainty == before.certainty && certainty > Certainty::Guess && is_other);
            return match is_better {
                true => set(before.since, before.strikes, (certainty, until)),
                false => CooldownChange::Keep,
            };
        }
        Some(_) if vendor_refusal.cause == CooldownCause::Overloaded => return CooldownChange::Keep,
        _ => {}
    }
    let recent = same.filter(|before| now.seconds_since(before.until) < LIMIT_BACKOFF.max.as_secs_f64());
    let strikes = recent.map_or(1, |before| {
        let is_new = claimed >= before.until || before.cause == CooldownCause::Account;
        before.strikes.saturating_add(u32::from(is_new))
    });
    let since =
        same.filter(|before| before.cause == CooldownCause::Account).map_or(now, |before| before.since);
    set(since, strikes, cooldown_end(vendor_refusal, now, strikes, share))
}

/// Returns the change that reserves the probe of a refused account for the caller: it extends the cooldown, so that
/// no other task probes the account meanwhile. Keeps the cooldown if no probe is due.
pub(crate) fn reserve_probe(before: Option<&Cooldown>, now: Time, random: u64) -> CooldownChange {
    match before.filter(|before| before.is_probe_due(now)) {
        Some(before) => {
            let vendor_refusal = VendorRefusal { cause: CooldownCause::Account, reset: None, model: None };
            let share = random as f64 / u64::MAX as f64;
            let (_, until) = cooldown_end(&vendor_refusal, now, before.strikes, share);
            CooldownChange::Set(Cooldown { until, ..before.clone() })
        }
        None => CooldownChange::Keep,
    }
}

/// Returns how a successful call of the vendor changes a cooldown; `claimed` is when the run's task was claimed. A
/// call in a run that started after the cooldown shows that it is over.
pub(crate) fn after_success(claimed: Time, before: Option<&Cooldown>) -> CooldownChange {
    match before {
        Some(before) if before.cause == CooldownCause::Person => CooldownChange::Keep,
        Some(before) if before.cause == CooldownCause::Account && claimed > before.since => {
            CooldownChange::Clear
        }
        Some(before) if claimed >= before.until => CooldownChange::Clear,
        _ => CooldownChange::Keep,
    }
}

/// Returns the certainty and the end of the cooldown after a refusal; `share` (0 to 1) spreads the end.
fn cooldown_end(vendor_refusal: &VendorRefusal, now: Time, strikes: u32, share: f64) -> (Certainty, Time) {
    let spread = |(min, max): (f64, f64)| min + (max - min) * share;
    let backoff = match vendor_refusal.cause {
        CooldownCause::UsageLimit | CooldownCause::Person => LIMIT_BACKOFF,
        CooldownCause::Overloaded => OVERLOAD_BACKOFF,
        CooldownCause::Account => PROBE_BACKOFF,
    };
    let doubled = |seconds: f64| {
        let doublings = strikes.saturating_sub(1).min(8);
        (seconds * f64::from(1_u32 << doublings)).min(backoff.max.as_secs_f64())
    };
    match vendor_refusal.reset.filter(|_| vendor_refusal.cause != CooldownCause::Account) {
        Some(ResetTime::Exact(time)) => (Certainty::Exact, time.plus_seconds(spread(EXACT_RESET_DELAY))),
        Some(ResetTime::Clock(time)) => (Certainty::Named, time.plus_seconds(spread(CLOCK_RESET_DELAY))),
        Some(ResetTime::Past) => (Certainty::Named, now.plus_seconds(doubled(spread(CLOCK_RESET_DELAY)))),
        None => {
            let ceiling = doubled(backoff.first.as_secs_f64());
            (Certainty::Guess, now.plus_seconds(spread((ceiling / 2.0, ceiling))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Time {
        Time::from_micros(1_000_000_000_000_000)
    }

    fn vendor_refusal(cause: CooldownCause, reset: Option<ResetTime>) -> VendorRefusal {
        VendorRefusal { cause, reset, model: None }
    }

    fn refuse(
        cause: CooldownCause,
        reset: Option<ResetTime>,
        (claimed, now): (Time, Time),
        before: Option<&Cooldown>,
        random: u64,
    ) -> CooldownChange {
        let vendor_refusal = vendor_refusal(cause, reset);
        after_refusal(
            &vendor_refusal,
            "refused",
            &scope_of_refusal(&vendor_refusal, &CooldownKey::of_vendor("v"), None),
            (claimed, now),
            before,
            random,
        )
    }

    fn limit(
        reset: Option<ResetTime>,
        times: (Time, Time),
        before: Option<&Cooldown>,
        random: u64,
    ) -> CooldownChange {
        refuse(CooldownCause::UsageLimit, reset, times, before, random)
    }

    fn new_cooldown(change: CooldownChange) -> Cooldown {
        match change {
            CooldownChange::Set(cooldown) => cooldown,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn cooldowns_last_until_the_named_time_or_grow() {
        let now = start();
        let at = |seconds| now.plus_seconds(seconds);
        let refuse = |reset, at, before| new_cooldown(limit(reset, (at, at), before, u64::MAX));
        let least = |reset| new_cooldown(limit(Some(reset), (now, now), None, 0)).until.seconds_since(now);
        let exact = refuse(Some(ResetTime::Exact(at(100.0))), now, None);
        assert_eq!((exact.until.seconds_since(now), exact.certainty), (105.0, Certainty::Exact));
        assert_eq!(least(ResetTime::Exact(at(100.0))), 102.0);
        let clock = refuse(Some(ResetTime::Clock(at(100.0))), now, None);
        assert_eq!((clock.until.seconds_since(now), clock.certainty), (190.0, Certainty::Named));
        assert_eq!(least(ResetTime::Clock(at(100.0))), 160.0);
        let first = refuse(None, now, None);
        assert_eq!((first.strikes, first.until.seconds_since(now).round()), (1, 300.0));
        let again = refuse(None, first.until, Some(&first));
        assert_eq!((again.strikes, again.until.seconds_since(first.until).round()), (2, 600.0));
        let much_later = first.until.plus_seconds(10_000.0);
        assert_eq!(refuse(None, much_later, Some(&first)).strikes, 1);
    }

    #[test]
    fn a_reset_time_in_the_past_is_a_short_cooldown_that_grows() {
        let now = start();
        let refuse = |now, before: Option<&Cooldown>, random| {
            new_cooldown(limit(Some(ResetTime::Past), (now, now), before, random))
        };
        assert_eq!(refuse(now, None, 0).until.seconds_since(now), 60.0);
        let mut last = refuse(now, None, u64::MAX);
        assert_eq!(last.until.seconds_since(now), 90.0);
        for expected in [180.0, 360.0, 720.0, 1440.0, 2880.0, 3600.0, 3600.0] {
            let next = refuse(last.until, Some(&last), u64::MAX);
            assert_eq!(next.until.seconds_since(last.until), expected);
            last = next;
        }
    }

    #[test]
    fn concurrent_refusals_by_one_limit_count_once() {
        let claimed = start();
        let now = claimed.plus_seconds(10.0);
        let at = |seconds: f64| claimed.plus_seconds(seconds);
        let refuse = |reset, now, before: &Cooldown| limit(reset, (claimed, now), Some(before), 0);
        let guess = new_cooldown(limit(None, (claimed, now), None, 0));
        assert_eq!(refuse(None, now, &guess), CooldownChange::Keep);
        let named = new_cooldown(refuse(Some(ResetTime::Clock(at(30.0))), now, &guess));
        assert!(
            named.certainty == Certainty::Named && named.until < guess.until,
            "a named time counts more than a guess"
        );
        assert_eq!((named.strikes, named.since), (1, guess.since));
        assert_eq!(refuse(None, now, &named), CooldownChange::Keep);
        assert_eq!(
            refuse(Some(ResetTime::Clock(at(30.0))), now, &named),
            CooldownChange::Keep,
            "the same message"
        );
        let other = new_cooldown(refuse(Some(ResetTime::Clock(at(600.0))), now, &named));
        assert_eq!(other.until, at(660.0), "a later message counts more");
        assert_eq!(
            new_cooldown(refuse(Some(ResetTime::Clock(at(30.0))), now, &other)).until,
            at(90.0),
            "shorter, too"
        );
        let exact = new_cooldown(refuse(Some(ResetTime::Exact(at(45.0))), now, &other));
        assert_eq!((exact.until, exact.certainty), (at(47.0), Certainty::Exact));
        assert_eq!(refuse(Some(ResetTime::Clock(at(9000.0))), now, &exact), CooldownChange::Keep);
        assert_eq!(new_cooldown(refuse(Some(ResetTime::Exact(at(9000.0))), now, &exact)).until, at(9002.0));
        // A long run from before the cooldown that meets the limit after it: a cooldown again, no new strike.
        let late = new_cooldown(refuse(None, guess.until.plus_seconds(1.0), &guess));
        assert_eq!((late.strikes, late.since), (1, guess.until.plus_seconds(1.0)));
    }

    #[test]
    fn only_a_run_from_after_the_cooldown_ends_it() {
        let claimed = start();
        let guess = new_cooldown(limit(None, (claimed, claimed), None, 0));
        assert_eq!(after_success(claimed, Some(&guess)), CooldownChange::Keep);
        assert_eq!(after_success(guess.until, Some(&guess)), CooldownChange::Clear);
        assert_eq!(after_success(claimed, None), CooldownChange::Keep);
    }

    #[test]
    fn a_refused_account_is_probed_by_one_task_every_few_minutes() {
        let now = start();
        let refuse = |claimed, now, before: Option<&Cooldown>| {
            refuse(CooldownCause::Account, None, (claimed, now), before, u64::MAX)
        };
        let mut account = new_cooldown(refuse(now, now, None));
        assert_eq!((account.until.seconds_since(now), account.certainty), (120.0, Certainty::Guess));
        assert_eq!(
            refuse(now, now.plus_seconds(1.0), Some(&account)),
            CooldownChange::Keep,
            "refused together"
        );
        for seconds in [240.0, 480.0, 900.0, 900.0] {
            assert_eq!(
                reserve_probe(Some(&account), account.until.plus_seconds(-1.0), 0),
                CooldownChange::Keep
            );
            let due = account.until;
            let taken = new_cooldown(reserve_probe(Some(&account), due, 0));
            assert!(taken.until > due, "no other task probes meanwhile");
            assert_eq!(reserve_probe(Some(&taken), due, 0), CooldownChange::Keep);
            account = new_cooldown(refuse(due, due, Some(&taken)));
            assert_eq!(account.until.seconds_since(due), seconds);
        }
        assert_eq!(after_success(now, Some(&account)), CooldownChange::Keep, "it began before");
        assert_eq!(after_success(now.plus_seconds(1.0), Some(&account)), CooldownChange::Clear);
    }

    #[test]
    fn the_cause_that_lasts_longer_wins() {
        let now = start();
        let later = now.plus_seconds(10.0);
        let begin = |cause| new_cooldown(refuse(cause, None, (now, now), None, 0));
        let then = |cause, before: &Cooldown| refuse(cause, None, (later, later), Some(before), 0);
        let (limit, busy, account) = (
            begin(CooldownCause::UsageLimit),
            begin(CooldownCause::Overloaded),
            begin(CooldownCause::Account),
        );
        assert!(busy.until.seconds_since(now) <= 60.0);
        assert_eq!(then(CooldownCause::Overloaded, &limit), CooldownChange::Keep);
        assert_eq!(new_cooldown(then(CooldownCause::UsageLimit, &busy)).cause, CooldownCause::UsageLimit);
        assert_eq!(new_cooldown(then(CooldownCause::Account, &limit)).cause, CooldownCause::Account);
        assert_eq!(
            new_cooldown(then(CooldownCause::UsageLimit, &account)).cause,
            CooldownCause::UsageLimit,
            "the account was accepted"
        );
        let asked = Cooldown { cause: CooldownCause::Person, ..limit };
        for cause in [CooldownCause::UsageLimit, CooldownCause::Overloaded, CooldownCause::Account] {
            assert_eq!(then(cause, &asked), CooldownChange::Keep, "set by a person");
        }
        assert_eq!(after_success(later, Some(&asked)), CooldownChange::Keep);
    }

    #[test]
    fn a_limit_of_one_model_applies_to_that_model() {
        let vendor_refusal = VendorRefusal {
            model: Some("Opus".to_string()),
            ..vendor_refusal(CooldownCause::UsageLimit, None)
        };
        let models = |requested| {
            scope_of_refusal(&vendor_refusal, &CooldownKey::of_vendor("claude"), requested).models
        };
        let one = |name: &str, by_default| CooledModels::One { name: name.to_string(), by_default };
        assert_eq!(models(Some("claude-opus-5-5")), one("opus", false));
        assert_eq!(models(None), one("opus", true), "the default model was refused");
        assert_eq!(models(Some("anthropic/Sonnet")), one("sonnet", false));
    }
}
