//! What a vendor says when the task is not to blame, as data: its words, its numbers, its events.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Json;
use serde_yaml::Value;

use crate::Result;
use crate::dispatch::config::reader::Section;
use crate::model::duration;

/// The keys of a vendor that are read here.
pub const KEYS: [&str; 7] = ["says", "service_says", "http", "exits", "reasons", "resets", "limit_event"];

/// What a notice means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The account has used up what it may.
    Limit,
    /// The service asks for a short pause.
    Overloaded,
    /// A person has to log in, pay, or repair a key.
    Account,
    /// The next attempt would meet the same.
    Permanent,
    /// None of these.
    Error,
}

impl Cause {
    const ALL: [(Self, &str); 5] = [
        (Self::Limit, "usage_limit"),
        (Self::Overloaded, "overloaded"),
        (Self::Account, "account"),
        (Self::Permanent, "permanent"),
        (Self::Error, "error"),
    ];

    /// The word in configuration and in the journal of runs.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(cause, _)| *cause == self).map_or("error", |(_, word)| word)
    }

    fn from_yaml(value: &Value) -> std::result::Result<Self, String> {
        let found = Self::ALL.iter().find(|(_, word)| value.as_str() == Some(word));
        found
            .map(|(cause, _)| *cause)
            .ok_or_else(|| format!("expected one of {}", Self::ALL.map(|(_, word)| word).join(", ")))
    }
}

/// Who said the words that are searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// The vendor's service, or its program about its own run.
    Service,
    /// Anything that may have been running: standard error, say.
    Anyone,
}

/// What was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// What it means.
    pub cause: Cause,
    /// The one model that a limit is about.
    pub model: Option<String>,
    /// How long such a limit lasts at most.
    pub within: Option<Duration>,
}

/// How the time of a reset follows its announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// As a member's value: seconds or milliseconds since 1970, or RFC 3339 text.
    Instant,
    /// As a member's value: seconds from now.
    Seconds,
    /// In a sentence.
    Words,
}

/// A call that was refused, as an event for programs tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What its kind means.
    pub heard: Heard,
    /// When the limit ends, as it is written there.
    pub reset: Option<String>,
}

/// All notices of one vendor.
#[derive(Clone, Debug, Default)]
pub struct Notices {
    /// The longest words first.
    says: Vec<Phrase>,
    service_says: Vec<Phrase>,
    http: BTreeMap<i64, Cause>,
    exits: BTreeMap<i64, Cause>,
    reasons: BTreeMap<String, Cause>,
    resets: Vec<(String, Follows)>,
    event: Option<LimitEvent>,
}

#[derive(Clone, Debug)]
struct Phrase {
    /// In lower case, before and after the name of a model if there is one.
    words: (String, Option<String>),
    cause: Cause,
    model: Option<String>,
    within: Option<Duration>,
}

#[derive(Clone, Debug)]
struct LimitEvent {
    kind_of_line: String,
    at: Option<String>,
    refused: Vec<(String, Vec<String>)>,
    allowed: Vec<(String, Vec<String>)>,
    kind: Option<String>,
    reset: Option<String>,
}

impl Notices {
    /// Reads the notices of the vendor that `section` describes.
    ///
    /// # Errors
    /// `Config`, naming the key.
    pub fn read(section: &Section<'_>) -> Result<Self> {
        Ok(Self {
            says: phrases(&section.section("says")?)?,
            service_says: phrases(&section.section("service_says")?)?,
            http: numbers(&section.section("http")?)?,
            exits: numbers(&section.section("exits")?)?,
            reasons: entries(&section.section("reasons")?, |_, value| Cause::from_yaml(value))?
                .into_iter()
                .collect(),
            resets: entries(&section.section("resets")?, |_, value| match value.as_str() {
                Some("instant") => Ok(Follows::Instant),
                Some("seconds") => Ok(Follows::Seconds),
                Some("words") => Ok(Follows::Words),
                _ => Err("expected instant, seconds or words".to_string()),
            })?,
            event: limit_event(&section.section("limit_event")?)?,
        })
    }

