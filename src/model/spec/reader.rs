//! Reads the members of a task.json from its text, with their types.

use super::SPEC_FIELDS;
use crate::model::command_list::command_list;
use crate::model::dependency::Dependency;
use crate::model::duration::StoredDuration;
use crate::model::json::raw::{Raw, RawString};
use crate::model::time::Time;

/// The key of the bookkeeping of `lanes` in task.json.
pub(in crate::model) const BOOKKEEPING_KEY: &str = "_lanes";

/// The keys other than those of the specification, sorted.
const OWN_KEYS: [&str; 24] = [
    BOOKKEEPING_KEY,
    "attempt",
    "checkpoint_id",
    "claim_owner",
    "claim_token",
    "claimed_at",
    "completed_at",
    "created_at",
    "failed_at",
    "failure_class",
    "failure_reason",
    "fence",
    "id",
    "lease_expires_at",
    "lease_seconds",
    "messages",
    "not_before",
    "questions",
    "request_path",
    "request_sha256",
    "response_path",
    "retried_as",
    "state",
    "updated_at",
];

/// All known keys, sorted.
pub(in crate::model) const KEYS: [&str; OWN_KEYS.len() + SPEC_FIELDS.len()] = {
    let mut keys = [""; OWN_KEYS.len() + SPEC_FIELDS.len()];
    let (mut own, mut spec) = (0, 0);
    while own + spec < keys.len() {
        let takes_own = spec == SPEC_FIELDS.len()
            || (own < OWN_KEYS.len() && is_before(OWN_KEYS[own], SPEC_FIELDS[spec].0));
        if takes_own {
            keys[own + spec] = OWN_KEYS[own];
            own += 1;
        } else {
            keys[own + spec] = SPEC_FIELDS[spec].0;
            spec += 1;
        }
    }
    keys
};

/// Returns whether `a` sorts before `b`.
const fn is_before(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut at = 0;
    while at < a.len() && at < b.len() {
        if a[at] != b[at] {
            return a[at] < b[at];
        }
        at += 1;
    }
    a.len() < b.len()
}

/// Returns the index of a key in [`KEYS`], at compile time.
macro_rules! key {
    ($name:expr) => {
        const { $crate::model::spec::reader::place($name) }
    };
}
pub(in crate::model) use key;

/// Returns the index of a key in [`KEYS`].
pub(in crate::model) const fn place(key: &str) -> usize {
    let mut place = 0;
    loop {
        let (a, b) = (KEYS[place].as_bytes(), key.as_bytes());
        let mut at = 0;
        while at < a.len() && at < b.len() && a[at] == b[at] {
            at += 1;
        }
        if at == a.len() && at == b.len() {
            return place;
        }
        place += 1;
    }
}

const TIME: &str = "a time like 2026-11-21T07:00:00.000000Z";

/// Takes typed values out of the text of a task, and records the first one of a wrong type.
pub(in crate::model) struct Members<'a> {
    pub(in crate::model) known: [Option<Raw<'a>>; KEYS.len()],
    pub(in crate::model) others: Vec<(&'a str, Raw<'a>)>,
    pub(in crate::model) wrong: Option<String>,
}

impl<'a> Members<'a> {
    pub(in crate::model) fn new() -> Self {
        Self { known: [None; KEYS.len()], others: Vec::new(), wrong: None }
    }

    /// Stores a member at the index of its key. Files are written with sorted keys, so that `next` is nearly
    /// always the right index.
    pub(in crate::model) fn put(&mut self, key: &'a str, raw: Raw<'a>, next: &mut usize) {
        let place = match KEYS.get(*next) {
            Some(expected) if *expected == key => Ok(*next),
            _ => KEYS.binary_search(&key),
        };
        match place {
            Ok(place) => {
                self.known[place] = Some(raw);
                *next = place + 1;
            }
            Err(place) => {
                self.others.push((key, raw));
                *next = place;
            }
        }
    }

