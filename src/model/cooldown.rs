//! The cooldown of a vendor: until when it starts no run, and why: a limit, a refused account, or a person's
//! pause.

use std::collections::BTreeMap;
use std::fmt;

use super::Time;
use super::duration;
use super::json::Object;
use super::task::object;
use crate::error::{Error, Result};

/// The cause of a cooldown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CooldownCause {
    /// The account has used up its limit.
    #[default]
    UsageLimit,
    /// The vendor's service is overloaded.
    Overloaded,
    /// The service refuses the account: a person has to log in, pay, or repair a key. When the cooldown is
    /// over, one task tests whether that was done.
    Account,
    /// A person asked for it.
    Person,
}

impl CooldownCause {
    const ALL: [(Self, &str); 4] = [
        (Self::UsageLimit, "usage_limit"),
        (Self::Overloaded, "overloaded"),
        (Self::Account, "account"),
        (Self::Person, "asked"),
    ];

    /// Returns the name used in files and JSON.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(cause, _)| *cause == self).map_or("usage_limit", |(_, word)| word)
    }

    /// Parses the name of a cause; `None` for an unknown one.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == word).map(|(cause, _)| *cause)
    }
}

/// How certain the end of a cooldown is, the least certain first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// A guess: the vendor gave no time.
    Guess,
    /// The vendor named it in text for people, which is rounded down to the minute.
    Named,
    /// The vendor gave it as a value for programs, or a person did.
    Exact,
}

/// What a cooldown applies to: an account with all its models, or one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CooldownScope {
    /// The key of the account, without a model.
    pub account_key: CooldownKey,
    /// The models of the account.
    pub models: CooledModels,
}

/// The models of an account that a cooldown applies to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CooledModels {
    /// All of them.
    All,
    /// One of them.
    One {
        /// Its name in lower case.
        name: String,
        /// Whether runs without a model of their own are included.
        by_default: bool,
    },
}

impl CooldownScope {
    /// Returns the key of a cooldown with this scope.
    pub fn key(&self) -> CooldownKey {
        self.account_key.with_model(self.model())
    }

    /// Returns the only model that is included, in lower case; `None` for all models.
    pub fn model(&self) -> Option<&str> {
        match &self.models {
            CooledModels::All => None,
            CooledModels::One { name, .. } => Some(name),
        }
    }

    /// Returns whether a run for `account_key` with `model` is included.
    pub fn covers(&self, account_key: &CooldownKey, model: Option<&str>) -> bool {
        self.account_key == *account_key
            && match (&self.models, model) {
                (CooledModels::All, _) => true,
                (CooledModels::One { by_default, .. }, None) => *by_default,
                (CooledModels::One { name, .. }, Some(model)) => is_model(model, name),
            }
    }
}

/// The cooldown of a vendor, or of one of its models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cooldown {
    /// What it applies to.
    pub scope: CooldownScope,
    /// Its cause.
    pub cause: CooldownCause,
    /// The time at which it began.
    pub since: Time,
    /// The time at which it ends.
    pub until: Time,
    /// How certain the end is.
    pub certainty: Certainty,
    /// The vendor's or the person's text about the cause.
    pub reason: String,
    /// The number of cooldowns in a row, including this one.
    pub strikes: u32,
}

/// The key of a cooldown in files and JSON: the vendor, or `vendor/model` for one of its models.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CooldownKey(String);

impl CooldownKey {
    /// Returns the key of the cooldown of a vendor with all its models.
    pub fn of_vendor(vendor: impl Into<String>) -> Self {
        Self(vendor.into())
    }

    /// Returns the key of the cooldown of one of the vendor's models; without a model, the vendor's own.
    pub fn with_model(&self, model: Option<&str>) -> Self {
        match model {
            Some(model) => Self(format!("{}/{}", self.0, model.to_lowercase())),
            None => self.clone(),
        }
    }

    /// Wraps a key from a file.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CooldownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Cooldowns by key.
pub(crate) type Cooldowns = BTreeMap<CooldownKey, Cooldown>;

/// Returns the end of a cooldown that only a person ends.
pub(crate) fn indefinite_end() -> Time {
    // The last second that RFC 3339 can represent.
    Time::from_micros(253_402_300_799_000_000)
}

impl Cooldown {
    /// Makes a cooldown that a person asks for.
    pub fn by_person(
        vendor: &str,
        model: Option<&str>,
        now: Time,
        until: Time,
        reason: Option<&str>,
    ) -> Self {
        let models = match model {
            Some(model) => CooledModels::One { name: model.to_lowercase(), by_default: false },
            None => CooledModels::All,
        };
        Self {
            scope: CooldownScope { account_key: CooldownKey::of_vendor(vendor), models },
            cause: CooldownCause::Person,
            since: now,
            until,
            certainty: Certainty::Exact,
            reason: reason.unwrap_or_default().to_string(),
            strikes: 0,
        }
    }

    /// Returns whether it keeps any run from starting at `now`. The cooldown of a refused account always does: a
    /// task has to test the account first.
    pub fn is_active(&self, now: Time) -> bool {
        now < self.until || self.cause == CooldownCause::Account
    }

    /// Returns whether it keeps a run for `account_key` with `model` from starting at `now`.
    pub fn blocks(&self, account_key: &CooldownKey, model: Option<&str>, now: Time) -> bool {
        self.scope.covers(account_key, model) && self.is_active(now)
    }

    /// Returns whether one task may test whether the account works again.
    pub fn is_probe_due(&self, now: Time) -> bool {
        self.cause == CooldownCause::Account && self.until <= now
    }