    /// What `words` mean, if they hold a notice: the longest phrase that fits decides, and of those about
    /// limits the longest that says so names the model and how long it lasts.
    pub fn heard(&self, words: &str, speaker: Speaker) -> Option<Heard> {
        // Programs write apostrophes in two ways.
        let lower = words.to_lowercase().replace('\u{2019}', "'");
        let service = match speaker {
            Speaker::Service => self.service_says.as_slice(),
            Speaker::Anyone => &[],
        };
        let mut fitting: Vec<(&Phrase, Option<String>)> = self
            .says
            .iter()
            .chain(service)
            .filter_map(|phrase| Some((phrase, phrase.find(&lower)?)))
            .collect();
        fitting.sort_by_key(|(phrase, _)| std::cmp::Reverse(phrase.length()));
        let cause = fitting.first()?.0.cause;
        let mut limits =
            fitting.iter().filter(|(phrase, _)| phrase.cause == Cause::Limit && cause == Cause::Limit);
        let within = limits.clone().find_map(|(phrase, _)| phrase.within);
        let model = limits.find_map(|(phrase, named)| named.clone().or_else(|| phrase.model.clone()));
        Some(Heard { cause, model, within })
    }

    /// What an HTTP status means.
    pub fn status(&self, status: u16) -> Option<Cause> {
        self.http.get(&i64::from(status)).copied()
    }

    /// The statuses with which the service refuses the account.
    pub fn refusing_statuses(&self) -> Vec<u16> {
        let refusing = self.http.iter().filter(|(_, cause)| **cause == Cause::Account);
        refusing.filter_map(|(status, _)| u16::try_from(*status).ok()).collect()
    }

    /// What an exit code means.
    pub fn exit(&self, code: i32) -> Option<Cause> {
        self.exits.get(&i64::from(code)).copied()
    }

    /// What the vendor's word for how a run ended means.
    pub fn reason(&self, reason: &str) -> Option<Cause> {
        self.reasons.get(reason).copied()
    }

    /// What the time of a reset follows.
    pub fn resets(&self) -> &[(String, Follows)] {
        &self.resets
    }

    /// The last of `events` that tells of a refused call.
    pub fn refusal(&self, events: &[Json]) -> Option<Refusal> {
        let rule = self.event.as_ref()?;
        let info = events.iter().rev().filter_map(|event| rule.refused_in(event)).next()?;
        let word = |key: &Option<String>| text_of(info.get(key.as_ref()?)?);
        let heard = word(&rule.kind).and_then(|kind| self.heard(&kind, Speaker::Anyone));
        let heard = heard.filter(|heard| heard.cause == Cause::Limit);
        let unknown = Heard { cause: Cause::Limit, model: None, within: None };
        Some(Refusal { heard: heard.unwrap_or(unknown), reset: word(&rule.reset) })
    }
}

impl Phrase {
    fn length(&self) -> usize {
        self.words.0.len() + self.words.1.as_ref().map_or(0, String::len)
    }

    /// Whether `lower` holds the phrase, and the model that it names there.
    fn find(&self, lower: &str) -> Option<Option<String>> {
        let (before, after) = (&self.words.0, self.words.1.as_ref());
        let Some(after) = after else {
            return lower.contains(before.as_str()).then_some(None);
        };
        lower.match_indices(before.as_str()).find_map(|(at, found)| {
            let rest = &lower[at + found.len()..];
            let end = rest.find(|c: char| c.is_whitespace() || ",;()\"".contains(c)).unwrap_or(rest.len());
            let name = rest[..end].trim_end_matches(['.', ':', '\'']);
            // "usage limit for today" names none: a model's name has a number or a dash in it.
            let is_name = name.contains(|c: char| c.is_ascii_digit() || c == '-');
            (is_name && rest[end..].starts_with(after.as_str())).then(|| Some(name.to_string()))
        })
    }
}