    pub(in crate::model) fn fail(&mut self, key: usize, expected: &str) {
        if self.wrong.is_none() {
            self.wrong = Some(format!("'{}' must be {expected}", KEYS[key]));
        }
    }

    /// Takes the value of a key unless it is null.
    pub(in crate::model) fn take(&mut self, key: usize) -> Option<Raw<'a>> {
        self.known[key].take().filter(|raw| !raw.is_null())
    }

    pub(in crate::model) fn optional_text(&mut self, key: usize) -> Option<RawString<'a>> {
        let raw = self.take(key)?;
        let text = raw.text();
        if text.is_none() {
            self.fail(key, "text");
        }
        text
    }

    pub(in crate::model) fn text(&mut self, key: usize) -> RawString<'a> {
        self.optional_text(key).unwrap_or_else(|| {
            self.fail(key, "text");
            RawString::default()
        })
    }

    pub(in crate::model) fn optional_time(&mut self, key: usize) -> Option<Time> {
        let text = self.optional_text(key)?;
        let time = Time::parse(&text.decode()).ok();
        if time.is_none() {
            self.fail(key, TIME);
        }
        time
    }

    pub(in crate::model) fn time(&mut self, key: usize) -> Time {
        self.optional_time(key).unwrap_or_else(|| {
            self.fail(key, TIME);
            Time::from_micros(0)
        })
    }

    pub(in crate::model) fn number<T>(
        &mut self,
        key: usize,
        convert: impl Fn(Raw<'a>) -> Option<T>,
    ) -> Option<T> {
        let raw = self.take(key)?;
        let number = convert(raw);
        if number.is_none() {
            self.fail(key, "a number in range");
        }
        number
    }

    pub(in crate::model) fn duration(&mut self, key: usize) -> Option<StoredDuration> {
        self.number(key, Raw::float).map(StoredDuration::stored)
    }

    pub(in crate::model) fn of_kind(
        &mut self,
        key: usize,
        is: fn(Raw<'a>) -> bool,
        kind: &str,
    ) -> Option<Raw<'a>> {
        let raw = self.take(key)?;
        if !is(raw) {
            self.fail(key, kind);
        }
        Some(raw).filter(|raw| is(*raw))
    }

    pub(in crate::model) fn map(&mut self, key: usize) -> Option<Raw<'a>> {
        self.of_kind(key, Raw::is_object, "an object")
    }

    /// Takes a list of dependencies. One that cannot be read makes the task unreadable: it must not be taken for a
    /// task without it.
    pub(in crate::model) fn dependencies(&mut self, key: usize) -> Option<Raw<'a>> {
        let list = self.list(key)?;
        let mut are_valid = true;
        list.items(|item| are_valid &= Dependency::from_raw(item).is_some());
        if !are_valid {
            self.fail(key, "a list of dependencies, each with 'task' and 'on'");
        }
        Some(list)
    }

    /// Takes a list of command lines. One that cannot be read makes the task unreadable, as a dependency does.
    pub(in crate::model) fn commands(&mut self, key: usize) -> Option<Raw<'a>> {
        let list = self.list(key)?;
        let is_valid = list.value().as_array().is_some_and(|items| command_list(items).is_some());
        if !is_valid {
            self.fail(key, "a list of commands, each a list of text");
        }
        Some(list)
    }

    /// Takes a list of texts. Another value makes the task unreadable: it must not be taken for a task without it.
    pub(in crate::model) fn texts(&mut self, key: usize) -> Option<Raw<'a>> {
        let list = self.list(key)?;
        let mut are_texts = true;
        list.items(|item| are_texts &= item.text().is_some());
        if !are_texts {
            self.fail(key, "a list of texts");
        }
        Some(list)
    }

    pub(in crate::model) fn list(&mut self, key: usize) -> Option<Raw<'a>> {
        self.of_kind(key, Raw::is_array, "a list")
    }
}
