//! Vendor messages: what vendors print when a failure is not the task's fault. A profile describes them as data: a message is
//! recognised by its text, an HTTP status, an exit code, a termination reason or an event line.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Json;
use serde_yaml::Value;

use crate::Result;
use crate::model::duration;
use crate::workspace::Section;

/// The keys of a vendor's profile that describe vendor messages.
pub(super) const MESSAGE_KEYS: [&str; 7] =
    ["says", "service_says", "http", "exits", "reasons", "resets", "limit_event"];

/// What a message means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageMeaning {
    /// The account has reached a usage limit.
    UsageLimit,
    /// The service is overloaded and asks for a short pause.
    Overloaded,
    /// A person must log in, pay or renew a key.
    Account,
    /// The next attempt would fail in the same way.
    Permanent,
    /// The run has cost as much as it may.
    Budget,
    /// None of these.
    Error,
}

impl MessageMeaning {
    const ALL: [(Self, &str); 6] = [
        (Self::UsageLimit, "usage_limit"),
        (Self::Overloaded, "overloaded"),
        (Self::Account, "account"),
        (Self::Permanent, "permanent"),
        (Self::Budget, "budget"),
        (Self::Error, "error"),
    ];

    /// Returns the name in the configuration and in the usage log.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(meaning, _)| *meaning == self).map_or("error", |(_, name)| name)
    }

    fn from_yaml(value: &Value) -> std::result::Result<Self, String> {
        let found = Self::ALL.iter().find(|(_, name)| value.as_str() == Some(name));
        found
            .map(|(meaning, _)| *meaning)
            .ok_or_else(|| format!("expected one of {}", Self::ALL.map(|(_, name)| name).join(", ")))
    }
}

/// The origin of the text that is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageSource {
    /// The vendor's service, or its program about its own run.
    Service,
    /// Any program, as for standard error.
    Anyone,
}

/// A message that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageMatch {
    /// Its meaning.
    pub meaning: MessageMeaning,
    /// The model to which a limit applies, if it is not the whole account.
    pub model: Option<String>,
    /// The longest time until such a limit resets.
    pub within: Option<Duration>,
}

/// How the time of a reset is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetFormat {
    /// As the value of a member: seconds or milliseconds since 1970, or RFC 3339 text.
    Instant,
    /// As the value of a member: seconds from now.
    Seconds,
    /// In a sentence, after the given text.
    Text,
}

/// A call that the service refused, as reported by an event line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedCall {
    /// What the kind of limit means.
    pub message: MessageMatch,
    /// When the limit ends, as written there.
    pub reset: Option<String>,
}

/// What one vendor prints when a failure is not the task's fault.
#[derive(Clone, Debug, Default)]
pub struct VendorMessages {
    /// Phrases that count in any text, longest first.
    phrases: Vec<Phrase>,
    /// Phrases that count only in the text of the vendor's service, longest first.
    service_phrases: Vec<Phrase>,
    http: BTreeMap<i64, MessageMeaning>,
    exits: BTreeMap<i64, MessageMeaning>,
    reasons: BTreeMap<String, MessageMeaning>,
    resets: Vec<(String, ResetFormat)>,
    event: Option<LimitEvent>,
}

#[derive(Clone, Debug)]
struct Phrase {
    /// The text in lower case, split at the placeholder for a model name if it has one.
    text: (String, Option<String>),
    meaning: MessageMeaning,
    model: Option<String>,
    within: Option<Duration>,
}

#[derive(Clone, Debug)]
struct LimitEvent {
    line_type: String,
    at: Option<String>,
    refused: Vec<(String, Vec<String>)>,
    allowed: Vec<(String, Vec<String>)>,
    kind: Option<String>,
    reset: Option<String>,
}

impl VendorMessages {
    /// Reads them from a vendor's profile.
    ///
    /// # Errors
    /// `Config`, naming the key.
    pub fn read(section: &Section<'_>) -> Result<Self> {
        Ok(Self {
            phrases: read_phrases(&section.section("says")?)?,
            service_phrases: read_phrases(&section.section("service_says")?)?,
            http: read_numbers(&section.section("http")?)?,
            exits: read_numbers(&section.section("exits")?)?,
            reasons: read_entries(&section.section("reasons")?, |_, value| MessageMeaning::from_yaml(value))?
                .into_iter()
                .collect(),
            resets: read_entries(&section.section("resets")?, |_, value| match value.as_str() {
                Some("instant") => Ok(ResetFormat::Instant),
                Some("seconds") => Ok(ResetFormat::Seconds),
                Some("words") => Ok(ResetFormat::Text),
                _ => Err("expected instant, seconds or words".to_string()),
            })?,
            event: read_limit_event(&section.section("limit_event")?)?,
        })
    }