impl LimitEvent {
    fn refused_in<'e>(&self, event: &'e Json) -> Option<&'e Json> {
        if event.get("type").and_then(Json::as_str) != Some(&self.kind_of_line) {
            return None;
        }
        let info = match &self.at {
            Some(at) => event.get(at)?,
            None => event,
        };
        let fits = |(key, values): &(String, Vec<String>)| {
            info.get(key).and_then(text_of).is_some_and(|value| values.contains(&value))
        };
        (self.refused.iter().all(fits) && !self.allowed.iter().any(fits)).then_some(info)
    }
}

fn text_of(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// The entries of a mapping; those that are `null` are taken out.
fn entries<T>(
    section: &Section<'_>,
    read: impl Fn(&str, &Value) -> std::result::Result<T, String>,
) -> Result<Vec<(String, T)>> {
    let mut entries = Vec::new();
    for (key, value) in section.mapping() {
        let name = match key {
            Value::String(name) => name.clone(),
            Value::Number(number) => number.to_string(),
            _ => return Err(section.error_here("expected words or numbers as keys")),
        };
        if !value.is_null() {
            entries.push((name.clone(), read(&name, value).map_err(|reason| section.error(&name, &reason))?));
        }
    }
    Ok(entries)
}

fn numbers(section: &Section<'_>) -> Result<BTreeMap<i64, Cause>> {
    let read = |name: &str, value: &Value| {
        let number = name.parse::<i64>().map_err(|_| "expected a number as the key".to_string())?;
        Ok((number, Cause::from_yaml(value)?))
    };
    Ok(entries(section, read)?.into_iter().map(|(_, entry)| entry).collect())
}

fn phrases(section: &Section<'_>) -> Result<Vec<Phrase>> {
    let mut phrases = entries(section, |words, _| {
        let words = words.to_lowercase();
        if words.trim().is_empty() {
            return Err("expected words".to_string());
        }
        Ok(match words.split_once("{model}") {
            Some((before, after)) => (before.to_string(), Some(after.to_string())),
            None => (words, None),
        })
    })?
    .into_iter()
    .map(|(key, words)| {
        let simple = section.read(&key, Cause::from_yaml);
        if let Ok(cause) = simple {
            let cause = cause.or(Cause::Error);
            return Ok(Phrase { words, cause, model: None, within: None });
        }
        if !section.mapping().get(key.as_str()).is_some_and(Value::is_mapping) {
            simple?;
        }
        let detail = section.section(&key)?;
        detail.only(&["class", "model", "within"])?;
        let cause = detail.read("class", Cause::from_yaml)?.value();
        Ok(Phrase {
            words,
            cause: cause.ok_or_else(|| detail.error_here("expected a class"))?,
            model: detail.text("model")?.value().map(|model| model.to_lowercase()),
            within: detail.read("within", length)?.value(),
        })
    })
    .collect::<Result<Vec<_>>>()?;
    phrases.sort_by_key(|phrase| std::cmp::Reverse(phrase.length()));
    Ok(phrases)
}

fn length(value: &Value) -> std::result::Result<Duration, String> {
    let length = value.as_str().and_then(duration::parse).or_else(|| duration::from_seconds(value.as_f64()?));
    length.ok_or_else(|| "expected a length of time such as 5h".to_string())
}

fn limit_event(section: &Section<'_>) -> Result<Option<LimitEvent>> {
    section.only(&["type", "at", "refused", "allowed", "kind", "reset"])?;
    let Some(kind_of_line) = section.text("type")?.value() else { return Ok(None) };
    let values = |_: &str, value: &Value| match value {
        Value::Sequence(values) => values.iter().map(one_value).collect(),
        value => Ok(vec![one_value(value)?]),
    };
    Ok(Some(LimitEvent {
        kind_of_line,
        at: section.text("at")?.value(),
        refused: entries(&section.section("refused")?, values)?,
        allowed: entries(&section.section("allowed")?, values)?,
        kind: section.text("kind")?.value(),
        reset: section.text("reset")?.value(),
    }))
}

fn one_value(value: &Value) -> std::result::Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err("expected a word or a list of words".to_string()),
    }
}
