//! What keeps a vendor from working, and for how long: a limit, an account, a person's word.

use std::collections::BTreeMap;

use super::Time;
use super::duration;
use super::json::Object;
use super::task::object;
use crate::error::{Error, Result};

/// Why a vendor is left alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Obstacle {
    /// Its account has used up what it may.
    #[default]
    Limit,
    /// Its service has too much to do.
    Overloaded,
    /// Its service refuses the account: a person has to log in, pay, or repair a key. At the time until
    /// which it is left alone, one task tries whether that was done.
    Account,
    /// A person said so.
    Asked,
}

impl Obstacle {
    const ALL: [(Self, &str); 4] = [
        (Self::Limit, "usage_limit"),
        (Self::Overloaded, "overloaded"),
        (Self::Account, "account"),
        (Self::Asked, "asked"),
    ];

    /// The word on disk and for programs.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(obstacle, _)| *obstacle == self).map_or("usage_limit", |(_, word)| word)
    }

    /// The obstacle called `word`; an unknown one is a limit.
    pub fn parse(word: &str) -> Self {
        Self::ALL.iter().find(|(_, known)| *known == word).map_or(Self::Limit, |(obstacle, _)| *obstacle)
    }
}

/// Who says until when a pause lasts, the least certain first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    /// Nobody; it is a guess.
    Guess,
    /// The vendor, in words for people, which are cut to the minute.
    Named,
    /// The vendor, in a figure for programs.
    Exact,
}

/// Until when and why a vendor, or one of its models, is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// The vendor's account.
    pub vendor: String,
    /// The one model that it is about, in lower case; nothing when it is about all.
    pub model: Option<String>,
    /// Whether runs that name no model meet it as well.
    pub by_default: bool,
    /// What keeps it from working.
    pub obstacle: Obstacle,
    /// Since when.
    pub since: Time,
    /// Until when.
    pub until: Time,
    /// Who says until when.
    pub told: Told,
    /// Why, in the vendor's words.
    pub reason: String,
    /// How often in a row it was parked.
    pub strikes: u32,
}

/// All that are left alone, by key.
pub type AllParked = BTreeMap<String, Parked>;

/// The key of a vendor's pause, or of that of one of its models.
pub fn park_key(vendor: &str, model: Option<&str>) -> String {
    match model {
        Some(model) => format!("{vendor}/{}", model.to_lowercase()),
        None => vendor.to_string(),
    }
}

/// The time of a pause that ends only when somebody says so.
pub fn never() -> Time {
    // The last second that RFC 3339 can write.
    Time::from_micros(253_402_300_799_000_000)
}

impl Parked {
    /// A pause that a person asks for.
    pub fn asked(vendor: &str, model: Option<&str>, now: Time, until: Time, reason: Option<&str>) -> Self {
        Self {
            vendor: vendor.to_string(),
            model: model.map(str::to_lowercase),
            by_default: false,
            obstacle: Obstacle::Asked,
            since: now,
            until,
            told: Told::Exact,
            reason: reason.unwrap_or_default().to_string(),
            strikes: 0,
        }
    }

    /// Its key.
    pub fn key(&self) -> String {
        park_key(&self.vendor, self.model.as_deref())
    }

    /// Whether it keeps anything from starting at `now`. A refused account counts as such however long ago:
    /// somebody has to try first.
    pub fn holds(&self, now: Time) -> bool {
        now < self.until || self.obstacle == Obstacle::Account
    }

    /// Whether a run for `vendor` with `model` is kept from starting at `now`.
    pub fn stops(&self, vendor: &str, model: Option<&str>, now: Time) -> bool {
        self.vendor == vendor
            && self.holds(now)
            && match (&self.model, model) {
                (None, _) => true,
                (Some(_), None) => self.by_default,
                (Some(parked), Some(model)) => is_model(model, parked),
            }
    }

    /// Whether one task may try whether the account is in order again.
    pub fn is_probe_due(&self, now: Time) -> bool {
        self.obstacle == Obstacle::Account && self.until <= now
    }

    /// The pause for programs: `vendor`, `model` (text or null), `kind`, `until`, `reason`.
    pub fn to_object(&self) -> Object {
        let mut pause = object([("vendor", self.vendor.clone().into())]);
        pause.insert("model".to_string(), self.model.clone().into());
        pause.extend(object([
            ("kind", self.obstacle.word().into()),
            ("until", self.until.to_string().into()),
            ("reason", self.reason.clone().into()),
        ]));
        pause
    }