    /// Finds a message in `text`. The longest matching phrase decides the meaning. The model and the duration of a
    /// limit come from the longest phrase about limits that has one.
    pub fn find_message(&self, text: &str, source: MessageSource) -> Option<MessageMatch> {
        // Programs write apostrophes in two ways.
        let lower = text.to_lowercase().replace('\u{2019}', "'");
        let service_phrases = match source {
            MessageSource::Service => self.service_phrases.as_slice(),
            MessageSource::Anyone => &[],
        };
        let mut matching: Vec<(&Phrase, Option<String>)> = self
            .phrases
            .iter()
            .chain(service_phrases)
            .filter_map(|phrase| Some((phrase, phrase.find(&lower)?)))
            .collect();
        matching.sort_by_key(|(phrase, _)| std::cmp::Reverse(phrase.text_length()));
        let meaning = matching.first()?.0.meaning;
        let mut limits = matching.iter().filter(|(phrase, _)| {
            phrase.meaning == MessageMeaning::UsageLimit && meaning == MessageMeaning::UsageLimit
        });
        let within = limits.clone().find_map(|(phrase, _)| phrase.within);
        let model = limits.find_map(|(phrase, named)| named.clone().or_else(|| phrase.model.clone()));
        Some(MessageMatch { meaning, model, within })
    }

    /// Returns the meaning of an HTTP status.
    pub fn meaning_of_status(&self, status: u16) -> Option<MessageMeaning> {
        self.http.get(&i64::from(status)).copied()
    }

    /// Returns the HTTP statuses with which the service refuses the account.
    pub fn refusing_statuses(&self) -> Vec<u16> {
        let refusing = self.http.iter().filter(|(_, meaning)| **meaning == MessageMeaning::Account);
        refusing.filter_map(|(status, _)| u16::try_from(*status).ok()).collect()
    }

    /// Returns the meaning of an exit code.
    pub fn meaning_of_exit(&self, code: i32) -> Option<MessageMeaning> {
        self.exits.get(&i64::from(code)).copied()
    }

    /// Returns the meaning of the vendor's termination reason.
    pub fn meaning_of_reason(&self, reason: &str) -> Option<MessageMeaning> {
        self.reasons.get(reason).copied()
    }

    /// Returns the markers of a reset time: a member's name, or text that precedes it, and how it is written.
    pub fn reset_markers(&self) -> &[(String, ResetFormat)] {
        &self.resets
    }

    /// Returns the last of `events` that reports a refused call.
    pub fn last_refused_call(&self, events: &[Json]) -> Option<RefusedCall> {
        let rule = self.event.as_ref()?;
        let info = events.iter().rev().filter_map(|event| rule.refused_call_in(event)).next()?;
        let member = |key: &Option<String>| json_scalar_text(info.get(key.as_ref()?)?);
        let message = member(&rule.kind).and_then(|kind| self.find_message(&kind, MessageSource::Anyone));
        let message = message.filter(|message| message.meaning == MessageMeaning::UsageLimit);
        let unknown = MessageMatch { meaning: MessageMeaning::UsageLimit, model: None, within: None };
        Some(RefusedCall { message: message.unwrap_or(unknown), reset: member(&rule.reset) })
    }
}

impl Phrase {
    fn text_length(&self) -> usize {
        self.text.0.len() + self.text.1.as_ref().map_or(0, String::len)
    }

    /// Finds the phrase in `lower`; the inner value is the model named there.
    fn find(&self, lower: &str) -> Option<Option<String>> {
        let (before, after) = (&self.text.0, self.text.1.as_ref());
        let Some(after) = after else {
            return lower.contains(before.as_str()).then_some(None);
        };
        lower.match_indices(before.as_str()).find_map(|(at, found)| {
            let rest = &lower[at + found.len()..];
            let end = rest.find(|c: char| c.is_whitespace() || ",;()\"".contains(c)).unwrap_or(rest.len());
            let name = rest[..end].trim_end_matches(['.', ':', '\'']);
            // "usage limit for today" does not name a model: the name of a model contains a digit or a dash.
            let is_name = name.contains(|c: char| c.is_ascii_digit() || c == '-');
            (is_name && rest[end..].starts_with(after.as_str())).then(|| Some(name.to_string()))
        })
    }
}