    /// Returns the cooldown for programs: `vendor`, `model` (text or null), `kind`, `until`, `reason`.
    pub fn to_object(&self) -> Object {
        let mut pause = object([("vendor", self.scope.account_key.as_str().into())]);
        pause.insert("model".to_string(), self.scope.model().into());
        pause.extend(object([
            ("kind", self.cause.as_str().into()),
            ("until", self.until.to_string().into()),
            ("reason", self.reason.clone().into()),
        ]));
        pause
    }

    /// Returns the vendor, and the model if it applies to only one.
    pub fn name(&self) -> String {
        let account_key = &self.scope.account_key;
        match self.scope.model() {
            Some(model) => format!("{account_key} with model {model}"),
            None => account_key.to_string(),
        }
    }

    /// Describes it in a sentence for people.
    pub fn describe(&self) -> String {
        let name = self.name();
        let Self { until, reason, .. } = self;
        let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        match self.cause {
            CooldownCause::Account => {
                format!("{name} is unready, log in; the next try is at {until}{reason}")
            }
            CooldownCause::Person if *until == indefinite_end() => {
                format!("{name} is not used until it is resumed{reason}")
            }
            _ => format!("{name} is not used until {until}{reason}"),
        }
    }
}

/// Returns the end of a pause of a number of seconds, or until `until`; without either, one that only a person ends.
///
/// # Errors
/// `Invalid` when the end is not in the future.
pub(crate) fn pause_end(now: Time, seconds: Option<f64>, until: Option<Time>) -> Result<Time> {
    let length = seconds.map(|seconds| {
        let length = duration::from_seconds(seconds).filter(|length| !length.is_zero());
        length.ok_or_else(|| Error::invalid("a pause lasts more than 0 seconds and at most ten years"))
    });
    let until = length.transpose()?.map(|length| now + length).or(until);
    match until {
        Some(until) if until <= now => {
            Err(Error::invalid(format!("a pause cannot end in the past: {until}")))
        }
        until => Ok(until.unwrap_or(indefinite_end())),
    }
}

/// Returns the plain name of a model: in lower case, without the provider before it and the options after it.
pub(crate) fn model_name(model: &str) -> String {
    let model = model.to_lowercase();
    let name = model.rsplit('/').next().unwrap_or(&model);
    name.split('[').next().unwrap_or(name).to_string()
}

/// Returns whether a run's `model` is the one called `wanted`: by its whole name, or by the name of its family
/// (`opus` for `claude-opus-5-5`, but not `gpt-5` for `gpt-5-mini`).
pub(crate) fn is_model(model: &str, wanted: &str) -> bool {
    let name = model_name(model);
    let is_family = wanted.chars().all(|c| c.is_ascii_alphabetic());
    name == wanted
        || (is_family
            && name.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word.starts_with(wanted)))
}

/// Returns the cooldown that keeps a run for `account_key` with `model` from starting at `now`; of several the one
/// that lasts longest.
pub(crate) fn cooldown_for<'p>(
    cooldowns: &'p Cooldowns,
    account_key: &CooldownKey,
    model: Option<&str>,
    now: Time,
) -> Option<&'p Cooldown> {
    cooldowns
        .values()
        .filter(|cooldown| cooldown.blocks(account_key, model, now))
        .max_by_key(|cooldown| cooldown.until)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cooldown_of(models: CooledModels) -> Cooldown {
        Cooldown {
            scope: CooldownScope { account_key: CooldownKey::of_vendor("claude"), models },
            cause: CooldownCause::UsageLimit,
            since: Time::from_micros(0),
            until: Time::from_micros(10),
            certainty: Certainty::Guess,
            reason: String::new(),
            strikes: 1,
        }
    }

    #[test]
    fn a_family_has_many_names_and_a_model_one() {
        for (model, of_cooldown, expected) in [
            ("opus", "opus", true),
            ("claude-opus-5-5", "opus", true),
            ("anthropic/Claude-Opus-5-5[1m]", "opus", true),
            ("opusplan", "opus", true),
            ("sonnet", "opus", false),
            ("gpt-5", "gpt-5", true),
            ("openai/gpt-5", "gpt-5", true),
            ("gpt-5-mini", "gpt-5", false),
        ] {
            assert_eq!(is_model(model, of_cooldown), expected, "{model} {of_cooldown}");
        }
    }

    #[test]
    fn a_pause_stops_its_vendor_and_its_model_alone() {
        let (now, later) = (Time::from_micros(5), Time::from_micros(10));
        let opus = |by_default| CooledModels::One { name: "opus".to_string(), by_default };
        let all = cooldown_of(CooledModels::All);
        assert!(
            all.blocks(&CooldownKey::of_vendor("claude"), Some("opus"), now)
                && all.blocks(&CooldownKey::of_vendor("claude"), None, now)
        );
        assert!(
            !all.blocks(&CooldownKey::of_vendor("codex"), None, now)
                && !all.blocks(&CooldownKey::of_vendor("claude"), None, later)
        );
        let by_name = cooldown_of(opus(false));
        assert!(by_name.blocks(&CooldownKey::of_vendor("claude"), Some("claude-opus-5-5"), now));
        assert!(
            !by_name.blocks(&CooldownKey::of_vendor("claude"), Some("sonnet"), now)
                && !by_name.blocks(&CooldownKey::of_vendor("claude"), None, now)
        );
        let by_default = cooldown_of(opus(true));
        assert!(by_default.blocks(&CooldownKey::of_vendor("claude"), None, now));
        let account = Cooldown { cause: CooldownCause::Account, ..all };
        assert!(
            account.blocks(&CooldownKey::of_vendor("claude"), None, later) && account.is_probe_due(later)
        );
        assert!(!account.is_probe_due(now));
    }
}