    /// The vendor, and the model if it is about one.
    pub fn name(&self) -> String {
        match &self.model {
            Some(model) => format!("{} with model {model}", self.vendor),
            None => self.vendor.clone(),
        }
    }

    /// That it is left alone, in a person's words.
    pub fn words(&self) -> String {
        let name = self.name();
        let Self { until, reason, .. } = self;
        let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        match self.obstacle {
            Obstacle::Account => format!("{name} is unready, log in; the next try is at {until}{reason}"),
            Obstacle::Asked if *until == never() => {
                format!("{name} is not used until it is resumed{reason}")
            }
            _ => format!("{name} is not used until {until}{reason}"),
        }
    }
}

/// When a pause ends that is to last `seconds`, or until `until`; without either, when somebody says so.
///
/// # Errors
/// `Invalid` when that is not in the future.
pub fn pause_end(now: Time, seconds: Option<f64>, until: Option<Time>) -> Result<Time> {
    let length = seconds.map(|seconds| {
        let length = duration::from_seconds(seconds).filter(|length| !length.is_zero());
        length.ok_or_else(|| Error::invalid("a pause lasts more than 0 seconds and at most ten years"))
    });
    let until = length.transpose()?.map(|length| now.plus_seconds(length.as_secs_f64())).or(until);
    match until {
        Some(until) if until <= now => {
            Err(Error::invalid(format!("a pause cannot end in the past: {until}")))
        }
        until => Ok(until.unwrap_or(never())),
    }
}

/// A model's own name: in lower case, without a provider before it and options behind it.
pub fn model_name(model: &str) -> String {
    let model = model.to_lowercase();
    let name = model.rsplit('/').next().unwrap_or(&model);
    name.split('[').next().unwrap_or(name).to_string()
}

/// Whether a run's model is the one called `parked`: by its whole name, or by the word that a family of
/// models is called (`opus` for `claude-opus-5-5`, but not `gpt-5` for `gpt-5-mini`).
pub fn is_model(model: &str, parked: &str) -> bool {
    let name = model_name(model);
    let is_family = parked.chars().all(|c| c.is_ascii_alphabetic());
    name == parked
        || (is_family
            && name.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word.starts_with(parked)))
}

/// The pause that keeps a run for `vendor` with `model` from starting at `now`; of several the one that
/// lasts longest.
pub fn obstacle_to<'p>(
    parked: &'p AllParked,
    vendor: &str,
    model: Option<&str>,
    now: Time,
) -> Option<&'p Parked> {
    parked.values().filter(|parked| parked.stops(vendor, model, now)).max_by_key(|parked| parked.until)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parked(model: Option<&str>) -> Parked {
        Parked {
            vendor: "claude".to_string(),
            model: model.map(str::to_string),
            by_default: false,
            obstacle: Obstacle::Limit,
            since: Time::from_micros(0),
            until: Time::from_micros(10),
            told: Told::Guess,
            reason: String::new(),
            strikes: 1,
        }
    }

    #[test]
    fn a_family_has_many_names_and_a_model_one() {
        for (model, parked, expected) in [
            ("opus", "opus", true),
            ("claude-opus-5-5", "opus", true),
            ("anthropic/Claude-Opus-5-5[1m]", "opus", true),
            ("opusplan", "opus", true),
            ("sonnet", "opus", false),
            ("gpt-5", "gpt-5", true),
            ("openai/gpt-5", "gpt-5", true),
            ("gpt-5-mini", "gpt-5", false),
        ] {
            assert_eq!(is_model(model, parked), expected, "{model} {parked}");
        }
    }

    #[test]
    fn a_pause_stops_its_vendor_and_its_model_alone() {
        let (now, later) = (Time::from_micros(5), Time::from_micros(10));
        let all = parked(None);
        assert!(all.stops("claude", Some("opus"), now) && all.stops("claude", None, now));
        assert!(!all.stops("codex", None, now) && !all.stops("claude", None, later));
        let opus = parked(Some("opus"));
        assert!(opus.stops("claude", Some("claude-opus-5-5"), now));
        assert!(!opus.stops("claude", Some("sonnet"), now) && !opus.stops("claude", None, now));
        let by_default = Parked { by_default: true, ..opus };
        assert!(by_default.stops("claude", None, now));
        let account = Parked { obstacle: Obstacle::Account, ..all };
        assert!(account.stops("claude", None, later) && account.is_probe_due(later));
        assert!(!account.is_probe_due(now));
    }
}