impl LimitEvent {
    fn refused_call_in<'e>(&self, event: &'e Json) -> Option<&'e Json> {
        if event.get("type").and_then(Json::as_str) != Some(&self.line_type) {
            return None;
        }
        let info = match &self.at {
            Some(at) => event.get(at)?,
            None => event,
        };
        let fits = |(key, values): &(String, Vec<String>)| {
            info.get(key).and_then(json_scalar_text).is_some_and(|value| values.contains(&value))
        };
        (self.refused.iter().all(fits) && !self.allowed.iter().any(fits)).then_some(info)
    }
}

fn json_scalar_text(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// Returns the entries of a mapping without those that are `null`.
fn read_entries<T>(
    section: &Section<'_>,
    read: impl Fn(&str, &Value) -> std::result::Result<T, String>,
) -> Result<Vec<(String, T)>> {
    let mut entries = Vec::new();
    for (key, value) in section.mapping() {
        let name = match key {
            Value::String(name) => name.clone(),
            Value::Number(number) => number.to_string(),
            _ => return Err(section.error_here("expected text or numbers as keys")),
        };
        if !value.is_null() {
            entries.push((name.clone(), read(&name, value).map_err(|reason| section.error(&name, &reason))?));
        }
    }
    Ok(entries)
}

fn read_numbers(section: &Section<'_>) -> Result<BTreeMap<i64, MessageMeaning>> {
    let read = |name: &str, value: &Value| {
        let number = name.parse::<i64>().map_err(|_| "expected a number as the key".to_string())?;
        Ok((number, MessageMeaning::from_yaml(value)?))
    };
    Ok(read_entries(section, read)?.into_iter().map(|(_, entry)| entry).collect())
}

fn read_phrases(section: &Section<'_>) -> Result<Vec<Phrase>> {
    let mut phrases = read_entries(section, |text, _| {
        let text = text.to_lowercase();
        if text.trim().is_empty() {
            return Err("expected text".to_string());
        }
        Ok(match text.split_once("{model}") {
            Some((before, after)) => (before.to_string(), Some(after.to_string())),
            None => (text, None),
        })
    })?
    .into_iter()
    .map(|(key, text)| {
        let simple = section.read(&key, MessageMeaning::from_yaml);
        if let Ok(meaning) = simple {
            let meaning = meaning.or(MessageMeaning::Error);
            return Ok(Phrase { text, meaning, model: None, within: None });
        }
        if !section.mapping().get(key.as_str()).is_some_and(Value::is_mapping) {
            simple?;
        }
        let detail = section.section(&key)?;
        detail.refuse_unknown_keys(&["class", "model", "within"])?;
        let meaning = detail.read("class", MessageMeaning::from_yaml)?.value();
        Ok(Phrase {
            text,
            meaning: meaning.ok_or_else(|| detail.error_here("expected a class"))?,
            model: detail.text("model")?.value().map(|model| model.to_lowercase()),
            within: detail.read("within", duration_value)?.value(),
        })
    })
    .collect::<Result<Vec<_>>>()?;
    phrases.sort_by_key(|phrase| std::cmp::Reverse(phrase.text_length()));
    Ok(phrases)
}

fn duration_value(value: &Value) -> std::result::Result<Duration, String> {
    let length = value.as_str().and_then(duration::parse).or_else(|| duration::from_seconds(value.as_f64()?));
    length.ok_or_else(|| "expected a length of time such as 5h".to_string())
}

fn read_limit_event(section: &Section<'_>) -> Result<Option<LimitEvent>> {
    section.refuse_unknown_keys(&["type", "at", "refused", "allowed", "kind", "reset"])?;
    let Some(line_type) = section.text("type")?.value() else { return Ok(None) };
    let values = |_: &str, value: &Value| match value {
        Value::Sequence(values) => values.iter().map(scalar_text).collect(),
        value => Ok(vec![scalar_text(value)?]),
    };
    Ok(Some(LimitEvent {
        line_type,
        at: section.text("at")?.value(),
        refused: read_entries(&section.section("refused")?, values)?,
        allowed: read_entries(&section.section("allowed")?, values)?,
        kind: section.text("kind")?.value(),
        reset: section.text("reset")?.value(),
    }))
}

fn scalar_text(value: &Value) -> std::result::Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err("expected a value or a list of values".to_string()),
    }
}
